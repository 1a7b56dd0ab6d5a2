//! Runs of other systems while they are running: watched, waited for, followed.

use serde_json::{Value, json};
use std::fs;
use testkit::Lab;
use testkit::foreign::{short_rows, stealthrl};

/// Creates a run that is running according to its files, with this number of rows.
fn works(lab: &Lab, rows: usize) {
    stealthrl(lab, "runs/s", &json!({"status": "running", "end_time": Value::Null}), &short_rows(rows));
}

/// Writes its metadata anew, at once.
fn end(lab: &Lab, status: &str) {
    stealthrl(lab, "scratch/s", &json!({"status": status}), "");
    fs::rename(lab.path("scratch/s/run_metadata.json"), lab.path("runs/s/run_metadata.json")).unwrap();
}

#[test]
fn who_waits_for_a_run_sees_it_end() {
    for (status, code) in [("completed", 0), ("failed", 1)] {
        let lab = Lab::new();
        works(&lab, 1);
        let late = lab.cmd("run-status").args(["--wait", "--timeout", "200ms", "s"]).run().code(1);
        assert!(late.err().contains("'runs/s' has not ended"), "{}", late.err());
        let waiting = lab.cmd("run-status").args(["--wait", "s"]).spawn();
        end(&lab, status);
        assert_eq!(waiting.wait().code(code).out(), format!("runs/s: {status}\n"));
    }
}

#[test]
fn who_watches_a_run_sees_each_row_and_the_end() {
    let lab = Lab::new();
    works(&lab, 1);
    let seen = fs::File::create(lab.path("seen")).unwrap();
    let watching = lab.cmd("run-status").args(["--watch=0.1", "--json", "s"]).stdout_to(seen).spawn();
    lab.await_text("seen", "\"step\":0,");
    lab.write("runs/s/metrics.jsonl", short_rows(3));
    lab.await_text("seen", "\"step\":2,");
    end(&lab, "completed");
    watching.wait().code(0);
    let lines = lab.json_lines("seen");
    let last = lines.last().unwrap();
    assert_eq!((&last["status"], &last["duration_s"]), (&json!("completed"), &json!(888.25)));
    assert!(lines.len() >= 3, "{lines:?}");
}

#[test]
fn who_follows_the_log_of_a_run_sees_its_end() {
    let lab = Lab::new();
    works(&lab, 1);
    let seen = fs::File::create(lab.path("seen")).unwrap();
    let following = lab.cmd("run-status").args(["--log", "-f", "s"]).stdout_to(seen).spawn();
    lab.await_text("seen", "step 1\n");
    lab.write("runs/s/training.log", "loading\nstep 1\nstep 2\n");
    lab.await_text("seen", "step 2\n");
    end(&lab, "completed");
    following.wait().code(0);
    assert_eq!(lab.read("seen"), "loading\nstep 1\nstep 2\n");
}
