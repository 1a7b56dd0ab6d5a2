//! Reads the metric rows of a run from wherever it keeps them, in bounded memory. Used by whoever
//! needs more than the figures in status.json.

use super::attempts::Attempts;
use super::lines::{each_line, is_damage};
use super::row::Row;
use super::source::{Format, Source};
use super::supersede::{Place, Starts};
use super::{events, trainer_csv, trainer_state};
use run_common::fsio::open_regular;
use std::fs::File;
use std::io;

/// How many rows there were, and what was none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Rows that count.
    pub rows: u64,
    /// Rows that a later attempt superseded.
    pub superseded: u64,
    /// Lines or records that could not be read. An unfinished last one does not count, unless it is
    /// too long already.
    pub skipped: u64,
}

/// Reads the rows that count, in the order of the files, each with the number of its attempt from
/// 1. Rows of earlier attempts that a later one superseded are left out (run-dir(5)).
pub fn rows(source: &Source, attempts: &Attempts, each: &mut dyn FnMut(Row, usize)) -> io::Result<Counts> {
    let mut starts = Starts::default();
    if source.may_repeat(attempts) {
        pass(source, attempts, &mut |place, row| {
            starts.note(place, &row);
        })?;
    }
    let mut counts = Counts::default();
    counts.skipped = pass(source, attempts, &mut |place, row| {
        if starts.supersede(place, &row) {
            counts.superseded += 1;
        } else {
            counts.rows += 1;
            each(row, place.attempt + 1);
        }
    })?;
    Ok(counts)
}

/// Reads all rows once; returns what was skipped.
fn pass(source: &Source, attempts: &Attempts, act: &mut dyn FnMut(Place, Row)) -> io::Result<u64> {
    let mut skipped = 0;
    for part in source.parts() {
        let Some(file) = open_regular(&part.path)? else { continue };
        let boundaries = part.name.as_ref().map(|name| attempts.offsets(name)).unwrap_or_default();
        let mut at_offset = |offset: u64, row: Row| {
            let begun = boundaries.iter().filter(|&&start| start <= offset).count();
            act(Place { attempt: part.place.attempt + begun, track: part.place.track }, row);
        };
        skipped += match source.format() {
            Format::Lines => json_lines(&file, &mut at_offset)?,
            Format::Csv => trainer_csv::read(&file, &mut at_offset)?,
            Format::TrainerState => trainer_state::read(&file, &mut |row| at_offset(0, row))?,
            Format::Events => events::read(&file, &part.prefix, &mut |seconds, row| {
                let attempt = if attempts.is_single() { part.place.attempt } else { attempts.at(seconds) };
                act(Place { attempt, track: part.place.track }, row);
            })?,
        };
    }
    Ok(skipped)
}

fn json_lines(file: &File, act: &mut dyn FnMut(u64, Row)) -> io::Result<u64> {
    let mut skipped = 0;
    each_line(file, &mut |offset, line| match line.and_then(Row::parse) {
        Some(row) => act(offset, row),
        None => skipped += u64::from(is_damage(line)),
    })?;
    Ok(skipped)
}

#[cfg(test)]
mod tests {
    use super::super::row::Cell;
    use super::*;
    use proptest::prelude::*;
    use std::fs;
    use std::path::{Path, PathBuf};
    use std::process::Command;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// A run directory that is removed in the end.
    struct Run(PathBuf);

