use super::*;
use crate::row::MetricValue;
use crate::trainer_files::of_trainer;
use proptest::prelude::*;
use proptest::sample::Index;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// A run directory.
struct Run(TempDir);

impl Run {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn source(&self) -> Option<MetricSource> {
        MetricSource::lines(self.path("metrics.jsonl")).or_else(|| of_trainer(self.0.path()))
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> &Self {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        self
    }

    fn events(&self, name: &str, what: &[&str]) -> &Self {
        self.write(name, "");
        let status = Command::new("python3")
            .arg(fixture("events.py"))
            .arg(self.path(name))
            .args(what)
            .status()
            .unwrap();
        assert!(status.success());
        self
    }

    /// Returns the rows that count as text, each with its attempt, and the counts of all rows.
    fn rows(&self, attempts: &Resumptions) -> (Vec<String>, RowCounts) {
        let mut rows = Vec::new();
        let counts = super::rows(&self.source().unwrap(), attempts, &mut |row, attempt| {
            let cell = |(name, cell): (&str, &MetricValue)| match cell {
                MetricValue::Number(number) => format!("{name}={number}"),
                MetricValue::Other(value) => format!("{name}:{value}"),
            };
            rows.push(format!("{attempt}: {}", row.fields().map(cell).collect::<Vec<_>>().join(" ")));
        });
        (rows, counts.unwrap())
    }

