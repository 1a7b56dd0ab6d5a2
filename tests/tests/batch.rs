//! Several runs from one run-exec: batches, pipes, slots, retries, and what becomes of them when it is
//! interrupted or killed.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::thread::sleep;
use std::time::Duration;
use testkit::process::Signal;
use testkit::{Lab, Random, pid, times, wait_for};

/// Makes a batch of runs, each of a shell command.
fn batch(lab: &Lab, name: &str, runs: &[(&str, &str)]) {
    fs::create_dir_all(lab.path(format!("runs/{name}/.batch"))).unwrap();
    lab.write(&format!("runs/{name}/.batch/batch.json"), "{}\n");
    for (run, command) in runs {
        let dir = format!("runs/{name}");
        lab.cmd("run-new").args(["-d", &dir, "-n", run, "--", "sh", "-c", command]).run().code(0);
    }
}

fn summary(lab: &Lab, name: &str) -> Value {
    lab.json(&format!("runs/{name}/experiment_summary.json"))
}

/// Returns the events of a batch without their times.
fn events(lab: &Lab, name: &str) -> Vec<String> {
    let log = lab.read(&format!("runs/{name}/master_log.txt"));
    log.lines().map(|line| line.split_once(' ').unwrap().1.to_owned()).collect()
}

/// Returns the statuses of the runs of a batch by name.
fn statuses(lab: &Lab, name: &str) -> BTreeMap<String, String> {
    let lines = lab.cmd("run-status").args(["--json", name]).run().code(0).json_lines();
    let word = |line: &Value, key: &str| line[key].as_str().unwrap().to_owned();
    lines.into_iter().map(|line| (word(&line, "run_name"), word(&line, "status"))).collect()
}

#[test]
fn a_batch_goes_on_past_failures_in_order_and_sums_up_after_each() {
    let lab = Lab::new();
    lab.write("wrong.py", "def f(:\n");
    lab.write(
        "late.py",
        "import os\nd = os.environ['RUN_DIR'] + '/checkpoint-3'\nos.makedirs(d)\nopen(d + '/model.bin', 'w').write('x')\n\
         open(d + '/trainer_state.json', 'w').write('{}')\nraise ValueError('late')\n",
    );
    lab.write(
        "nan.py",
        "import json, os\nwith open(os.environ['RUN_METRICS'], 'w') as f:\n    f.write(json.dumps({'step': 1, 'loss': float('nan')}) + '\\n')\n\
         raise FloatingPointError('loss is NaN')\n",
    );
    // The summary is right whenever a run has just started: those before it have ended.
    lab.write(
        "good.py",
        "import json\nprint(json.load(open('runs/all/experiment_summary.json'))['failed'])\n",
    );
    // Names that would sort otherwise: the order is that of creation.
    batch(
        &lab,
        "all",
        &[
            ("d", "python3 wrong.py"),
            ("c", "python3 late.py"),
            ("a", "python3 nan.py"),
            ("b", "python3 good.py"),
        ],
    );
    let done = lab.cmd("run-exec").arg("all").run().code(1);
    assert!(done.out().ends_with("3\n"), "{}", done.out());
    let summary = summary(&lab, "all");
    let count = |key: &str| summary[key].as_u64().unwrap();
    assert_eq!(
        ["total", "completed", "failed", "stopped", "running", "not_run"].map(count),
        [4, 1, 3, 0, 0, 0]
    );
    let run = |name: &str| {
        summary["runs"].as_array().unwrap().iter().find(|run| run["name"] == name).unwrap().clone()
    };
    for (name, reason) in [
        ("d", "exit 1: SyntaxError: invalid syntax"),
        ("c", "exit 1: ValueError: late"),
        ("a", "exit 1: FloatingPointError: loss is NaN"),
    ] {
        assert_eq!((&run(name)["status"], &run(name)["reason"]), (&json!("failed"), &json!(reason)));
        assert_eq!(run(name)["exit_code"], 1);
        assert!(run(name)["duration_s"].as_f64().unwrap() > 0.0);
    }
    assert_eq!(run("c")["final_checkpoint"], "checkpoint-3");
    assert_eq!(run("a")["metrics"], json!({"loss": null}));
    assert_eq!((&run("b")["status"], &run("b")["reason"]), (&json!("completed"), &Value::Null));
    let events = events(&lab, "all");
    let order: Vec<&str> = events.iter().filter_map(|event| event.strip_prefix("run started: ")).collect();
    assert_eq!(order, ["d", "c", "a", "b"]);
    assert_eq!(events[0], "batch started: 0 of 4 completed, 0 failed, 0 stopped, 4 not run");
    assert!(
        events[2].starts_with("run ended: d: failed: exit 1: SyntaxError: invalid syntax ("),
        "{events:?}"
    );
    assert_eq!(events.last().unwrap(), "batch ended: 1 of 4 completed, 3 failed, 0 stopped, 0 not run");
    // A batch is an operand of every tool.
    assert_eq!(statuses(&lab, "all").len(), 4);
    assert_eq!(lab.cmd("run-status").arg("runs/all").run().code(0).out().lines().count(), 5);
    let listed = lab.cmd("run-status").arg("-a").run().code(0).out();
    assert!(listed.contains("\nall/  1 completed, 3 failed\n  a "), "{listed}");
    lab.cmd("run-stop").arg("all").run().code(0).stdout("");
    // What was executed is refused; with --unfinished it is tried again, and what completed is not.
    lab.cmd("run-exec").arg("all").run().code(1).stderr_has("it has been executed, and is failed");
    lab.write("wrong.py", "");
    lab.cmd("run-exec").args(["-q", "--unfinished", "all"]).run().code(1);
    let attempts = |name: &str| lab.status(&format!("runs/all/{name}"))["attempt"].clone();
    assert_eq!(["a", "b", "c", "d"].map(attempts), [json!(2), json!(1), json!(2), json!(2)]);
    assert_eq!(statuses(&lab, "all")["d"], "completed");
}