    impl Run {
        fn new() -> Self {
            static NUMBER: AtomicU32 = AtomicU32::new(0);
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let path = std::env::temp_dir().join(format!("read-{}-{number}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn write(&self, name: &str, content: impl AsRef<[u8]>) -> &Self {
            let path = self.0.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
            self
        }

        fn events(&self, name: &str, what: &[&str]) -> &Self {
            self.write(name, "");
            let status = Command::new("python3")
                .arg(fixture("events.py"))
                .arg(self.0.join(name))
                .args(what)
                .status()
                .unwrap();
            assert!(status.success());
            self
        }

        /// Returns the rows that count as text, each with its attempt, and the counts.
        fn rows(&self, attempts: &Attempts) -> (Vec<String>, Counts) {
            let source = Source::lines(self.0.join("metrics.jsonl")).or_else(|| Source::of_trainer(&self.0));
            let mut rows = Vec::new();
            let counts = super::rows(&source.unwrap(), attempts, &mut |row, attempt| {
                let cell = |(name, cell): (&str, &Cell)| match cell {
                    Cell::Number(number) => format!("{name}={number}"),
                    Cell::Other(value) => format!("{name}:{value}"),
                };
                rows.push(format!("{attempt}: {}", row.cells().map(cell).collect::<Vec<_>>().join(" ")));
            });
            (rows, counts.unwrap())
        }

        #[track_caller]
        fn expect(&self, attempts: &Attempts, expected: &[&str], superseded: u64, skipped: u64) {
            let (rows, counts) = self.rows(attempts);
            assert_eq!(rows, expected);
            assert_eq!(counts, Counts { rows: expected.len() as u64, superseded, skipped });
        }
    }

    impl Drop for Run {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn fixture(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures").join(name)
    }

    /// Returns the attempts of a run whose second attempt began at a time and offset.
    fn resumed(name: &str, offset: usize, time: &str) -> Attempts {
        Attempts::resumed(time.parse().unwrap(), name, offset as u64)
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
            &Attempts::default(),
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
            &Attempts::default(),
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
            &Attempts::default(),
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
        run.expect(&Attempts::default(), &["1: r=9 l=9 t=0.05"], 0, 0);
        run.write("log/progress.csv", "time/total_timesteps,train/loss\n2048,\n4096,0.5\n");
        run.expect(
            &Attempts::default(),
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
            let (rows, counts) = run.rows(&Attempts::default());
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
            &Attempts::default(),
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
            &Attempts::default(),
            &["1: step=0 a=0.5 b=1", "1: step=0 a=2", "1: step=-3 b=-0.25", "1: step=7 b=-9 n=-4"],
            0,
            1,
        );
        run.events("events.out.tfevents.5.h", &["1:a=1", "lost", "2:a=1"]);
        run.expect(&Attempts::default(), &["1: step=1 a=1"], 0, 1);
    }

    #[test]
    fn event_files_of_successive_attempts_and_of_simultaneous_writers() {
        let run = Run::new();
        run.events("runs/Jan29_12-00-00_h/events.out.tfevents.100.h", &["1:a=1", "2:a=1", "3:a=1"]);
        run.events("runs/Jan29_13-00-00_h/events.out.tfevents.90.h", &["3:a=7"]);
        run.events("runs/Jan29_13-00-00_h/events.out.tfevents.110.h", &["3:a=2"]);
        run.expect(&Attempts::default(), &["2: step=1 a=1", "2: step=2 a=1", "3: step=3 a=2"], 2, 0);
    }

    #[test]
    fn event_files_of_one_process_are_of_one_attempt() {
        let run = Run::new();
        run.events("events.out.tfevents.100.10.0.0.7.4242.0", &["1:loss=1", "2:loss=1"]);
        run.events("events.out.tfevents.200.10.0.0.7.4242.1.v2", &["2:eval_loss=1"]);
        run.events("events.out.tfevents.300.10.0.0.7.99.0", &["2:loss=3"]);
        run.expect(&Attempts::default(), &["1: step=1 loss=1", "2: step=2 loss=3"], 2, 0);
    }

    #[test]
    fn attempts_of_event_files_are_told_by_their_time() {
        let run = Run::new();
        run.events("train/events.out.tfevents.1000.h", &["1:a=1", "2:a=1", "3:a=1"]);
        run.events("train/events.out.tfevents.1001.h", &["2:b=1", "3:b=1"]);
        run.events("validation/events.out.tfevents.1002.h", &["1:a=9", "2:a=9", "1:a=8"]);
        // The second attempt began at the third event of each.
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
        assert_eq!(Source::of_trainer(&run.0), None);
        assert_eq!(Source::lines(run.0.join("metrics.jsonl")), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_bytes_are_rows_or_a_counted_skip(bytes: Vec<u8>, at in 0usize..1000, byte: u8) {
            let state = "{\"global_step\": 3, \"log_history\": [{\"loss\": NaN, \"step\": 5}, {\"step\": 3}]}";
            let table = "step,loss\n1,2\n\"3\",x\n4,5\n";
            let lines = "{\"step\": 1, \"a\": NaN}\n{\"step\": 2}\n";
            let events = fs::read(fixture("tensorboard/events.out.tfevents.1769688000.gpu3")).unwrap();
            let names = ["metrics.jsonl", "metrics.csv", "trainer_state.json", "events.out.tfevents.1.h"];
            for (name, whole) in names.iter().zip([lines.as_bytes(), table.as_bytes(), state.as_bytes(), &events]) {
                let mut damaged = whole.to_vec();
                damaged[at % whole.len()] = byte;
                let cut = &whole[..at % whole.len()];
                for content in [&bytes, &damaged, cut] {
                    let run = Run::new();
                    run.write(name, content);
                    let source = Source::lines(run.0.join("metrics.jsonl")).or_else(|| Source::of_trainer(&run.0));
                    let Some(source) = source else { continue };
                    let mut rows = 0;
                    let counts = super::rows(&source, &Attempts::default(), &mut |_, _| rows += 1).unwrap();
                    prop_assert_eq!(counts.rows, rows);
                    if content == cut {
                        // A tail that is torn off is no error, wherever it was torn.
                        prop_assert_eq!(counts.skipped, 0);
                    }
                }
            }
        }
    }
}
