//! Every tool and every report names unreadable files of the runs of other systems in a line, and no other file
//! stands in for them.

use serde_json::{Value, json};
use std::fs;
use testkit::foreign::{connect4, connect4_status, experiments, rl_practice, short_rows, stealthrl};
use testkit::misplaced::Put;
use testkit::{Done, Lab};

/// What a report is asked for.
const REPORTS: [&[&str]; 13] = [
    &["--format=csv"],
    &["--format=json"],
    &["--format=md"],
    &[],
    &["--best=reward"],
    &["--compare"],
    &["--cost", "--rate=1"],
    &["--metrics"],
    &["--html=page.html"],
    &["--export=all.json"],
    &["--plot=reward"],
    &["--sql=runs.sql"],
    &["--export-tensorboard=tb"],
];

/// Executes a tool as a user to whom the modes of files apply.
fn by_somebody(lab: &Lab, tool: &str, words: &[&str]) -> Done {
    lab.cmd_by_somebody(tool).args(words).run()
}

/// Returns the run in the status of a run, and what run-status says of it, with exit status 3.
fn refused(lab: &Lab, run: &str) -> (Value, String) {
    let done = by_somebody(lab, "run-status", &["--json", run]).code(3);
    (done.json_lines().remove(0), done.err())
}

#[test]
fn damaged_rows_are_said_once_by_every_report() {
    let lab = Lab::new();
    for name in ["rows", "both", "fine"] {
        stealthrl(&lab, &format!("runs/{name}"), &json!({}), &short_rows(3));
    }
    let torn = format!("{}torn{{\n{}", short_rows(1), short_rows(3));
    lab.write("runs/rows/metrics.jsonl", &torn);
    lab.write("runs/both/metrics.jsonl", torn + "torn{\n" + &short_rows(1));
    lab.write("runs/both/run_metadata.json", "[]");
    for words in REPORTS {
        let done = lab.cmd("run-report").args(["-d", "runs"]).args(words).run().code(3);
        let said = done.err();
        let about =
            |what: &[&str]| said.lines().filter(|line| what.iter().all(|word| line.contains(word))).count();
        assert_eq!(about(&["1 line of", "runs/rows'", "left out"]), 1, "{words:?}: {said}");
        assert_eq!(about(&["2 lines of", "runs/both'", "left out"]), 1, "{words:?}: {said}");
        assert_eq!(about(&["cannot read 'runs/both/run_metadata.json'"]), 1, "{words:?}: {said}");
        assert_eq!(about(&["fine"]), 0, "{words:?}: {said}");
    }
    // Lines that are left out are no failure.
    lab.cmd("run-report").args(["--compare", "runs/rows", "runs/fine"]).run().code(0);
}

#[test]
fn what_is_no_file_is_said_in_the_place_of_metrics() {
    let lab = Lab::new();
    stealthrl(&lab, "template/stealth", &json!({}), &short_rows(3));
    stealthrl(&lab, "template/other", &json!({}), &short_rows(3));
    experiments(&lab, "template/batch");
    connect4(&lab, "template/c4", &connect4_status("completed", 60), None);
    rl_practice(&lab, "template", "r", &["10"], 3);
    lab.write("template/fit/version_0/hparams.yaml", "lr: 1\n");
    lab.write("template/fit/version_0/metrics.csv", "step,loss\n1,2\n");
    lab.write("template/mlruns/0/a/meta.yaml", "run_name: a\nstatus: 3\nstart_time: 1700000000000\n");
    for directory in ["params", "tags", "metrics"] {
        fs::create_dir_all(lab.path(format!("template/mlruns/0/a/{directory}"))).unwrap();
    }
    lab.write("template/mlruns/0/a/metrics/loss", "1700000000000 0.5 1\n");
    lab.write("template/mlruns/0/a/metrics/acc", "1700000000000 0.5 1\n");
    lab.write("template/victims/other", "theirs\n");
    for (run, file) in [
        ("stealth", "metrics.jsonl"),
        ("batch/easy", "stdout.log"),
        ("c4", "metrics.csv"),
        ("training_runs/r", "logs/train_log.jsonl"),
        ("fit/version_0", "metrics.csv"),
        ("mlruns/0/a", "metrics/loss"),
    ] {
        for (put, why) in [
            (Put::Dangling, "it is a link that leads nowhere"),
            (Put::Pipe, "it is a pipe"),
            (Put::Directory, "it is a directory"),
            (Put::Zero, "it is a device"),
        ] {
            if (run, put) == ("mlruns/0/a", Put::Directory) {
                continue; // of metrics whose names begin with it
            }
            lab.cmd("rm").args(["-rf", "case"]).run().code(0);
            lab.cmd("cp").args(["-a", "template", "case"]).run().code(0);
            put.at(&lab.path("case"), &format!("{run}/{file}"));
            let said = format!("case/{run}");
            let status = lab.cmd("run-status").args(["--json", &said]).run().code(3);
            assert_eq!(status.err().lines().count(), 1, "{run}: {}", status.err());
            assert!(status.err().contains(&said) && status.err().contains(why), "{run}: {}", status.err());
            for words in [&["--format=csv"][..], &["--metrics"], &["--cost", "--rate=1"], &["--html=a.html"]]
            {
                let done = lab.cmd("run-report").args(words).args([&said, "case/other"]).run().code(3);
                let about = done.err().lines().filter(|line| line.contains(why)).count();
                assert_eq!(about, 1, "{put:?} at {run}/{file}, {words:?}: {}", done.err());
            }
        }
    }
}