#[test]
fn fail_fast_starts_no_more() {
    let lab = Lab::new();
    batch(&lab, "all", &[("a", "exit 0"), ("b", "exit 3"), ("c", "exit 0")]);
    lab.cmd("run-exec").args(["-q", "--fail-fast", "all"]).run().code(1).stderr("");
    let expected = [("a", "completed"), ("b", "failed"), ("c", "created")];
    assert_eq!(
        statuses(&lab, "all"),
        expected.map(|(name, status)| (name.to_owned(), status.to_owned())).into()
    );
    assert_eq!(summary(&lab, "all")["not_run"], 1);
    lab.cmd("run-exec").args(["-q", "--unfinished", "c"]).run().code(0);
    lab.cmd("run-exec").args(["-q", "--unfinished", "c"]).run().code(0);
    assert_eq!(lab.status("c")["attempt"], 1);
}

#[test]
fn several_operands_and_lines_are_worked_off() {
    let lab = Lab::new();
    for name in ["a", "b c", "it's"] {
        lab.new_run(name, &["sh", "-c", "echo \"$RUN_NAME\""]);
    }
    lab.cmd("run-exec")
        .args(["a", "nope", "b c"])
        .run()
        .code(3)
        .stdout("a\nb c\n")
        .stderr_has("no run 'nope'");
    let line = lab.cmd("run-status").args(["--json", "it's"]).run().code(0).out();
    lab.cmd("run-exec").arg("-").stdin(line).run().code(0).stdout("it's\n");
    lab.new_run("x\u{1f680}", &["sh", "-c", "exit 7"]);
    lab.cmd("run-exec").args(["-q", "-0", "-"]).stdin("x\u{1f680}\0").run().code(1);
    lab.cmd("run-exec").arg("-").stdin("").run().code(0).stdout("");
    // Of one run named as such, the status is the command's.
    lab.cmd("run-exec").args(["-q", "--resume", "x\u{1f680}"]).run().code(7);
    lab.cmd("run-exec").args(["--stdin", "a", "b c"]).run().code(125).stderr_has("--stdin is for one run");
}

