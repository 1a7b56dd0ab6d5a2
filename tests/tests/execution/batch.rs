//! Several runs from one run-exec: batches, pipes, slots, and interrupts.

use serde_json::{Value, json};
use std::fs::{self, OpenOptions};
use std::io::Write;
use testkit::batches::{batch, events, statuses, summary};
use testkit::process::Signal;
use testkit::{Lab, wait_for};

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
    lab.cmd("run-exec").arg("all").run().code(1).stderr_has("it has already run and failed");
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
fn the_first_line_of_a_log_counts_the_runs_that_a_pipe_still_brings() {
    let lab = Lab::new();
    let script = "run-new -b=all --sweep seed=1..40 -- true {set} | run-exec -q -";
    lab.cmd("sh").args(["-c", script]).run().code(0);
    let events = events(&lab, "all");
    assert_eq!(events[0], "batch started: 0 of 40 completed, 0 failed, 0 stopped, 40 not run");
    assert_eq!(lab.json("runs/all/.batch/batch.json")["planned"], 40);
}

#[test]
fn fail_fast_now_stops_the_others() {
    let lab = Lab::new();
    let waits = "trap 'echo saved; exit 0' TERM; echo ready; while :; do sleep 0.02; done";
    let fails = "while ! grep -q ready runs/all/a/stdout.log; do sleep 0.02; done; exit 3";
    batch(&lab, "all", &[("a", waits), ("b", fails), ("c", "exit 0")]);
    lab.cmd("run-exec").args(["-q", "-j", "2", "--fail-fast=now", "all"]).run().code(1).stderr("");
    let expected = [("a", "stopped"), ("b", "failed"), ("c", "created")];
    assert_eq!(
        statuses(&lab, "all"),
        expected.map(|(name, status)| (name.to_owned(), status.to_owned())).into()
    );
    assert_eq!(lab.status("all/a")["reason"], "stopped by --fail-fast=now: 'b' failed");
    assert_eq!(lab.read("runs/all/a/stdout.log"), "ready\nsaved\n");
    let wrong = lab.cmd("run-exec").args(["--fail-fast=later", "all"]).run().code(125);
    wrong.stderr_has("must be now, if given");
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
    lab.cmd("run-exec")
        .args(["--stdin", "a", "b c"])
        .run()
        .code(125)
        .stderr_has("--stdin needs a single run");
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
    let expected = "run-exec: 'runs/a' is named several times; executing it once\n";
    lab.cmd("run-exec").args(["a", "runs/a"]).run().code(0).stdout("a\n").stderr(expected);
    batch(&lab, "all", &[("x", once), ("y", once)]);
    let expected = "run-exec: 1 of the 2 runs of 'runs/all' are named several times; executing each once\n";
    let done = lab.cmd("run-exec").args(["-j", "3", "-", "all"]).stdin("y\n").run().code(0).stderr(expected);
    assert_eq!(done.out().lines().collect::<std::collections::BTreeSet<_>>(), ["x", "y"].into());
    let lines = lab.cmd("run-exec").args(["--resume", "-"]).stdin("x\nall/x\nx\n").run().code(1).err();
    assert_eq!(lines.matches("'runs/all/x' is named several times").count(), 2, "{lines}");
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
        .stderr_has("exceeds the number of GPU slots (2)");
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
        // The same line again continues where it stopped.
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
    lab.cmd("run-exec").args(["-q", "all"]).run().code(1).stderr_has("continue with --unfinished");
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
