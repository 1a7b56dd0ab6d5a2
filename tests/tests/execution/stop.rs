//! run-stop: what it stops, how long it waits, and what it says of what it leaves.

use serde_json::{Value, json};
use testkit::{Lab, pid, wait_for};

#[test]
fn run_stop_stops_one_several_or_all() {
    let lab = Lab::new();
    for name in ["a", "b", "c", "d"] {
        lab.new_run(name, &["sleep", "1000"]);
        lab.cmd("run-exec").args(["--detach", name]).run().code(0);
    }
    lab.cmd("run-stop").arg("a").run().code(0).stdout("runs/a: stopped\n").stderr("");
    lab.cmd("run-stop")
        .arg("a")
        .run()
        .code(0)
        .stdout("runs/a: stopped\n")
        .stderr("run-stop: 'runs/a' has already ended: stopped\n");
    let listed = lab.cmd("run-status").args(["--json", "b"]).run().out();
    lab.cmd("run-stop")
        .arg("-")
        .stdin(listed)
        .run()
        .code(0)
        .stdout(format!("{}: stopped\n", lab.path("runs/b").display()));
    lab.cmd("run-stop")
        .args(["nope", "c"])
        .run()
        .code(3)
        .stdout("runs/c: stopped\n")
        .stderr_has("no run 'nope'");
    lab.cmd("run-stop").arg("--all").run().code(0).stdout("runs/d: stopped\n");
    lab.cmd("run-stop").arg("--all").run().code(0).stdout("");
    lab.cmd("run-stop").run().code(2);
    lab.await_nothing_left();
    let reason = lab.status("c")["reason"].as_str().unwrap().to_owned();
    assert!(reason.starts_with("stopped by ") && reason.contains('@'), "{reason}");
}

#[test]
fn run_stop_returns_when_nothing_is_alive() {
    let lab = Lab::new();
    lab.new_run("r", &["sh", "-c", "trap '' TERM; (trap '' TERM; sleep 1000) & while :; do sleep 0.1; done"]);
    let exec = lab.cmd("run-exec").args(["-q", "--linger", "100ms", "r"]).spawn();
    lab.await_child("r");
    lab.cmd("run-stop").args(["--grace", "100ms", "r"]).run().code(0).stdout("runs/r: stopped\n");
    let left: Vec<i32> = lab.alive().into_iter().filter(|&pid| pid != exec.pid()).collect();
    assert!(left.is_empty(), "{left:?}");
    exec.wait().code(137);
}

#[test]
fn a_second_request_can_shorten_the_grace_and_the_first_is_recorded() {
    let lab = Lab::new();
    lab.new_run("r", &["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done"]);
    let exec = lab.cmd("run-exec").args(["-q", "--linger", "100ms", "r"]).spawn();
    lab.await_text("runs/r/stdout.log", "ready\n");
    // A reason is one line.
    let why = "\u{1b}[31mfirst\n\tof all\n";
    lab.cmd("run-stop").args(["--no-wait", "--why", why, "r"]).run().code(0).stdout("runs/r: running\n");
    let status = lab.await_status("r", "ending", |status| !status["reason"].is_null());
    let reason = status["reason"].as_str().unwrap();
    assert!(reason.starts_with("ending: stopped by ") && reason.ends_with(": first of all"), "{reason}");
    lab.cmd("run-stop")
        .args(["--grace", "0s", "--why", "second", "r"])
        .run()
        .code(0)
        .stdout("runs/r: stopped\n");
    exec.wait().code(137);
    let reason = lab.status("r")["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains(": first of all; killed ") && reason.ends_with(" linger 0.1s"), "{reason}");
}

#[test]
fn another_user_is_told_of_a_program_that_outlived_its_supervisor() {
    let lab = Lab::new();
    let run = lab.new_run("r", &["sleep", "1000"]);
    let exec = lab.cmd("run-exec").args(["-q", &run]).spawn();
    let status = lab.await_child("r");
    exec.kill_with(pid(&status, "pid"));
    let told = lab.cmd_by_somebody("run-status").args(["--json", "r"]).run().code(0).out();
    let told: Value = serde_json::from_str(&told).unwrap();
    let expected = format!("supervisor gone, process {} lives", status["child_pid"]);
    assert_eq!((&told["status"], told["reason"].as_str()), (&json!("stale"), Some(expected.as_str())));
    // A copy of the run is not the run.
    lab.cmd("cp").args(["-a", "runs/r", "runs/copy"]).run().code(0);
    assert_eq!(lab.status("copy")["status"], "dead");
    lab.cmd("run-stop").arg("copy").run().code(0).stdout("runs/copy: dead\n");
    assert_eq!(lab.status("r")["status"], "stale");
    lab.cmd("run-stop").args(["--no-wait", "r"]).run().code(0).stderr_has("asked 1 process of 'runs/r'");
    wait_for("it to end", || lab.status("r")["status"] == "dead");
}