#[test]
fn a_pipe_is_worked_off_as_runs_come() {
    let lab = Lab::new();
    let mut exec = lab.cmd("run-exec").args(["-q", "-j", "2", "-"]).stdin("").spawn();
    drop(exec.child.stdin.take());
    exec.wait().code(0);
    let fifo = lab.path("fifo");
    lab.cmd("mkfifo").arg(&fifo).run().code(0);
    let script = "run-exec -q -j 2 - < fifo";
    let exec = lab.cmd("sh").args(["-c", &format!("exec {script}")]).spawn();
    let mut pipe = OpenOptions::new().write(true).open(&fifo).unwrap();
    for number in 0..5 {
        let name = format!("r{number}");
        let run = lab.new_run(&name, &["true"]);
        writeln!(pipe, "{run}").unwrap();
        // It is executed while the pipe stays open.
        lab.await_status(&name, "completed", |status| status["status"] == "completed");
    }
    // A slow line comes in pieces.
    let run = lab.new_run("slow", &["true"]);
    write!(pipe, "{}", &run[..6]).unwrap();
    pipe.flush().unwrap();
    write!(pipe, "{}", &run[6..]).unwrap();
    drop(pipe);
    exec.wait().code(0);
    assert_eq!(lab.status("slow")["status"], "completed");
    lab.nothing_left();
}

#[test]
fn a_run_that_is_named_twice_is_executed_once() {
    let lab = Lab::new();
    let once = "test $RUN_ATTEMPT = 1 && echo $RUN_NAME";
    lab.new_run("a", &["sh", "-c", once]);
    let expected = "run-exec: 'runs/a' was named before, and is executed once\n";
    lab.cmd("run-exec").args(["a", "runs/a"]).run().code(0).stdout("a\n").stderr(expected);
    batch(&lab, "all", &[("x", once), ("y", once)]);
    let expected = "run-exec: 1 of the 2 runs of 'runs/all' were named before, and are executed once\n";
    let done = lab.cmd("run-exec").args(["-j", "3", "-", "all"]).stdin("y\n").run().code(0).stderr(expected);
    assert_eq!(done.out().lines().collect::<std::collections::BTreeSet<_>>(), ["x", "y"].into());
    let lines = lab.cmd("run-exec").args(["--resume", "-"]).stdin("x\nall/x\nx\n").run().code(1).err();
    assert_eq!(lines.matches("'runs/all/x' was named before").count(), 2, "{lines}");
    assert_eq!(lab.status("x")["attempt"], 2);
}

#[test]
fn a_batch_that_cannot_be_read_is_one_clear_line() {
    let lab = Lab::new();
    batch(&lab, "shut", &[("x", "true")]);
    lab.set_mode("runs/shut/.batch", 0o000);
    let expected = "run-exec: cannot read 'runs/shut/.batch/batch.json': Permission denied\n";
    lab.cmd_by_somebody("run-exec").arg("shut").run().code(125).stderr(expected);
    lab.cmd_by_somebody("run-exec").args(["shut", "shut"]).run().code(3).stderr(&expected.repeat(2));
    lab.set_mode("runs/shut/.batch", 0o755);
    fs::remove_dir_all(lab.path("runs/shut/.batch")).unwrap();
    lab.write("runs/shut/.batch", "");
    let expected = "run-exec: cannot read 'runs/shut/.batch/batch.json': Not a directory\n";
    lab.cmd("run-exec").arg("shut").run().code(125).stderr(expected);
    // The run is one all the same, and a directory without either is none.
    lab.cmd("run-exec").arg("runs/shut/x").run().code(0).stderr("");
    fs::remove_file(lab.path("runs/shut/.batch")).unwrap();
    lab.cmd("run-exec").arg("shut").run().code(125).stderr_has("the directory has no .run/meta.json");
}

#[test]
fn a_stop_of_a_batch_that_is_being_started_reaches_the_runs_at_work() {
    let lab = Lab::new();
    let runs: Vec<String> = (0..30).map(|number| format!("r{number:02}")).collect();
    let command = "touch runs/all/stop; exec sleep 1000";
    batch(&lab, "all", &runs.iter().map(|name| (name.as_str(), command)).collect::<Vec<_>>());
    lab.cmd("run-exec")
        .args(["-q", "-j", "30", "all"])
        .run()
        .code(1)
        .stderr_has("stopped by the file 'stop'");
    let statuses = statuses(&lab, "all");
    assert_eq!(statuses["r00"], "stopped");
    assert!(statuses.values().all(|status| status == "stopped" || status == "created"), "{statuses:?}");
    lab.nothing_left();
}

