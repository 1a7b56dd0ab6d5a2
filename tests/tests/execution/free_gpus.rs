//! `run-exec --gpus free`: runs wait for GPUs that nothing else uses, with one nvidia-smi that stands for the driver.

use serde_json::Value;
use std::fs;
use testkit::process::{Signal, getuid};
use testkit::{Cmd, Lab, Running, await_end, wait_for};

/// Answers as nvidia-smi does about the GPUs in the file `gpus`; `used` lists processes that use some.
const NVIDIA_SMI: &str = r#"#!/bin/sh
[ ! -e broken ] || { echo "NVIDIA-SMI has failed"; exit 9; }
case $1 in
--query-gpu=*)
    while read -r uuid index memory; do echo "$uuid, $index, 0, $memory, 24564, 30.0, 40"; done <"$LAB_DIR/gpus" ;;
*) cat "$LAB_DIR/used" ;;
esac
"#;

/// A program that says which GPUs it has, until a file `go` is there.
const TRAIN: &str = "echo gpus $CUDA_VISIBLE_DEVICES; until [ -e go ]; do sleep 0.02; done";

/// A lab with a machine of some GPUs, whose names no other lab has; nothing is left of their locks.
struct Machine(Lab);

impl std::ops::Deref for Machine {
    type Target = Lab;

    fn deref(&self) -> &Lab {
        &self.0
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        for directory in ["/run/lock", "/tmp"] {
            for index in 0..4 {
                let _ = fs::remove_file(format!("{directory}/run-tools-gpu-{}", uuid(&self.0, index)));
            }
        }
    }
}

fn lab(count: usize) -> Machine {
    let lab = Lab::new();
    lab.write("bin/nvidia-smi", NVIDIA_SMI.replace("$LAB_DIR", &lab.dir().display().to_string()));
    lab.set_mode("bin/nvidia-smi", 0o755);
    let gpus: String = (0..count).map(|index| format!("{} {index} 3\n", uuid(&lab, index))).collect();
    lab.write("gpus", gpus);
    lab.write("used", "");
    Machine(lab)
}

fn uuid(lab: &Lab, index: usize) -> String {
    format!("GPU-{}-{index}", lab.mark())
}

fn exec(lab: &Lab, args: &[&str]) -> Cmd {
    let path = lab.own_path();
    lab.cmd("run-exec").env("PATH", path).args(["-q", "--heartbeat", "100ms"]).args(args)
}

fn await_reason(lab: &Lab, run: &str, status: &str, reason: &str) {
    lab.await_status(run, reason, |now| now["status"] == status && now["reason"] == reason);
}

/// Executes a run, and waits until its program has told its GPUs.
fn execute(lab: &Lab, run: &str, gpus: &str, expected: &str) -> Running {
    lab.new_run(run, &["sh", "-c", TRAIN]);
    let running = exec(lab, &["--gpus", gpus, run]).spawn();
    lab.await_text(&format!("runs/{run}/stdout.log"), &format!("gpus {expected}\n"));
    running
}

#[test]
fn a_run_waits_for_the_gpu_of_another_and_says_so() {
    let lab = lab(2);
    let first = execute(&lab, "a", "free", "0");
    let second = execute(&lab, "b", "free:1", "1");
    let start = &lab.json_lines("runs/a/.run/attempts.jsonl")[0];
    assert_eq!(start["CUDA_VISIBLE_DEVICES"], "0");
    lab.new_run("c", &["sh", "-c", "echo {gpu} $CUDA_DEVICE_ORDER"]);
    let third = exec(&lab, &["--gpus", "free", "c"]).spawn();
    await_reason(&lab, "c", "queued", "waits for 1 free GPU: none of 2 is free");
    let refused = exec(&lab, &["c"]).run().code(125);
    refused.stderr_has("it is queued: waits for 1 free GPU: none of 2 is free\n");
    lab.await_child("b");
    // A holder that is killed with its program frees its GPU.
    let (supervisor, child) =
        (testkit::pid(&lab.status("b"), "pid"), testkit::pid(&lab.status("b"), "child_pid"));
    for pid in [second.pid(), supervisor, child] {
        testkit::signal(pid, Signal::KILL);
    }
    await_end(child);
    let said =
        format!("run-exec: '{}' waits for 1 free GPU: none of 2 is free\n", lab.path("runs/c").display());
    third.wait().code(0).stderr(&said);
    assert_eq!(lab.read("runs/c/stdout.log"), "1 PCI_BUS_ID\n");
    let status = lab.status("c");
    assert_eq!(
        (&status["status"], &status["reason"], &status["attempt"]),
        (&"completed".into(), &Value::Null, &1.into())
    );
    lab.write("go", "");
    first.wait().code(0);
    drop(second);
    lab.nothing_left();
}

