//! Attempts that follow another by themselves.

use serde_json::{Value, json};
use testkit::batches::{batch, statuses};
use testkit::process::Signal;
use testkit::{Lab, wait_for};

#[test]
fn ends_that_may_pass_are_tried_again() {
    let lab = Lab::new();
    let exec = |name: &str, command: &str, options: &[&str]| {
        lab.new_run(name, &["sh", "-c", command]);
        lab.cmd("run-exec")
            .args(["-q", "--retries", "3", "--retry-delay", "10ms"])
            .args(options)
            .arg(name)
            .run()
    };
    let ends = |name: &str| -> Vec<(String, Value)> {
        lab.json_lines(&format!("runs/{name}/.run/attempts.jsonl"))
            .iter()
            .filter(|line| line["event"] == "end")
            .map(|line| (line["status"].as_str().unwrap().to_owned(), line["retry_in_s"].clone()))
            .collect()
    };
    let failed = |delay: Value| ("failed".to_owned(), delay);
    // A signal passes.
    exec("signal", "[ $RUN_ATTEMPT = 3 ] || kill -9 $$", &[]).code(0);
    assert_eq!(
        ends("signal"),
        [failed(json!(0.01)), failed(json!(0.02)), ("completed".to_owned(), Value::Null)]
    );
    // An ordinary failure does not, unless its status is named; and not for ever.
    exec("wrong", "exit 3", &[]).code(3);
    assert_eq!(ends("wrong"), [failed(Value::Null)]);
    exec("named", "exit 75", &["--retry-on", "74,75"]).code(75);
    for option in [["--retry-on", "75"], ["--retry-delay", "1s"]] {
        lab.cmd("run-exec").args(option).arg("named").run().code(125).stderr_has("--retries N missing");
        lab.cmd("run-exec").arg("--stdin").args(option).arg("named").run().code(125).stderr_has("--stdin");
    }
    assert_eq!(
        ends("named"),
        [failed(json!(0.01)), failed(json!(0.02)), failed(json!(0.04)), failed(Value::Null)]
    );
    assert_eq!(lab.status("named")["status"], "failed");
    // A stall passes, a time limit does not, nor a command that is not there.
    exec("stall", "[ $RUN_ATTEMPT = 2 ] || sleep 1000", &["--stall-timeout", "200ms"]).code(0);
    exec("time", "sleep 1000", &["--timeout", "100ms"]).code(124);
    assert_eq!(ends("time").len(), 1);
    lab.new_run("absent", &["no-such-command"]);
    lab.cmd("run-exec").args(["-q", "--retries", "3", "absent"]).run().code(127);
    assert_eq!(ends("absent").len(), 1);
    lab.nothing_left();
}

#[test]
fn an_attempt_whose_supervisor_was_killed_is_tried_again() {
    let lab = Lab::new();
    // It saves and exits with 0 when the monitor asks it to, and ends by itself the second time.
    let command = "trap 'exit 0' TERM; echo ready; while [ $RUN_ATTEMPT = 1 ]; do sleep 0.02; done";
    for (name, dies_with_it) in [("saves", false), ("dies", true)] {
        lab.new_run(name, &["sh", "-c", command]);
        let exec = lab.cmd("run-exec").args(["-q", "--retries", "1", "--retry-delay", "10ms", name]).spawn();
        lab.await_text(&format!("runs/{name}/stdout.log"), "ready");
        let status = lab.await_child(name);
        let supervisor = testkit::pid(&status, "pid");
        if dies_with_it {
            testkit::signal(supervisor, Signal::STOP);
            testkit::signal(testkit::pid(&status, "child_pid"), Signal::KILL);
        }
        testkit::signal(supervisor, Signal::KILL);
        exec.wait().code(0);
        let lines = lab.json_lines(&format!("runs/{name}/.run/attempts.jsonl"));
        let ends: Vec<Value> = lines.iter().filter(|line| line["event"] == "end").cloned().collect();
        let end = |end: &Value| json!([end["attempt"], end["status"], end["reason"], end["retry_in_s"]]);
        assert_eq!(
            ends.iter().map(end).collect::<Vec<_>>(),
            [json!([1, "failed", "supervisor was killed", 0.01]), json!([2, "completed", null, null])]
        );
        assert_eq!(lab.status(name)["status"], "completed");
        lab.nothing_left();
    }
}

#[test]
fn a_program_may_exit_with_any_status() {
    let lab = Lab::new();
    for name in ["a", "b"] {
        lab.new_run(name, &["sh", "-c", "exit 64"]);
    }
    let args = ["-q", "--unfinished", "--fail-fast", "a", "b"];
    lab.cmd("run-exec").args(args).run().code(1);
    let told = ["a", "b"].map(|name| lab.status(name)["status"].clone());
    assert_eq!(told, [json!("failed"), json!("created")]);
    let args = ["-q", "--unfinished", "--retries", "1", "--retry-on", "64", "--retry-delay", "0s", "a", "b"];
    lab.cmd("run-exec").args(args).run().code(1);
    let told =
        ["a", "b"].map(|name| (lab.status(name)["status"].clone(), lab.status(name)["attempt"].clone()));
    assert_eq!(told, [(json!("failed"), json!(3)), (json!("failed"), json!(2))]);
}