#[test]
fn slots_are_never_shared_and_free_after_a_kill() {
    let lab = Lab::new();
    // Each run takes its slot's directory for as long as it works: a second one would fail.
    let command = "mkdir slot$CUDA_VISIBLE_DEVICES || exit 9; trap 'rmdir slot$CUDA_VISIBLE_DEVICES' EXIT; \
                   echo $CUDA_DEVICE_ORDER; sleep 0.05";
    let names: Vec<String> = (0..10).map(|number| format!("r{number}")).collect();
    let runs: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), command)).collect();
    batch(&lab, "all", &runs);
    lab.cmd("run-exec").args(["-q", "--gpus", "0,1", "-j", "2", "all"]).run().code(0);
    for name in &names {
        assert_eq!(lab.read(&format!("runs/all/{name}/stdout.log")), "PCI_BUS_ID\n");
    }
    let gpus: std::collections::BTreeSet<String> = names
        .iter()
        .map(|name| {
            lab.json_lines(&format!("runs/all/{name}/.run/attempts.jsonl"))[0]["CUDA_VISIBLE_DEVICES"]
                .to_string()
        })
        .collect();
    assert_eq!(gpus, ["\"0\"".to_owned(), "\"1\"".to_owned()].into());
    lab.cmd("run-exec")
        .args(["--gpus", "0,1", "-j", "3", "all"])
        .run()
        .code(125)
        .stderr_has("more than the 2 slots");
    // Two processors for each, and the placeholder.
    lab.cmd("run-new")
        .args(["-n", "two", "--", "sh", "-c", "echo $0 $CUDA_VISIBLE_DEVICES", "{gpu}"])
        .run()
        .code(0);
    lab.cmd("run-exec").args(["--gpus", "0+1", "two"]).run().code(0).stdout("0,1 0,1\n");
    // A kill -9 of a trainer frees its slot.
    batch(&lab, "k", &[("a", "echo $$ > pid; sleep 1000"), ("b", "true")]);
    let exec = lab.cmd("run-exec").args(["-q", "--gpus", "5", "k"]).spawn();
    wait_for("the trainer to run", || lab.path("pid").exists() && !lab.bytes("pid").is_empty());
    testkit::signal(lab.read("pid").trim().parse().unwrap(), Signal::KILL);
    exec.wait().code(1);
    assert_eq!(
        (statuses(&lab, "k")["a"].as_str(), statuses(&lab, "k")["b"].as_str()),
        ("failed", "completed")
    );
}

#[test]
fn an_interrupt_ends_the_runs_at_work_and_starts_no_more() {
    let lab = Lab::new();
    let stubborn = "trap 'exit 0' INT TERM; echo ready; while :; do sleep 0.02; done";
    for (signal, code, named) in
        [(Signal::INT, 130, "2 (INT)"), (Signal::TERM, 143, "15 (TERM)"), (Signal::HUP, 129, "1 (HUP)")]
    {
        let name = format!("b{code}");
        batch(&lab, &name, &[("a", stubborn), ("b", stubborn), ("c", "true"), ("d", "true")]);
        let exec = lab.cmd("run-exec").args(["-q", "-j", "2", &name]).spawn();
        for run in ["a", "b"] {
            lab.await_text(&format!("runs/{name}/{run}/stdout.log"), "ready");
        }
        exec.signal(signal);
        exec.wait().code(code);
        let summary = summary(&lab, &name);
        assert_eq!(
            (&summary["stopped"], &summary["not_run"], &summary["running"]),
            (&json!(2), &json!(2), &json!(0))
        );
        let reason = lab.status(&format!("runs/{name}/a"))["reason"].clone();
        assert_eq!(reason, format!("stopped by signal {named}"));
        let last = events(&lab, &name).pop().unwrap();
        assert!(
            last.starts_with("batch ended: 0 of 4 completed, 0 failed, 2 stopped, 2 not run, ended by SIG"),
            "{last}"
        );
        lab.nothing_left();
        // The same line again goes on where it was.
        lab.cmd("run-exec").args(["-q", "-j", "2", "--unfinished", &name, "--", "true"]).run().code(0);
        assert!(statuses(&lab, &name).values().all(|status| status == "completed"));
    }
}