#[test]
fn gpus_that_others_use_are_left_to_them() {
    let lab = lab(4);
    // One has a process, one has memory in use by processes that are not listed.
    lab.write("used", format!("4711, {}, 512\n", uuid(&lab, 0)));
    lab.write("gpus", lab.read("gpus").replace("-1 1 3\n", "-1 1 20000\n"));
    let both = execute(&lab, "a", "free:2", "2,3");
    lab.new_run("b", &["sh", "-c", TRAIN]);
    let waits = exec(&lab, &["--gpus", "free:2", "b"]).spawn();
    await_reason(&lab, "b", "queued", "waits for 2 free GPUs: none of 4 is free");
    lab.write("used", "");
    await_reason(&lab, "b", "queued", "waits for 2 free GPUs: 1 of 4 is free");
    lab.write("broken", "");
    await_reason(&lab, "b", "queued", "waits for 2 free GPUs: nvidia-smi does not answer");
    fs::remove_file(lab.path("broken")).unwrap();
    lab.write("gpus", lab.read("gpus").replace("-1 1 20000\n", "-1 1 3\n"));
    lab.await_text("runs/b/stdout.log", "gpus 0,1\n");
    lab.write("go", "");
    both.wait().code(0);
    waits.wait().code(0);
}

#[test]
fn a_run_that_waits_is_stopped_and_one_whose_run_exec_is_killed_is_dead() {
    let lab = lab(1);
    let first = execute(&lab, "a", "free", "0");
    let reason = "waits for 1 free GPU: none of 1 is free";
    for run in ["b", "c", "d"] {
        lab.new_run(run, &["sh", "-c", TRAIN]);
    }
    let waits = exec(&lab, &["--gpus", "free", "b"]).spawn();
    await_reason(&lab, "b", "queued", reason);
    lab.cmd("run-stop").args(["--why", "enough", "b"]).run().code(0).stdout("runs/b: stopped\n");
    waits.wait().code(143);
    assert!(lab.status("b")["reason"].as_str().unwrap().ends_with(": enough"), "{}", lab.status("b"));
    let interrupted = exec(&lab, &["--gpus", "free", "c"]).spawn();
    await_reason(&lab, "c", "queued", reason);
    interrupted.signal(Signal::INT);
    interrupted.wait();
    assert_eq!(lab.status("c")["reason"], "stopped by signal 2 (INT)");
    let killed = exec(&lab, &["--gpus", "free", "d"]).spawn();
    await_reason(&lab, "d", "queued", reason);
    killed.signal(Signal::KILL);
    await_reason(&lab, "d", "dead", "run-exec was killed while it waited for free GPUs");
    drop(killed);
    lab.write("go", "");
    first.wait().code(0);
    // A resumed run waits, too; an old request to stop does not end the wait.
    exec(&lab, &["--gpus", "free", "--unfinished", "b", "c", "d"]).run().code(0);
    for run in ["b", "c", "d"] {
        assert_eq!(lab.status(run)["status"], "completed", "{run}");
    }
}

