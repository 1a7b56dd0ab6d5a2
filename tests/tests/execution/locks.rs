//! Locks that another process holds, and does not let go: no work waits for the files of a batch for people,
//! nor for the pins of checkpoints, and no line of the log is lost.

use serde_json::Value;
use testkit::locks::hold;
use testkit::process::Signal;
use testkit::{Lab, Running};

/// Takes the lock of a batch, and holds it.
fn hold_batch(lab: &Lab) -> Running {
    hold(lab, "runs/b/.batch/lock")
}

fn batch(command: &str) -> Lab {
    let lab = Lab::new();
    lab.cmd("run-new")
        .args(["-b=b", "--set-by-env", "--sweep", "k=1..3", "--", "sh", "-c", command])
        .run()
        .code(0);
    lab
}

/// Returns the events in the log, without their times and what follows their second colon.
fn events(lab: &Lab) -> Vec<String> {
    let event = |line: &str| {
        let words = line.split_once(' ').unwrap().1;
        words.splitn(3, ": ").take(2).collect::<Vec<_>>().join(": ")
    };
    lab.read("runs/b/master_log.txt").lines().map(event).collect()
}

fn completed(lab: &Lab) -> Value {
    lab.json("runs/b/experiment_summary.json")["completed"].clone()
}

const ALL: [&str; 8] = [
    "batch started: 0 of 3 completed, 0 failed, 0 stopped, 3 not run",
    "run started: run_k-1",
    "run ended: run_k-1",
    "run started: run_k-2",
    "run ended: run_k-2",
    "run started: run_k-3",
    "run ended: run_k-3",
    "batch ended: 3 of 3 completed, 0 failed, 0 stopped, 0 not run",
];

#[test]
fn runs_do_not_wait_for_the_files_for_people() {
    let lab = batch("true");
    let holder = hold_batch(&lab);
    let done = lab.cmd("run-exec").args(["-q", "b"]).run().code(0);
    let expected = format!(
        "run-exec: 'runs/b/experiment_summary.json' is out of date: process {} on elsewhere holds its lock\n",
        holder.pid()
    );
    assert_eq!(done.err(), expected);
    assert_eq!(events(&lab), ALL);
    assert!(!lab.path("runs/b/experiment_summary.json").exists());
    holder.signal(Signal::KILL);
    holder.wait();
    lab.cmd("run-exec").args(["-q", "--resume", "b"]).run().code(0);
    assert_eq!(completed(&lab), 3);
}

#[test]
fn what_was_left_is_written_as_soon_as_the_lock_is_free() {
    let lab = batch("until [ -e go ]; do sleep 0.02; done");
    let holder = hold_batch(&lab);
    let exec = lab.cmd("run-exec").args(["-q", "b"]).spawn();
    lab.await_child("runs/b/run_k-1");
    assert!(!lab.path("runs/b/master_log.txt").exists());
    holder.signal(Signal::KILL);
    holder.wait();
    lab.await_text("runs/b/master_log.txt", "run started: run_k-1");
    lab.await_text("runs/b/experiment_summary.json", "\"running\":1");
    lab.write("go", "");
    exec.wait().code(0).stderr("");
    assert_eq!(events(&lab), ALL);
    assert_eq!(completed(&lab), 3);
}

#[test]
fn a_batch_is_interrupted_while_another_process_has_the_lock() {
    let lab = batch("sleep 1000");
    let holder = hold_batch(&lab);
    let exec = lab.cmd("run-exec").args(["-q", "-j", "2", "--grace", "1s", "b"]).spawn();
    lab.await_child("runs/b/run_k-1");
    exec.signal(Signal::INT);
    exec.wait().code(130).stderr_has("is out of date: process");
    assert_eq!(lab.status("runs/b/run_k-1")["status"], "stopped");
    assert!(events(&lab).last().unwrap().starts_with("batch ended: 0 of 3 completed"));
    holder.signal(Signal::KILL);
    holder.wait();
    lab.nothing_left();
}

#[test]
fn a_run_exec_that_was_suspended_with_the_lock_does_not_stop_another() {
    let lab = batch("true");
    lab.write("runs/b/stop", "");
    let holder = hold_batch(&lab);
    holder.signal(Signal::STOP);
    lab.cmd("run-exec").args(["-q", "runs/b/run_k-1"]).run().code(0).stderr("");
    lab.cmd("run-exec").args(["-q", "runs/b/run_k-2", "runs/b/run_k-3"]).run().code(1);
    lab.cmd("run-exec").args(["-q", "--unfinished", "b"]).run().code(0).stderr_has("is out of date");
    assert_eq!(lab.status("runs/b/run_k-3")["status"], "completed");
}

#[test]
fn pins_that_another_process_has_locked_are_done_without() {
    let lab = Lab::new();
    let program = "mkdir -p $RUN_DIR/checkpoints/step_1; echo {} >$RUN_DIR/checkpoints/step_1/state.json";
    let run = lab.new_run("r", &["sh", "-c", program]);
    lab.cmd("run-exec").args(["-q", &run]).run().code(0);
    std::fs::create_dir(lab.path("runs/r/.eval-pins")).unwrap();
    let holder = hold(&lab, "runs/r/.eval-pins/lock");
    let done = lab.cmd("run-eval").args(["r", "--", "echo", "{\"score\": 1}"]).run().code(0);
    let expected = "cannot pin checkpoints of '";
    assert!(
        done.err().contains(expected) && done.err().contains("another process holds its lock"),
        "{}",
        done.err()
    );
    holder.signal(Signal::KILL);
    holder.wait();
    lab.cmd("run-eval").args(["--force", "r", "--", "echo", "{\"score\": 1}"]).run().code(0).stderr("");
    assert!(!lab.path("runs/r/.eval-pins").exists());
}
