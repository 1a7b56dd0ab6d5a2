//! `run-new --adopt`: runs of other systems get a record of their own, their files stay as they are, and they go on as
//! runs of ours.

use serde_json::{Value, json};
use std::fs;
use testkit::Lab;
use testkit::foreign::{age, connect4, connect4_status, experiments, rl_practice, short_rows, stealthrl};
use testkit::reports::{by_python, report};

#[test]
fn adopted_runs_tell_the_same_as_before_and_are_given_back_by_removing_the_record() {
    let lab = Lab::new();
    stealthrl(&lab, "runs/stealth", &json!({}), &short_rows(3));
    experiments(&lab, "runs/batch");
    connect4(&lab, "runs/c4", &connect4_status("running", 600), None);
    rl_practice(&lab, "runs", "run_2025-08-19_12-34-56", &["10", "20"], 9);
    age(&lab, "runs", 600);
    let directories = [
        "runs/stealth",
        "runs/batch/easy",
        "runs/batch/hard",
        "runs/c4",
        "runs/training_runs/run_2025-08-19_12-34-56",
    ];
    let told = || {
        let listed = lab.cmd("run-status").arg("--json").args(directories).run().code(0).json_lines();
        let wanted =
            ["status", "start_time", "step", "total_steps", "metrics", "recent", "exit_code", "command"];
        let of = |run: &Value| wanted.map(|key| run[key].clone());
        listed.iter().map(of).collect::<Vec<_>>()
    };
    let (before, rows) = (told(), report(&lab, &["--metrics"]));
    let adopted = lab.cmd("run-new").arg("--adopt").args(directories).run().code(0);
    assert_eq!(adopted.out(), directories.map(|path| format!("{path}\n")).concat());
    let mut after = told();
    for (number, (before, after)) in before.iter().zip(&mut after).enumerate() {
        // What is in doubt, or dead, is recorded to have failed.
        if number >= 3 {
            assert_eq!(after[0], "failed");
            after[0] = before[0].clone();
        }
        assert_eq!(before, after, "{}", directories[number]);
    }
    assert_eq!(by_python(&lab, &report(&lab, &["--metrics"])), by_python(&lab, &rows));
    let status = lab.status("runs/c4");
    assert_eq!(
        (&status["reason"], &status["attempt"]),
        (&json!("its process has ended and did not say how"), &json!(1))
    );
    assert_eq!(lab.json("runs/c4/.run/meta.json")["config_file"], "config.yaml");
    let again = lab.cmd("run-new").args(["--adopt", "runs/c4"]).run().code(1);
    assert_eq!(again.err(), "run-new: cannot adopt 'runs/c4': it already has a record of its own\n");
    for directory in directories {
        fs::remove_dir_all(lab.path(format!("{directory}/.run"))).unwrap();
    }
    assert_eq!(told(), before);
}

#[test]
fn an_adopted_run_goes_on() {
    let lab = Lab::new();
    connect4(&lab, "runs/c4", &connect4_status("stopped", 600), None);
    let script =
        "echo $RUN_ATTEMPT $RUN_RESUME_FROM >args; echo 300,12,0.75,0.5 >>$RUN_DIR/metrics.csv; cat {config}";
    let line = ["--adopt", "--tag", "old", "runs/c4", "--", "sh", "-c", script];
    let created = lab.cmd("run-new").arg("--json").args(line).run().code(0).json_lines();
    assert_eq!((&created[0]["tags"], &created[0]["run_name"]), (&json!(["old"]), &json!("c4")));
    assert!(created[0]["path"].as_str().unwrap().ends_with("/runs/c4"));
    lab.cmd("run-exec").args(["-q", "--resume", "c4"]).run().code(0);
    let resumed = lab.path("runs/c4/checkpoints/model_200.pt");
    assert_eq!(lab.read("args"), format!("2 {}\n", resumed.display()));
    assert!(lab.read("runs/c4/stdout.log").starts_with("seed: 42\n"));
    let status = lab.status("runs/c4");
    assert_eq!((&status["status"], &status["step"]), (&json!("completed"), &json!(300)));
    assert_eq!(status["metrics"]["reward"]["count"], 2);
    let attempts = lab.json_lines("runs/c4/.run/attempts.jsonl");
    assert_eq!(
        attempts.iter().map(|line| line["attempt"].as_u64().unwrap()).collect::<Vec<_>>(),
        [1, 1, 2, 2]
    );
}

#[test]
fn what_is_at_work_or_is_no_run_is_not_adopted() {
    let lab = Lab::new();
    stealthrl(&lab, "runs/works", &json!({"status": "running", "end_time": Value::Null}), &short_rows(1));
    lab.write("runs/data/0.jpg", "");
    let refused = lab.cmd("run-new").args(["--adopt", "runs/works"]).run().code(4);
    assert_eq!(
        refused.err(),
        "run-new: cannot adopt 'runs/works': it is running\nrun-new: adopt it after it has ended\n"
    );
    lab.cmd("run-new").args(["--adopt", "runs/data"]).run().code(3).stderr_has("no known layout");
    lab.cmd("run-new").arg("--adopt").run().code(2).stderr_has("--adopt takes the directories of runs");
    lab.cmd("run-new").args(["--adopt", "-s", "lr=1", "runs/works"]).run().code(2);
    for run in ["works", "data"] {
        assert!(!lab.path(format!("runs/{run}/.run")).exists());
        let left = fs::read_dir(lab.path(format!("runs/{run}"))).unwrap().flatten();
        assert!(left.into_iter().all(|entry| !entry.file_name().to_string_lossy().starts_with('.')));
    }
}