#[test]
fn a_second_interrupt_kills() {
    let lab = Lab::new();
    batch(&lab, "all", &[("a", "trap '' INT TERM; echo ready; exec sleep 1000"), ("b", "true")]);
    let exec = lab.cmd("run-exec").args(["-q", "all"]).spawn();
    lab.await_text("runs/all/a/stdout.log", "ready");
    exec.signal(Signal::INT);
    lab.await_status("runs/all/a", "ending", |status| !status["reason"].is_null());
    exec.signal(Signal::INT);
    exec.wait().code(130);
    assert_eq!(
        (lab.status("runs/all/a")["signal"].as_i64(), statuses(&lab, "all")["b"].as_str()),
        (Some(9), "created")
    );
    lab.nothing_left();
}

#[test]
fn a_stop_of_one_run_is_for_it_alone_and_of_the_batch_for_all() {
    let lab = Lab::new();
    let waits = "echo ready; sleep 1000";
    batch(&lab, "all", &[("a", waits), ("b", waits), ("c", waits), ("d", "true")]);
    let exec = lab.cmd("run-exec").args(["-q", "all"]).spawn();
    lab.await_text("runs/all/a/stdout.log", "ready");
    lab.cmd("run-stop").arg("runs/all/a").run().code(0).stdout("runs/all/a: stopped\n");
    lab.await_text("runs/all/b/stdout.log", "ready");
    lab.cmd("run-stop").args(["--why", "enough", "all"]).run().code(0).stdout("runs/all/b: stopped\n");
    exec.wait().code(1).stderr_has("'runs/all' was stopped by ");
    let found = statuses(&lab, "all");
    assert_eq!((found["c"].as_str(), found["d"].as_str()), ("created", "created"));
    assert!(events(&lab, "all").last().unwrap().ends_with(": enough"), "{:?}", events(&lab, "all"));
    // It stays stopped until it is wanted again.
    lab.cmd("run-exec").args(["-q", "all"]).run().code(1).stderr_has("--unfinished goes on with it");
    assert_eq!(statuses(&lab, "all")["c"], "created");
    // By hand.
    let exec = lab.cmd("run-exec").args(["-q", "--unfinished", "all"]).spawn();
    wait_for("the first to run again", || lab.read("runs/all/a/stdout.log").lines().count() == 2);
    lab.write("runs/all/stop", "");
    exec.wait().code(1);
    assert_eq!(lab.status("runs/all/a")["reason"], "stopped by the file 'stop'");
    assert_eq!(lab.status("runs/all/b")["attempt"], 1);
    lab.nothing_left();
}

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
        lab.cmd("run-exec").args(option).arg("named").run().code(125).stderr_has("--retries <N>");
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
        lab.cmd("run-exec").args(["--resume", name]).run().code(125).stderr_has("it is running already");
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
        wait_for("nothing to be left", || lab.alive().is_empty());
        lab.cmd("run-exec").args(["-q", "--resume", name, "--", "true"]).run().code(0);
    }
}