#[test]
fn a_list_and_detached_runs_take_turns() {
    let lab = lab(2);
    let held = execute(&lab, "held", "free", "0");
    lab.cmd("run-new")
        .args(["-b=b", "--sweep", "x=1..3", "--", "sh", "-c", TRAIN, "sh", "{set}"])
        .run()
        .code(0);
    exec(&lab, &["--detach", "--gpus", "free", "-j", "3", "b"]).run().code(0).stderr("");
    lab.new_run("after", &["sh", "-c", "echo done"]);
    let statuses = |lab: &Lab| {
        let listed = lab.cmd("run-status").args(["-a", "--json", "b"]).run().code(0).json_lines();
        let mut statuses: Vec<String> =
            listed.iter().map(|run| run["status"].as_str().unwrap().to_owned()).collect();
        statuses.sort();
        statuses
    };
    wait_for("one to run and two to wait", || statuses(&lab) == ["queued", "queued", "running"]);
    exec(&lab, &["--detach", "--gpus", "free", "after"]).run().code(0);
    lab.await_status("after", "waiting", |now| now["status"] == "queued");
    lab.write("go", "");
    held.wait().code(0);
    wait_for("all to complete", || statuses(&lab) == ["completed"; 3]);
    lab.await_status("after", "done", |now| now["status"] == "completed");
    lab.await_nothing_left();
}

#[test]
fn what_can_never_be_is_refused_at_once() {
    let lab = lab(2);
    lab.new_run("r", &["no-such-program"]);
    exec(&lab, &["--gpus", "free:3", "r"])
        .run()
        .code(125)
        .stderr("run-exec: cannot wait for 3 free GPUs: there are 2\n");
    let limited = exec(&lab, &["--gpus", "free:2", "r"]).env("CUDA_VISIBLE_DEVICES", "1").run().code(125);
    limited.stderr("run-exec: cannot wait for 2 free GPUs: there are 1 in CUDA_VISIBLE_DEVICES=1\n");
    for wrong in ["free,0", "free:0", "free:x", "free:1,free:1"] {
        let refused = exec(&lab, &["--gpus", wrong, "r"]).run().code(125);
        refused.stderr("run-exec: cannot read --gpus: write free or free:2, alone\n");
    }
    lab.cmd("run-exec")
        .args(["--gpus", "free", "r"])
        .run()
        .code(125)
        .stderr("run-exec: cannot find free GPUs: nvidia-smi is not on the PATH\n");
    exec(&lab, &["--gpus", "free", "r"])
        .run()
        .code(125)
        .stderr_has("cannot start '")
        .stderr_has("command not found: no-such-program\n");
    assert_eq!(lab.status("r")["status"], "created");
    let visible = exec(&lab, &["--gpus", "free", "r", "--", "sh", "-c", "echo $CUDA_VISIBLE_DEVICES"]);
    visible.env("CUDA_VISIBLE_DEVICES", "1").run().code(0);
    assert_eq!(lab.read("runs/r/stdout.log"), "1\n");
}

#[test]
fn users_share_the_gpus() {
    if !getuid().is_root() {
        return; // there is no other user to be
    }
    let lab = lab(1);
    lab.set_mode("", 0o777);
    let first = execute(&lab, "a", "free", "0");
    fs::create_dir(lab.path("theirs")).unwrap();
    lab.set_mode("theirs", 0o777);
    let path = lab.own_path();
    let by =
        |program: &str| lab.cmd_by_somebody(program).env("PATH", &path).env("RUNS_DIR", lab.path("theirs"));
    by("run-new").args(["-n", "b", "--", "sh", "-c", "echo $CUDA_VISIBLE_DEVICES"]).run().code(0);
    let waits = by("run-exec").args(["-q", "--gpus", "free", "b"]).spawn();
    let reason = "waits for 1 free GPU: none of 1 is free";
    let status =
        || lab.cmd("run-status").env("RUNS_DIR", lab.path("theirs")).args(["--json", "b"]).run().json_lines();
    wait_for("their run to wait", || status()[0]["reason"] == reason);
    lab.write("go", "");
    first.wait().code(0);
    waits.wait().code(0);
    // And the other way round: what a user has made locks root, too.
    fs::remove_file(lab.path("go")).unwrap();
    by("run-new").args(["-n", "c", "--", "sh", "-c", TRAIN]).run().code(0);
    let theirs = by("run-exec").args(["-q", "--gpus", "free", "c"]).spawn();
    lab.await_text("theirs/c/stdout.log", "gpus 0\n");
    lab.new_run("d", &["true"]);
    let mine = exec(&lab, &["--gpus", "free", "d"]).spawn();
    await_reason(&lab, "d", "queued", reason);
    lab.write("go", "");
    theirs.wait().code(0);
    mine.wait().code(0);
}
