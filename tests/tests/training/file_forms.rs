//! How the files of trainers are written: separators, marks, links, and names that change with each attempt.

use serde_json::json;
use std::fs;
use std::os::unix::fs::symlink;
use testkit::Lab;
use testkit::progress::{fact, leaves, step};

#[test]
fn tables_may_have_semicolons_or_tabs() {
    for (name, content) in [
        ("log.csv", "epoch;val;loss\n0;0.5;2\n1;\"0;6\";1\n"), // the CSVLogger of Keras, with `separator=';'`
        ("training.log", "epoch\tval\tloss\r\n0\t0.5\t2\r\n1\tx\t1\r\n"),
        ("metrics.csv", "\u{feff}\"step\";\"val, last\";\"loss\"\n0;2;2\n1;;1\n"),
    ] {
        let lab = leaves(&[(name, content)]);
        assert_eq!((step(&lab), fact(&lab, "r", "metrics")), (json!(1), name.to_owned()));
        let loss = lab.status("r")["metrics"]["loss"].clone();
        assert_eq!((&loss["count"], &loss["last"]), (&json!(2), &json!(1)), "{name}");
    }
}

#[test]
fn a_mark_before_the_first_row_hides_it_not() {
    let rows = "\u{feff}{\"step\": 1, \"loss\": 2}\r\n{\"step\": 2, \"loss\": 1}\r\n";
    for name in ["metrics.jsonl", "logs/train.jsonl"] {
        let lab = leaves(&[(name, rows)]);
        assert_eq!((step(&lab), &lab.status("r")["metrics"]["loss"]["max"]), (json!(2), &json!(2)), "{name}");
        let done = lab.cmd("run-report").arg("--metrics").run().code(0).stderr("");
        assert_eq!(done.out(), "run,step,loss\nr,1,2\nr,2,1\n", "{name}");
    }
}

#[test]
fn a_status_may_hold_its_steps_and_their_number_in_an_object_or_in_quotes() {
    for status in [
        "{\"state\": \"running\", \"progress\": {\"Step\": 4, \"Total_Steps\": 16}, \"loss\": 1}",
        "{\"state\": \"running\", \"step\": \"4\", \"total_steps\": \"16\", \"name\": \"007\", \"loss\": 1}",
    ] {
        let lab = leaves(&[("status.json", status)]);
        assert_eq!((step(&lab), &lab.status("r")["total_steps"]), (json!(4), &json!(16)), "{status}");
        let metrics = lab.status("r")["metrics"].clone();
        assert_eq!(metrics.as_object().unwrap().keys().collect::<Vec<_>>(), ["loss"], "{status}");
    }
}

/// Runs attempts of a trainer that each write to a file of their own.
fn attempts(lab: &Lab, files: &[(&str, &str)]) {
    lab.new_run("r", &["sh", "-c", "cp -r made$RUN_ATTEMPT/. $RUN_DIR; exit 1"]);
    for (number, (name, content)) in files.iter().enumerate() {
        lab.write(&format!("made{}/{name}", number + 1), content);
        let resume: &[&str] = if number > 0 { &["--resume"] } else { &[] };
        lab.cmd("run-exec").arg("-q").args(resume).arg("r").run().code(1);
    }
}

#[test]
fn files_that_attempts_make_anew_under_other_dates_or_numbers_are_one_source() {
    for (first, second) in [
        ("20260129_120000/vis_data/scalars.json", "20260201_091011/vis_data/scalars.json"), // mmengine
        ("20260129_120000.log.json", "20260201_091011.log.json"),                           // mmcv
        ("out/2026-01-29/12-00-00/logs/train.jsonl", "out/2026-02-01/09-10-11/logs/train.jsonl"), // Hydra
        ("logs/train_1.jsonl", "logs/train_2.jsonl"),
        ("runs/train/exp/results.csv", "runs/train/exp2/results.csv"), // YOLO
        ("runs/train/exp9/results.csv", "runs/train/exp10/results.csv"),
    ] {
        let is_table = first.contains("results");
        let row = |step: u32, loss: u32| {
            if is_table {
                format!("{step},{loss}\n")
            } else {
                format!("{{\"step\": {step}, \"loss\": {loss}}}\n")
            }
        };
        let header = if is_table { "epoch,loss\n" } else { "" };
        let rows = |steps: [u32; 3], loss| header.to_owned() + &steps.map(|step| row(step, loss)).concat();
        let lab = Lab::new();
        attempts(&lab, &[(first, &rows([1, 2, 3], 7)), (second, &rows([3, 4, 5], 5))]);
        assert_eq!(step(&lab), json!(5), "{second}");
        let status = lab.status("r");
        assert_eq!(status["metrics_from"], json!([first, second]));
        let loss = &status["metrics"]["loss"];
        assert_eq!((&loss["count"], &loss["last"]), (&json!(5), &json!(5)), "{second}");
        assert_eq!(
            (&status["superseded_rows"], status["metrics"].as_object().unwrap().len()),
            (&json!(1), 1)
        );
        let done = lab.cmd("run-report").arg("--metrics").run().code(0);
        assert_eq!(done.out().lines().count(), 6, "{second}: {}", done.out());
    }
}

#[test]
fn metrics_behind_links_count_once() {
    let rows = "{\"step\": 1, \"loss\": 2}\n{\"step\": 2, \"loss\": 1}\n";
    for (name, to) in [("logs", "disk/logs"), ("metrics.csv", "disk/table")] {
        let lab = Lab::new();
        lab.new_run("r", &["sh", "-c", "cp made/train.jsonl disk/logs; cp made/table disk"]);
        lab.write("made/train.jsonl", rows);
        lab.write("made/table", "step,loss\n1,2\n2,1\n");
        fs::create_dir_all(lab.path("disk/logs")).unwrap();
        symlink(lab.path(to), lab.path("runs/r").join(name)).unwrap();
        symlink("train.jsonl", lab.path("disk/logs/latest.jsonl")).unwrap();
        symlink("..", lab.path("runs/r/self")).unwrap();
        lab.cmd("run-exec").args(["-q", "r"]).run().code(0).stderr("");
        assert_eq!(step(&lab), json!(2), "{name}");
        let status = lab.status("r");
        let found = if name == "logs" { "logs/train.jsonl" } else { name };
        assert_eq!(
            (&status["metrics_from"], &status["metrics"]["loss"]["count"]),
            (&json!([found]), &json!(2))
        );
    }
    // Other links of directories lead to what is not this run's.
    let lab = Lab::new();
    lab.new_run("r", &["sh", "-c", "printf 'step,loss\\n1,2\\n' > other/metrics.csv"]);
    fs::create_dir(lab.path("other")).unwrap();
    symlink(lab.path("other"), lab.path("runs/r/previous")).unwrap();
    symlink("nowhere", lab.path("runs/r/metrics.csv")).unwrap();
    fs::create_dir(lab.path("runs/r/logs")).unwrap();
    symlink("/dev/zero", lab.path("runs/r/logs/train.jsonl")).unwrap();
    lab.cmd("run-exec").args(["-q", "r"]).run().code(0).stderr("");
    assert_eq!(lab.status("r")["metrics_from"], json!(null));
}