#[test]
fn an_attempt_that_follows_at_once_signs_the_lock_and_heeds_a_stop() {
    let lab = Lab::new();
    let at_once = ["-q", "--retries", "1", "--retry-delay", "0s"];
    lab.new_run("signs", &["sh", "-c", "cat $RUN_DIR/.run/lock; [ $RUN_ATTEMPT = 2 ] || kill -9 $$"]);
    lab.cmd("run-exec").args(at_once).arg("signs").run().code(0);
    let log = lab.read("runs/signs/stdout.log");
    let owners: Vec<&str> = log.lines().filter(|line| line.starts_with("process ")).collect();
    assert!(owners.len() == 2 && owners[0] != owners[1], "{owners:?}");
    lab.new_run("stops", &["sh", "-c", "[ $RUN_ATTEMPT = 2 ] || kill -9 $$"]);
    let stop = ["--on-end", ": >$RUN_STOP_FILE", "stops"];
    lab.cmd("run-exec").args(at_once).args(stop).run().code(143);
    assert_eq!(
        (&lab.status("stops")["status"], &lab.status("stops")["attempt"]),
        (&json!("stopped"), &json!(1))
    );
}

#[test]
fn a_signal_while_another_attempt_is_prepared_is_heeded() {
    let lab = Lab::new();
    lab.git(&["init", "-q"]);
    // Its code is looked at before an attempt: before the second, the one that looks is stopped.
    lab.write("bin/git", "#!/bin/sh\n[ ! -e second ] || kill -TERM $PPID\nPATH=${PATH#*:} exec git \"$@\"\n");
    lab.set_mode("bin/git", 0o755);
    lab.new_run("r", &["sh", "-c", "[ -e second ] || { : >second; kill -9 $$; }"]);
    let path =
        format!("{}:{}:/usr/local/bin:/usr/bin:/bin", lab.path("bin").display(), testkit::bin().display());
    let args = ["-q", "--retries", "1", "--retry-delay", "0s", "r"];
    lab.cmd("run-exec").args(args).env("PATH", path).run().code(143);
    let status = lab.status("r");
    assert_eq!((&status["status"], &status["attempt"]), (&json!("stopped"), &json!(1)));
    assert_eq!(status["reason"], "stopped by signal 15 (TERM)");
}

#[test]
fn a_signal_ends_what_an_attempt_is_prepared_for() {
    let lab = Lab::new();
    lab.git(&["init", "-q"]);
    // Its code is looked at before an attempt, which takes for ever.
    lab.write("bin/git", "#!/bin/sh\n: >asked\nexec sleep 1000\n");
    lab.set_mode("bin/git", 0o755);
    batch(&lab, "all", &[("a", "true"), ("b", "true")]);
    let path =
        format!("{}:{}:/usr/local/bin:/usr/bin:/bin", lab.path("bin").display(), testkit::bin().display());
    let exec = lab.cmd("run-exec").args(["-q", "all"]).env("PATH", path).spawn();
    wait_for("git to be asked", || lab.path("asked").exists());
    exec.signal(Signal::TERM);
    exec.wait().code(143);
    assert!(statuses(&lab, "all").values().all(|status| status == "created"));
}

#[test]
fn between_attempts_a_run_is_running_and_can_be_stopped() {
    let lab = Lab::new();
    for name in ["signal", "file", "controller"] {
        lab.new_run(name, &["sh", "-c", "kill -9 $$"]);
        let exec = lab.cmd("run-exec").args(["-q", "--retries", "1", "--retry-delay", "1000s", name]).spawn();
        let status = lab.await_status(name, "waiting", |status| {
            status["reason"].as_str().is_some_and(|reason| reason == "retry in 16m40s: signal 9 (KILL)")
        });
        assert_eq!((&status["status"], &status["attempt"]), (&json!("running"), &json!(1)));
        lab.cmd("run-exec").args(["--resume", name]).run().code(125).stderr_has("it is already running");
        match name {
            "signal" => {
                // The process that waits is the one that is recorded; run-stop finds it.
                lab.cmd("run-stop")
                    .args(["--why", "no use", name])
                    .run()
                    .code(0)
                    .stdout("runs/signal: stopped\n");
                exec.wait().code(143);
                assert!(lab.status(name)["reason"].as_str().unwrap().ends_with(": no use"));
            }
            "file" => {
                lab.write("runs/file/stop", "");
                exec.wait().code(143);
                assert_eq!(lab.status(name)["reason"], "stopped by the file 'stop'");
            }
            _ => {
                exec.signal(Signal::KILL);
                exec.wait();
                let status = lab.await_status(name, "over", |status| status["status"] != "running");
                assert_eq!(
                    (status["status"].as_str(), status["reason"].as_str()),
                    (Some("failed"), Some("signal 9 (KILL); run-exec was killed before another attempt"))
                );
            }
        }
        lab.await_nothing_left();
        lab.cmd("run-exec").args(["-q", "--resume", name, "--", "true"]).run().code(0);
    }
}