#[test]
fn a_controller_that_is_killed_leaves_true_records_and_another_goes_on() {
    let lab = Lab::new();
    let mut random = Random::new(4);
    let count = times(3, 50);
    // Each run notes in a file of its own that it has done its work: once is right.
    let command = "echo $RUN_ATTEMPT >> started; sleep 0.03; echo done >> finished";
    let mut killed_amid = 0;
    for round in 0..count {
        let name = format!("b{round}");
        let names: Vec<String> = (0..50).map(|number| format!("r{number:02}")).collect();
        fs::create_dir_all(lab.path(format!("runs/{name}/.batch"))).unwrap();
        lab.write(&format!("runs/{name}/.batch/batch.json"), "{}\n");
        for run in &names {
            let dir = format!("runs/{name}");
            lab.cmd("run-new")
                .args(["-d", &dir, "-n", run, "--", "sh", "-c", &format!("cd $RUN_DIR; {command}")])
                .run()
                .code(0);
        }
        let options = ["-q", "-j", "4", "--grace", "1s", "--linger", "100ms"];
        let exec = lab.cmd("run-exec").args(options).arg(&name).spawn();
        sleep(Duration::from_micros(random.below(700_000))); // the moment that is tried, not a wait
        exec.signal(Signal::KILL);
        exec.wait();
        wait_for("its runs to end", || lab.alive().is_empty());
        let before = statuses(&lab, &name);
        assert_eq!(before.len(), 50);
        for (run, status) in &before {
            let finished = lab.path(format!("runs/{name}/{run}/finished")).exists();
            match status.as_str() {
                "completed" => assert!(finished, "{run}"),
                "created" => assert!(!finished, "{run}"),
                // It had done its work when it was ended, or not.
                "failed" => {
                    assert_eq!(lab.status(&format!("runs/{name}/{run}"))["reason"], "run-exec was killed");
                }
                other => panic!("{run}: {other}"),
            }
        }
        let completed: Vec<&String> =
            before.iter().filter(|(_, status)| *status == "completed").map(|(run, _)| run).collect();
        killed_amid += usize::from(!completed.is_empty() && completed.len() < 50);
        lab.cmd("run-exec").args(options).args(["--unfinished", &name]).run().code(0);
        assert!(statuses(&lab, &name).values().all(|status| status == "completed"));
        for run in &names {
            let started = lab.read(&format!("runs/{name}/{run}/started"));
            if completed.contains(&run) {
                assert_eq!(started, "1\n", "{run} ran twice");
            }
        }
        let summary = summary(&lab, &name);
        assert_eq!((&summary["completed"], &summary["total"]), (&json!(50), &json!(50)));
        lab.nothing_left();
    }
    assert!(killed_amid > 0, "no kill came in the middle of a batch");
    eprintln!("{count} kills of a controller, {killed_amid} in the middle of its batch");
}

#[test]
fn two_controllers_share_a_batch() {
    let lab = Lab::new();
    let names: Vec<String> = (0..20).map(|number| format!("r{number:02}")).collect();
    let runs: Vec<(&str, &str)> =
        names.iter().map(|name| (name.as_str(), "echo x >> $RUN_DIR/started; sleep 0.02")).collect();
    batch(&lab, "all", &runs);
    let controllers =
        [0, 1].map(|_| lab.cmd("run-exec").args(["-q", "-j", "2", "--unfinished", "all"]).spawn());
    for controller in controllers {
        controller.wait().code(0);
    }
    assert!(statuses(&lab, "all").values().all(|status| status == "completed"));
    for name in &names {
        assert_eq!(lab.read(&format!("runs/all/{name}/started")), "x\n");
    }
    assert_eq!(summary(&lab, "all")["completed"], 20);
}

#[test]
fn a_batch_can_be_left_to_itself() {
    let lab = Lab::new();
    batch(&lab, "all", &[("a", "sleep 0.1"), ("b", "exit 4")]);
    lab.cmd("run-exec").args(["--detach", "all"]).run().code(0).stdout("").stderr("");
    wait_for("the batch to end", || {
        lab.path("runs/all/master_log.txt").exists()
            && events(&lab, "all").last().is_some_and(|event| event.starts_with("batch ended"))
    });
    assert_eq!(
        (statuses(&lab, "all")["a"].as_str(), statuses(&lab, "all")["b"].as_str()),
        ("completed", "failed")
    );
    wait_for("nothing to be left", || lab.alive().is_empty());
}

#[test]
fn a_stop_after_checkpoints_spares_the_runs_of_a_batch_until_then() {
    let lab = Lab::new();
    let command = "echo ready; while [ ! -e go ]; do sleep 0.02; done; mkdir $RUN_DIR/checkpoint-1; \
                   echo x > $RUN_DIR/checkpoint-1/model.bin; echo {} > $RUN_DIR/checkpoint-1/trainer_state.json; \
                   echo saved; sleep 1000";
    batch(&lab, "all", &[("a", command), ("b", command), ("c", "true")]);
    let exec = lab.cmd("run-exec").args(["-q", "-j", "2", "all"]).spawn();
    for run in ["a", "b"] {
        lab.await_text(&format!("runs/all/{run}/stdout.log"), "ready");
    }
    let stop = lab.cmd("run-stop").args(["--after-checkpoint", "all"]).spawn();
    wait_for("the batch to be closed", || lab.path("runs/all/stop").exists());
    lab.write("go", "");
    let done = stop.wait().code(0).out();
    assert!(done.contains("runs/all/a: stopped") && done.contains("runs/all/b: stopped"), "{done}");
    exec.wait().code(1);
    for run in ["a", "b"] {
        assert_eq!(lab.read(&format!("runs/all/{run}/stdout.log")), "ready\nsaved\n");
    }
    assert_eq!(statuses(&lab, "all")["c"], "created");
}

