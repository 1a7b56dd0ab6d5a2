//! Runs that are taken over, removed or replaced while they run.

use serde_json::Value;
use std::fs;
use testkit::active::{edit, start};
use testkit::process::Signal;
use testkit::{Lab, await_end, pid, state, wait_for};

#[test]
fn a_supervisor_that_has_written_to_another_run_lets_go_of_it() {
    let lab = Lab::new();
    let run = start(&lab, "r", &["--heartbeat", "20ms"], &["sleep", "1000"]);
    let supervisor = run.supervisor;
    testkit::signal(supervisor, Signal::STOP);
    wait_for("it to be stopped", || state(supervisor) == Some('T'));
    let record = lab.read("runs/r/.run/status.json");
    fs::remove_dir_all(lab.path("runs/r")).unwrap();
    lab.new_run("r", &["true"]);
    // As if it had been stopped between a look at the record and the next heartbeat.
    lab.write("runs/r/.run/status.json", record);
    testkit::signal(supervisor, Signal::CONT);
    run.exec.wait().code(125).stderr_has("another run is now '");
    lab.nothing_left();
}

#[test]
fn a_supervisor_whose_run_was_taken_over_ends_its_program_and_writes_nothing() {
    let lab = Lab::new();
    let run = start(&lab, "r", &["--heartbeat", "20ms"], &["sleep", "1000"]);
    // What another host writes that takes the run over. A heartbeat may come between, once.
    let taken = || {
        edit(&lab, "r", |record| {
            record["attempt"] = 2.into();
            record["host"] = "elsewhere".into();
            record["boot_id"] = "its own".into();
            record["last_heartbeat"] = "2100-01-01T00:00:00.000Z".into();
        });
    };
    wait_for("the program to be ended", || {
        taken();
        state(run.child).is_none_or(|state| state == 'Z')
    });
    let before = lab.read("runs/r/.run/status.json");
    run.exec.wait().code(125).stderr_has("another run-exec has taken the run over");
    assert_eq!(lab.read("runs/r/.run/status.json"), before);
    assert_eq!(lab.json_lines("runs/r/.run/attempts.jsonl").len(), 1);
    lab.nothing_left();
}

#[test]
fn a_run_that_is_removed_while_it_runs_is_ended_and_not_made_again() {
    let lab = Lab::new();
    let said = |name: &str, what: &str| {
        format!("run-exec: '{}' was removed; {what}\n", lab.path(format!("runs/{name}")).display())
    };
    // Not while it is written to.
    let remove = |name: &str, supervisor: i32, meanwhile: &dyn Fn()| {
        testkit::signal(supervisor, Signal::STOP);
        wait_for("it to be stopped", || state(supervisor) == Some('T'));
        fs::remove_dir_all(lab.path(format!("runs/{name}"))).unwrap();
        meanwhile();
        testkit::signal(supervisor, Signal::CONT);
    };
    let run = start(&lab, "r", &["--heartbeat", "20ms"], &["sleep", "1000"]);
    remove("r", run.supervisor, &|| {});
    run.exec.wait().code(125).stderr(&said("r", "ending the program"));
    assert!(!lab.path("runs/r").exists());
    // Another takes its place at once, and is let alone.
    let run = start(&lab, "r", &["--heartbeat", "20ms"], &["sleep", "1000"]);
    remove("r", run.supervisor, &|| drop(lab.new_run("r", &["true"])));
    let record = lab.read("runs/r/.run/status.json");
    run.exec.wait().code(125).stderr_has("ending the program");
    assert_eq!(lab.read("runs/r/.run/status.json"), record);
    assert!(!lab.path("runs/r/.run/attempts.jsonl").exists());
    // The program ends before that is noticed.
    let until = |file: &str| format!("until [ -e {file} ]; do sleep 0.02; done");
    let run = start(&lab, "short", &["--heartbeat", "1000s"], &["sh", "-c", &until("go")]);
    remove("short", run.supervisor, &|| drop(lab.write("go", "")));
    run.exec.wait().code(0).stderr(&said("short", "how it ended is not recorded"));
    assert!(!lab.path("runs/short").exists());
    // One of several, also between two attempts, is nothing to the others.
    for (name, command) in [("a", "sleep 1000"), ("b", "kill -9 $$"), ("c", &until("done"))] {
        lab.new_run(name, &["sh", "-c", command]);
    }
    let options = ["-q", "-j", "3", "--heartbeat", "20ms", "--retries", "1", "--retry-delay", "1000s"];
    let exec = lab.cmd("run-exec").args(options).args(["a", "b", "c"]).spawn();
    let supervisor = pid(&lab.await_child("a"), "pid");
    remove("a", supervisor, &|| {});
    await_end(supervisor);
    // The process that waits with the second attempt is a child of the front.
    let waits = |status: &Value| {
        let line = fs::read_to_string(format!("/proc/{}/status", status["pid"])).unwrap_or_default();
        line.contains(&format!("\nPPid:\t{}\n", exec.pid()))
    };
    let process = pid(&lab.await_status("b", "between attempts", waits), "pid");
    remove("b", process, &|| {});
    await_end(process);
    lab.write("done", "");
    let gone =
        format!("run-exec: cannot make another attempt: '{}' was removed\n", lab.path("runs/b").display());
    exec.wait().code(3).stderr(&(said("a", "ending the program") + &gone));
    assert_eq!((lab.status("c")["status"].as_str(), lab.path("runs/a").exists()), (Some("completed"), false));
    lab.nothing_left();
}

#[test]
fn a_run_that_is_replaced_between_two_attempts_is_let_alone() {
    let lab = Lab::new();
    lab.new_run("r", &["sh", "-c", "kill -9 $$"]);
    let options = ["-q", "--heartbeat", "20ms", "--retries", "1", "--retry-delay", "1000s", "r"];
    let exec = lab.cmd("run-exec").args(options).spawn();
    let waits = |status: &Value| {
        let line = fs::read_to_string(format!("/proc/{}/status", status["pid"])).unwrap_or_default();
        line.contains(&format!("\nPPid:\t{}\n", exec.pid()))
    };
    let process = pid(&lab.await_status("r", "between attempts", waits), "pid");
    testkit::signal(process, Signal::STOP);
    wait_for("it to be stopped", || state(process) == Some('T'));
    fs::remove_dir_all(lab.path("runs/r")).unwrap();
    lab.new_run("r", &["true"]);
    let record = lab.read("runs/r/.run/status.json");
    testkit::signal(process, Signal::CONT);
    exec.wait().code(125).stderr_has("cannot make another attempt: another run is now '");
    assert_eq!(lab.read("runs/r/.run/status.json"), record);
    lab.cmd("run-exec").arg("r").run().code(0);
    lab.nothing_left();
}
