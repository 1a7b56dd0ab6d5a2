//! What becomes of batches when their run-exec is killed, or is not alone.

use serde_json::json;
use std::fs;
use std::thread::sleep;
use std::time::Duration;
use testkit::batches::{batch, events, statuses, summary};
use testkit::process::Signal;
use testkit::{Lab, Random, pid, times, wait_for};

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
        lab.await_nothing_left();
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
    let hint = "run-exec: follow the runs: run-status --watch runs/all\n";
    let done = lab.cmd("run-exec").args(["--detach", "all"]).run().code(0);
    done.stdout("runs/all/a\nruns/all/b\n").stderr(hint);
    wait_for("the batch to end", || {
        lab.path("runs/all/master_log.txt").exists()
            && events(&lab, "all").last().is_some_and(|event| event.starts_with("batch ended"))
    });
    assert_eq!(
        (statuses(&lab, "all")["a"].as_str(), statuses(&lab, "all")["b"].as_str()),
        ("completed", "failed")
    );
    lab.await_nothing_left();
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
    // Running runs are shown as running, without another event.
    wait_for("the summary to say so", || {
        lab.path("runs/all/experiment_summary.json").exists()
            && summary(&lab, "all")["running"] == 1
            && summary(&lab, "all")["failed"] == 1
    });
    lab.cmd("run-exec").args(["-q", "--unfinished", "all"]).run().code(0).stderr_has("skipping");
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
    let detached = lab.cmd("run-exec").args(["--detach", "all", "nope"]).run().code(3);
    detached.stdout("runs/all/a\n").stderr_has("no run 'nope'");
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