#[test]
fn a_stop_of_all_that_runs_closes_their_batches() {
    let lab = Lab::new();
    batch(&lab, "all", &[("a", "echo ready; sleep 1000"), ("b", "true")]);
    let exec = lab.cmd("run-exec").args(["-q", "all"]).spawn();
    lab.await_text("runs/all/a/stdout.log", "ready");
    lab.cmd("run-stop").arg("--all").run().code(0).stdout("runs/all/a: stopped\n");
    exec.wait().code(1);
    assert_eq!(statuses(&lab, "all")["b"], "created");
}

#[test]
fn the_summary_follows_the_runs_whoever_executes_them() {
    let lab = Lab::new();
    let long = "echo ready; while [ ! -e go ]; do sleep 0.02; done";
    batch(&lab, "all", &[("a", "[ $RUN_ATTEMPT -gt 1 ]"), ("b", long)]);
    let exec = lab.cmd("run-exec").args(["-q", "-j", "2", "all"]).spawn();
    // Runs at work are said to be, without another event.
    wait_for("the summary to say so", || {
        lab.path("runs/all/experiment_summary.json").exists()
            && summary(&lab, "all")["running"] == 1
            && summary(&lab, "all")["failed"] == 1
    });
    lab.cmd("run-exec").args(["-q", "--unfinished", "all"]).run().code(0).stderr_has("passed over");
    assert_eq!(summary(&lab, "all")["completed"], 1);
    lab.write("go", "");
    exec.wait().code(1); // it saw a fail
    assert_eq!(
        (summary(&lab, "all")["completed"].clone(), summary(&lab, "all")["failed"].clone()),
        (json!(2), json!(0))
    );
}

#[test]
fn what_is_left_of_a_run_is_no_other_controller() {
    let lab = Lab::new();
    batch(&lab, "all", &[("a", "echo ready; sleep 1000")]);
    let exec = lab.cmd("run-exec").args(["-q", "all"]).spawn();
    lab.await_text("runs/all/a/stdout.log", "ready");
    let status = lab.await_child("a");
    let child = pid(&status, "child_pid");
    for pid in lab.alive() {
        if pid != child
            && fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe.ends_with("run-exec"))
        {
            testkit::signal(pid, Signal::STOP);
        }
    }
    for pid in lab.alive() {
        if pid != child
            && fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe.ends_with("run-exec"))
        {
            testkit::signal(pid, Signal::KILL);
        }
    }
    exec.wait();
    lab.await_status("a", "stale", |status| status["status"] == "stale");
    lab.cmd("run-exec")
        .args(["-q", "--unfinished", "all"])
        .run()
        .code(4)
        .stderr_has("supervisor gone, process");
    lab.cmd("run-stop").arg("a").run().code(0);
    lab.cmd("run-exec").args(["--detach", "all", "nope"]).run().code(125).stderr_has("no run 'nope'");
    // As the table shows it.
    assert_eq!(lab.cmd("run-status").args(["--json", "all/a"]).run().code(0).out().lines().count(), 1);
}

#[test]
fn a_parent_that_ignores_its_children_does_not_keep_a_controller_waiting() {
    let lab = Lab::new();
    let runs = [lab.new_run("a", &["true"]), lab.new_run("b", &["sh", "-c", "exit 3"])].join("\n");
    let program = "import os, signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN)
os.execvp('run-exec', ['run-exec', '-q', '-'])";
    lab.cmd("python3").args(["-c", program]).stdin(runs).run().code(1);
    assert_eq!((&lab.status("a")["status"], &lab.status("b")["exit_code"]), (&"completed".into(), &3.into()));
    lab.nothing_left();
}