#[test]
fn nothing_stands_in_for_metrics_that_may_not_be_read() {
    let lab = Lab::new();
    rl_practice(&lab, "fs", "file", &["10"], 9);
    rl_practice(&lab, "fs", "logs", &["10"], 9);
    rl_practice(&lab, "fs", "fine", &["10"], 9);
    lab.set_mode("fs/training_runs/file/logs/train_log.jsonl", 0);
    lab.set_mode("fs/training_runs/logs/logs", 0);
    // A table of Lightning and of Stable Baselines 3, with other metrics beside it.
    for (run, file) in [("all/fit/version_0", "metrics.csv"), ("all/ppo", "progress.csv")] {
        lab.write(&format!("{run}/{file}"), "step,time/loss\n7,2\n");
        lab.write(&format!("{run}/logs/extra.jsonl"), "{\"step\": 2, \"loss\": 1}\n");
        lab.write(&format!("{run}/hparams.yaml"), "lr: 1\n");
        lab.set_mode(&format!("{run}/{file}"), 0);
    }
    let state = "{\"global_step\": 20, \"max_steps\": 20, \"log_history\": [{\"step\": 20, \"loss\": 0.5}]}";
    for step in [20, 40] {
        lab.write(
            &format!("all/hf/checkpoint-{step}/trainer_state.json"),
            state.replace("20", &step.to_string()),
        );
    }
    lab.set_mode("all/hf/checkpoint-40/trainer_state.json", 0);
    for directory in ["params", "tags", "metrics/train"] {
        fs::create_dir_all(lab.path(format!("all/mlruns/0/a/{directory}"))).unwrap();
    }
    lab.write("all/mlruns/0/a/meta.yaml", "run_name: a\nstatus: 3\nstart_time: 1700000000000\n");
    lab.write("all/mlruns/0/a/metrics/loss", "1700000000000 0.5 1\n");
    lab.cmd("cp").args(["-a", "all/mlruns/0/a", "all/mlruns/0/b"]).run().code(0);
    lab.set_mode("all/mlruns/0/a/metrics/train", 0);
    lab.set_mode("all/mlruns/0/b/metrics", 0);
    for (run, file) in [
        ("all/mlruns/0/a", "metrics/train"),
        ("all/mlruns/0/b", "metrics"),
        ("fs/training_runs/file", "logs/train_log.jsonl"),
        ("fs/training_runs/logs", "logs"),
        ("all/fit/version_0", "metrics.csv"),
        ("all/ppo", "progress.csv"),
        ("all/hf", "checkpoint-40/trainer_state.json"),
    ] {
        let (status, said) = refused(&lab, run);
        assert!(said.contains(&format!("cannot read '{run}/{file}': Permission denied")), "{said}");
        assert_eq!((said.lines().count(), &status["step"]), (1, &Value::Null), "{run}: {said}");
        assert_eq!(status["metrics"], json!({}), "{run}");
        for words in [&["--metrics"][..], &["--format=csv"]] {
            let done = by_somebody(&lab, "run-report", &[words, &[run]].concat()).code(3);
            assert!(done.err().contains("Permission denied"), "{run}: {}", done.err());
        }
    }
    let listed = by_somebody(&lab, "run-status", &["-d", "fs", "-a", "--json"]).code(3);
    assert_eq!(listed.json_lines().len(), 3);
    let fine = by_somebody(&lab, "run-status", &["--json", "fs/training_runs/fine"]).code(0);
    assert_eq!(fine.json_lines()[0]["step"], 9);
}