    #[track_caller]
    fn expect(&self, attempts: &Resumptions, expected: &[&str], superseded: u64, skipped: u64) {
        let (rows, counts) = self.rows(attempts);
        assert_eq!(rows, expected);
        assert_eq!(counts, RowCounts { rows: expected.len() as u64, superseded, skipped });
    }
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures").join(name)
}

/// Returns the attempts of a run whose second attempt began at a time and offset.
fn resumed(name: &str, offset: usize, time: &str) -> Resumptions {
    Resumptions::resumed(time.parse().unwrap(), name, offset as u64)
}

const TIME: &str = "2026-01-29T12:00:00.000Z";

#[test]
fn json_lines_of_all_attempts_without_those_gone_over_again() {
    let first = "{\"step\": 1, \"a\": NaN}\n{\"step\": 2, \"a\": 2}\n{\"epoch\": 9, \"b\": 1}\nbad\n\n";
    let run = Run::new();
    run.write("metrics.jsonl", format!("{first}{{\"step\": 2, \"a\": \"x\"}}\n{{\"step\": 3, \"a\": 1"));
    let attempts = resumed("metrics.jsonl", first.len(), TIME);
    run.expect(&attempts, &["1: step=1 a=NaN", "1: epoch=9 b=1", "2: step=2 a:\"x\""], 1, 1);
    run.expect(
        &Resumptions::default(),
        &["1: step=1 a=NaN", "1: step=2 a=2", "1: epoch=9 b=1", "1: step=2 a:\"x\""],
        0,
        1,
    );
}

#[test]
fn a_line_that_is_too_long_is_skipped_in_bounded_memory() {
    let run = Run::new();
    let long = format!("{{\"step\": 1, \"text\": \"{}\"}}\n", "x".repeat(17 << 20));
    run.write("metrics.jsonl", long + "{\"step\": 2}\n").expect(
        &Resumptions::default(),
        &["1: step=2"],
        0,
        1,
    );
}

#[test]
fn tables_have_blank_cells_and_new_headers() {
    let run = Run::new();
    run.write(
        "lightning_logs/version_0/metrics.csv",
        "epoch,step,train_loss,val_loss\n0,1,0.5,\n0,2,,inf\n0,9,,1\n",
    );
    run.write("lightning_logs/version_2/metrics.csv", "epoch,step,note\n0,3,\"a \"\"b\"\", c\"\n");
    run.write(
        "lightning_logs/version_10/metrics.csv",
        "\u{feff}step,loss\r\n5,nan\r\nstep,loss,\"new, one\"\n6,1,2\n7,1\n8,1,2,3\n8,\"\n\n,,\n9,1",
    );
    run.expect(
        &Resumptions::default(),
        &[
            "1: epoch=0 step=1 train_loss=0.5",
            "1: epoch=0 step=2 val_loss=inf",
            "2: epoch=0 step=3 note:\"a \\\"b\\\", c\"",
            "3: step=5 loss=NaN",
            "3: step=6 loss=1 new, one=2",
        ],
        1,
        3,
    );
}

#[test]
fn tables_of_stable_baselines() {
    let run = Run::new();
    run.write("log/monitor.csv", "#{\"t_start\": 1.5, \"env_id\": \"x\"}\nr,l,t\n9.0,9,0.05\n");
    run.expect(&Resumptions::default(), &["1: r=9 l=9 t=0.05"], 0, 0);
    run.write("log/progress.csv", "time/total_timesteps,train/loss\n2048,\n4096,0.5\n");
    run.expect(
        &Resumptions::default(),
        &["1: time/total_timesteps=2048", "1: time/total_timesteps=4096 train/loss=0.5"],
        0,
        0,
    );
    let attempts = resumed("metrics.csv", "step,a\n1,1\n2,1\n".len(), TIME);
    run.write("metrics.csv", "step,a\n1,1\n2,1\n2,2\n").expect(
        &attempts,
        &["1: step=1 a=1", "2: step=2 a=2"],
        1,
        0,
    );
}

#[test]
fn the_newest_whole_trainer_state_counts() {
    let state = |step: u32| {
        format!(
            "{{\"epoch\": 1.0, \"global_step\": {step}, \"log_history\": [{{\"epoch\": 0.5, \"loss\": NaN, \"step\": 5}}, 7, {{\"eval_loss\": \"NaN\", \"step\": {step}}}], \"x\": [{{}}]}}"
        )
    };
    let expected =
        |step: u32| ["1: epoch=0.5 loss=NaN step=5".to_owned(), format!("1: eval_loss=NaN step={step}")];
    let run = Run::new();
    let check = |step: u32| {
        let (rows, counts) = run.rows(&Resumptions::default());
        assert_eq!(rows, expected(step));
        assert_eq!(counts.skipped, 1);
    };
    run.write("out/checkpoint-200/trainer_state.json", state(200));
    run.write("out/checkpoint-1000/trainer_state.json", state(1000));
    run.write("out/checkpoint-1500/trainer_state.json", &state(1500)[..80]);
    check(1000);
    run.write("out/trainer_state.json", state(900));
    check(1000);
    run.write("out/trainer_state.json", state(1000));
    run.write("out/checkpoint-1000/trainer_state.json", "");
    check(1000);
}

#[test]
fn event_files_that_the_libraries_wrote() {
    let run = Run::new();
    for name in ["events.out.tfevents.1769688000.gpu3", "events.out.tfevents.1769688001.gpu3.1.0"] {
        let bytes = fs::read(fixture("tensorboard").join(name)).unwrap();
        run.write(&format!("logs/{}/{name}", if name.ends_with("gpu3") { "x" } else { "t" }), bytes);
    }
    run.expect(
        &Resumptions::default(),
        &[
            "1: step=0 t/epoch_acc=0 t/d=0",
            "1: step=100 t/epoch_acc=0.1 t/d=0.3",
            "1: step=200 t/epoch_acc=0.2 t/d=0.6",
            "1: step=300 t/epoch_acc=0.3 t/d=0.8999999999999999",
            "1: step=0 x/train/loss=1 x/lr=0.005",
            "1: step=10 x/train/loss=0.5 x/lr=0.004",
            "1: step=20 x/train/loss=0.33333334 x/lr=0.003",
            "1: step=30 x/train/loss=0.25 x/lr=0.002",
            "1: step=40 x/train/loss=0.2 x/lr=0.001",
            "1: step=50 x/train/loss=NaN",
            "1: step=60 x/train/loss=inf",
        ],
        0,
        0,
    );
}

#[test]
fn event_files_with_anything_in_them() {
    let run = Run::new();
    let what = [
        "0:a=0.5",
        "0:b=1:float",
        "0:a=2",
        "-3:b=-0.25:double",
        "bad",
        "large",
        "7:b=-9:float",
        "7:n=-4:int",
        "torn",
    ];
    run.events("events.out.tfevents.5.h", &what);
    run.expect(
        &Resumptions::default(),
        &["1: step=0 a=0.5 b=1", "1: step=0 a=2", "1: step=-3 b=-0.25", "1: step=7 b=-9 n=-4"],
        0,
        1,
    );
    run.events("events.out.tfevents.5.h", &["1:a=1", "lost", "2:a=1"]);
    run.expect(&Resumptions::default(), &["1: step=1 a=1"], 0, 1);
}

#[test]
fn event_files_of_successive_attempts_and_of_simultaneous_writers() {
    let run = Run::new();
    run.events("runs/Jan29_12-00-00_h/events.out.tfevents.100.h", &["1:a=1", "2:a=1", "3:a=1"]);
    run.events("runs/Jan29_13-00-00_h/events.out.tfevents.90.h", &["3:a=7"]);
    run.events("runs/Jan29_13-00-00_h/events.out.tfevents.110.h", &["3:a=2"]);
    run.expect(&Resumptions::default(), &["2: step=1 a=1", "2: step=2 a=1", "3: step=3 a=2"], 2, 0);
}

#[test]
fn event_files_of_one_process_are_of_one_attempt() {
    let run = Run::new();
    run.events("events.out.tfevents.100.10.0.0.7.4242.0", &["1:loss=1", "2:loss=1"]);
    run.events("events.out.tfevents.200.10.0.0.7.4242.1.v2", &["2:eval_loss=1"]);
    run.events("events.out.tfevents.300.10.0.0.7.99.0", &["2:loss=3"]);
    run.expect(&Resumptions::default(), &["1: step=1 loss=1", "2: step=2 loss=3"], 2, 0);
}

#[test]
fn attempts_of_event_files_are_told_by_their_time() {
    let run = Run::new();
    run.events("train/events.out.tfevents.1000.h", &["1:a=1", "2:a=1", "3:a=1"]);
    run.events("train/events.out.tfevents.1001.h", &["2:b=1", "3:b=1"]);
    run.events("validation/events.out.tfevents.1002.h", &["1:a=9", "2:a=9", "1:a=8"]);
    // The second attempt began at the third event of each file.
    let attempts = resumed("metrics.jsonl", 0, "1970-01-01T00:16:41.500Z");
    run.expect(
        &attempts,
        &[
            "1: step=1 train/a=1",
            "1: step=2 train/a=1",
            "2: step=3 train/a=1",
            "1: step=2 train/b=1",
            "2: step=1 validation/a=8",
        ],
        3,
        0,
    );
}

#[test]
fn what_is_no_metric_of_the_training_is_no_source() {
    let run = Run::new();
    run.write("eval_runs/step_1/metrics.csv", "q,pass\n1,1\n")
        .write("step_20_x/metrics.csv", "q,pass\n1,1\n");
    run.write(".hidden/metrics.csv", "a\n1\n")
        .write("a/b/c/d/e/metrics.csv", "a\n1\n")
        .write("metrics.csv", "");
    assert_eq!(of_trainer(run.0.path()), None);
    assert_eq!(MetricSource::lines(run.path("metrics.jsonl")), None);
}

/// Undamaged files of all formats.
fn valid_files() -> [(&'static str, Vec<u8>); 5] {
    let events = fs::read(fixture("tensorboard/events.out.tfevents.1769688000.gpu3")).unwrap();
    [
        (
            "metrics.jsonl",
            b"{\"step\": 1, \"a\": NaN}\n{\"step\": 2}\n{\"epoch\": 3, \"b\": [1, {}]}\n".to_vec(),
        ),
        ("metrics.csv", b"step,loss\n1,2\n\"3\",x\n4,5\n".to_vec()),
        (
            "monitor.csv",
            "#{\"t_start\": 1}\n\u{feff}r,\"l, \"\"m\"\"\",é\r\n1,2,\"a, b\"\r\n3,,\"\"\r\n".into(),
        ),
        (
            "trainer_state.json",
            b"{\"global_step\": 3, \"log_history\": [{\"loss\": NaN, \"step\": 5}, {\"step\": 3}]}".to_vec(),
        ),
        ("events.out.tfevents.1.h", events),
    ]
}

/// Returns the rows of a run as text, and the counts; `None` without metrics.
fn rows_of(name: &str, content: &[u8]) -> Option<(Vec<String>, RowCounts)> {
    let run = Run::new();
    run.write(name, content);
    run.source().is_some().then(|| run.rows(&Resumptions::default()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_bytes_are_rows_or_a_counted_skip(bytes: Vec<u8>, at: Index, byte: u8) {
        for (name, whole) in valid_files() {
            let mut damaged = whole.clone();
            damaged[at.index(whole.len())] = byte;
            for content in [&bytes, &damaged] {
                if let Some((rows, counts)) = rows_of(name, content) {
                    prop_assert_eq!(counts.rows, rows.len() as u64);
                }
            }
        }
    }

    #[test]
    fn the_start_of_a_file_has_its_first_rows_and_no_fault(at: Index) {
        for (name, whole) in valid_files() {
            let (all, counts) = rows_of(name, &whole).unwrap();
            prop_assert_eq!(counts.skipped, 0);
            // A truncated file is no error, wherever it ends.
            if let Some((rows, counts)) = rows_of(name, &whole[..at.index(whole.len())]) {
                prop_assert_eq!(counts.skipped, 0);
                // In event files, consecutive values of a step form a row.
                let same = rows.iter().zip(&all).filter(|(row, whole)| whole.starts_with(row.as_str())).count();
                prop_assert!(rows.len() <= all.len() && same == rows.len(), "{name}: {rows:?}");
            }
        }
    }

    #[test]
    fn what_stands_in_one_line_hides_no_other_line(line in "[^\n]{0,30}|\\{\"step\": [0-9\"]{0,4}", at in 0_usize..3) {
        for (name, whole) in valid_files().into_iter().take(3) {
            let (all, _) = rows_of(name, &whole).unwrap();
            let ends: Vec<usize> = whole.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1).collect();
            let at = ends[(ends.len() - 1).min(at + 1)];
            let content = [&whole[..at], line.as_bytes(), b"\n", &whole[at..]].concat();
            let (rows, counts) = rows_of(name, &content).unwrap();
            prop_assert!(all.iter().all(|row| rows.contains(row)), "{name}: {rows:?}");
            prop_assert!(rows.len() as u64 + counts.skipped <= all.len() as u64 + 1);
        }
    }
}
