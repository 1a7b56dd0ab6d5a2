//! The table of faults: what run-status says of each, and what run-stop does about it.

use rustix::fs::inotify::{self, ReadFlags, WatchFlags};
use serde_json::{Value, json};
use std::fs;
use std::mem::MaybeUninit;
use std::time::Instant;
use testkit::active::{Active, edit, is, orphan, start, told};
use testkit::process::Signal;
use testkit::{Lab, Running, await_end, pid, state, wait_for};

fn sleeper(lab: &Lab) -> Active {
    start(lab, "r", &[], &["sleep", "1000"])
}

#[test]
fn the_supervisor_is_killed() {
    let lab = Lab::new();
    let run = sleeper(&lab);
    testkit::signal(run.supervisor, Signal::KILL);
    run.exec.wait().code(125);
    assert_eq!(told(&lab, "r"), is("failed", "supervisor was killed"));
    lab.cmd("run-stop").arg("r").run().code(0).stdout("runs/r: failed\n").stderr_has("has already ended");
    lab.nothing_left();
}

#[test]
fn the_trainer_is_killed() {
    let lab = Lab::new();
    let run = sleeper(&lab);
    testkit::signal(run.child, Signal::KILL);
    run.exec.wait().code(137);
    assert_eq!(told(&lab, "r"), is("failed", "signal 9 (KILL)"));
    lab.cmd("run-stop").arg("r").run().code(0).stdout("runs/r: failed\n").stderr_has("has already ended");
}

#[test]
fn the_supervisor_and_the_trainer_are_killed() {
    let lab = Lab::new();
    let run = sleeper(&lab);
    testkit::signal(run.supervisor, Signal::KILL);
    testkit::signal(run.child, Signal::KILL);
    run.exec.wait().code(125);
    assert_eq!(told(&lab, "r"), is("failed", "supervisor was killed"));
    lab.nothing_left();
}

#[test]
fn the_supervisor_and_run_exec_are_killed() {
    let lab = Lab::new();
    let child = orphan(sleeper(&lab));
    assert_eq!(told(&lab, "r"), is("stale", &format!("supervisor gone, process {child} lives")));
    lab.cmd("run-exec").args(["--resume", "r"]).run().code(125).stderr_has("supervisor gone");
    lab.cmd("run-stop")
        .arg("r")
        .run()
        .code(0)
        .stdout("runs/r: dead\n")
        .stderr("run-stop: ended 1 process of 'runs/r', whose supervisor was gone\n");
    assert_eq!(told(&lab, "r"), is("dead", "its supervisor is gone"));
    lab.nothing_left();
}

#[test]
fn the_host_was_restarted() {
    let lab = Lab::new();
    let child = orphan(sleeper(&lab));
    testkit::signal(child, Signal::KILL);
    await_end(child);
    edit(&lab, "r", |record| record["boot_id"] = "a boot before this".into());
    assert_eq!(told(&lab, "r"), is("dead", "the host was restarted"));
    lab.cmd("run-stop").arg("r").run().code(0).stdout("runs/r: dead\n").stderr_has("has already ended");
}

#[test]
fn another_process_has_the_pid() {
    let lab = Lab::new();
    let child = orphan(sleeper(&lab));
    testkit::signal(child, Signal::KILL);
    await_end(child);
    // The pids of the record are those of a process that does not belong to the run.
    let other = lab.cmd("sleep").arg("1000").spawn();
    edit(&lab, "r", |record| {
        record["pid"] = other.pid().into();
        record["child_pid"] = other.pid().into();
    });
    lab.write("runs/r/.run/lock", format!("process {} on elsewhere\n", other.pid()));
    assert_eq!(told(&lab, "r"), is("dead", "its supervisor is gone"));
    lab.cmd("run-stop").args(["--kill", "r"]).run().code(0).stdout("runs/r: dead\n");
    assert_eq!(state(other.pid()), Some('S'));
    other.signal(Signal::KILL);
    other.wait();
}

#[test]
fn the_supervisor_is_suspended() {
    let lab = Lab::new();
    let run = sleeper(&lab);
    testkit::signal(run.supervisor, Signal::STOP);
    wait_for("it to stop", || state(run.supervisor) == Some('T'));
    assert_eq!(
        told(&lab, "r"),
        is("stale", &format!("its supervisor, process {}, is stopped", run.supervisor))
    );
    lab.cmd("run-stop").arg("r").run().code(0).stdout("runs/r: stopped\n");
    run.exec.wait().code(143);
}

#[test]
fn run_exec_is_suspended_while_the_supervisor_is_killed() {
    let lab = Lab::new();
    let run = sleeper(&lab);
    run.exec.signal(Signal::STOP);
    wait_for("it to stop", || state(run.exec.pid()) == Some('T'));
    assert_eq!(told(&lab, "r"), is("running", ""));
    testkit::signal(run.supervisor, Signal::KILL);
    await_end(run.supervisor);
    assert_eq!(
        told(&lab, "r"),
        is("stale", &format!("its run-exec, process {}, is stopped", run.exec.pid()))
    );
    lab.cmd("run-stop").arg("r").run().code(0).stdout("runs/r: failed\n");
    run.exec.wait().code(125);
    assert_eq!(told(&lab, "r"), is("failed", "supervisor was killed"));
    lab.nothing_left();
}

#[test]
fn the_trainer_is_suspended() {
    let lab = Lab::new();
    let run = sleeper(&lab);
    testkit::signal(run.child, Signal::STOP);
    wait_for("it to stop", || state(run.child) == Some('T'));
    let status = lab.status("r");
    assert_eq!(status["status"], "running");
    assert!(status["quiet_s"].as_f64().unwrap() >= 0.0);
    lab.cmd("run-stop").arg("r").run().code(0).stdout("runs/r: stopped\n");
    run.exec.wait().code(143);
}

#[test]
fn a_silent_trainer_is_running_and_quiet() {
    let lab = Lab::new();
    let run = start(&lab, "r", &["--heartbeat", "1000s"], &["sleep", "1000"]);
    edit(&lab, "r", |record| record["start_time"] = "2020-01-01T00:00:00.000Z".into());
    assert_eq!(told(&lab, "r"), is("running", ""));
    let table = lab.cmd("run-status").run().code(0).out();
    assert!(table.lines().nth(1).unwrap().starts_with("r    running (quiet "), "{table}");
    lab.cmd("run-stop").arg("r").run().code(0).stdout("runs/r: stopped\n");
    run.exec.wait().code(143);
}

#[test]
fn the_run_is_copied_while_it_runs() {
    let lab = Lab::new();
    let run = sleeper(&lab);
    lab.cmd("cp").args(["-a", "runs/r", "runs/copy"]).run().code(0);
    assert_eq!(told(&lab, "copy"), is("dead", "its supervisor is gone"));
    lab.cmd("run-stop").arg("copy").run().code(0).stdout("runs/copy: dead\n");
    assert_eq!(told(&lab, "r"), is("running", ""));
    lab.cmd("run-stop").arg("r").run().code(0).stdout("runs/r: stopped\n");
    run.exec.wait().code(143);
}

#[test]
fn the_clock_is_set_back_an_hour() {
    let lab = Lab::new();
    let run = start(&lab, "r", &["--heartbeat", "1000s"], &["sleep", "1000"]);
    // All that was recorded lies an hour ahead of the clock now.
    let ahead = lab.cmd("date").args(["-u", "-d", "+1 hour", "+%Y-%m-%dT%H:%M:%S.000Z"]).run().code(0).out();
    let ahead: Value = ahead.trim().into();
    edit(&lab, "r", |record| {
        for key in ["created", "start_time", "last_heartbeat", "last_output"] {
            record[key] = ahead.clone();
        }
    });
    let status = lab.status("r");
    assert_eq!(status["status"], "running");
    assert_eq!((&status["quiet_s"], &status["duration_s"]), (&json!(0.0), &json!(0.0)));
    lab.cmd("run-status").arg("r").run().code(0).stderr("");
    // Another host's clock that is ahead is no reason to doubt.
    fs::create_dir_all(lab.path("runs/far/.run")).unwrap();
    for file in ["meta.json", "status.json"] {
        fs::copy(lab.path("runs/r/.run").join(file), lab.path("runs/far/.run").join(file)).unwrap();
    }
    edit(&lab, "far", |record| {
        record["host"] = "elsewhere".into();
        record["boot_id"] = "its own".into();
    });
    assert_eq!(told(&lab, "far").0, "running");
    lab.cmd("run-stop").arg("r").run().code(0).stdout("runs/r: stopped\n");
    run.exec.wait().code(143);
}

#[test]
fn the_heartbeat_cannot_be_written() {
    let lab = Lab::new();
    lab.new_run("r", &["sh", "-c", "while [ ! -e go ]; do sleep 0.02; done"]);
    let exec = lab.cmd("run-exec").args(["-q", "--heartbeat", "20ms", "r"]).spawn();
    lab.await_child("r");
    // A directory at the path of the file that would replace it.
    let scratch = lab.path("runs/r/.run/.status.json.tmp");
    wait_for("the directory to be there", || fs::create_dir(&scratch).is_ok() || scratch.is_dir());
    let beat = || lab.json("runs/r/.run/status.json")["last_heartbeat"].clone();
    let before = beat();
    lab.await_status("r", "quiet", |status| status["quiet_s"].as_f64().unwrap() > 0.2);
    assert_eq!(beat(), before);
    assert_eq!(told(&lab, "r"), is("running", ""));
    lab.write("go", "");
    exec.wait().code(0).stderr_has("cannot write the record of");
    assert_eq!(told(&lab, "r"), is("completed", ""));
    lab.cmd("run-stop").arg("r").run().code(0).stdout("runs/r: completed\n");
}

#[test]
fn the_heartbeat_cannot_be_written_and_the_run_is_stopped() {
    let lab = Lab::new();
    let run = start(&lab, "r", &["--heartbeat", "20ms"], &["sleep", "1000"]);
    let scratch = lab.path("runs/r/.run/.status.json.tmp");
    wait_for("the directory to be there", || fs::create_dir(&scratch).is_ok() || scratch.is_dir());
    lab.cmd("run-stop").arg("r").run().code(0).stdout("runs/r: stopped\n");
    run.exec.wait().code(143);
    assert_eq!(told(&lab, "r").0, "stopped");
}

/// Expects that a run whose resources.jsonl cannot be written still shows everything else, and that this is
/// reported once.
fn tells_all_but_resources(lab: &Lab, exec: Running) {
    let beat = |step: u64| {
        let program = format!("echo '{{\"step\": {step}}}' >> runs/r/metrics.jsonl");
        lab.cmd("sh").args(["-c", &program]).run().code(0);
        lab.await_status("r", "at the step", |status| status["step"] == step)["last_heartbeat"].clone()
    };
    let (first, second) = (beat(1), beat(2));
    assert!(first.as_str() < second.as_str(), "{first} {second}");
    lab.write("go", "");
    let done = exec.wait().code(0);
    let complaints = done.err().lines().filter(|line| line.contains("cannot write")).count();
    assert!(complaints == 1 && done.err().contains("r/.run/resources.jsonl': "), "{}", done.err());
    assert_eq!(told(lab, "r"), is("completed", ""));
}

#[test]
fn the_use_of_resources_cannot_be_written() {
    let lab = Lab::new();
    lab.new_run("r", &["sh", "-c", "while [ ! -e go ]; do sleep 0.02; done"]);
    let exec = lab.cmd("run-exec").args(["-q", "--heartbeat", "20ms", "r"]).spawn();
    lab.await_child("r");
    let resources = lab.path("runs/r/.run/resources.jsonl");
    wait_for("the directory to be there", || {
        fs::remove_file(&resources).is_ok() && fs::create_dir(&resources).is_ok()
    });
    tells_all_but_resources(&lab, exec);
}

#[test]
fn the_use_of_resources_has_no_room() {
    let lab = Lab::new();
    lab.new_run("r", &["sh", "-c", "while [ ! -e go ]; do sleep 0.02; done"]);
    lab.write("runs/r/.run/resources.jsonl", "{}\n".repeat(100_000));
    let limited = "ulimit -f 200; exec run-exec -q --heartbeat 20ms r"; // in blocks of at most a KiB
    let exec = lab.cmd("sh").args(["-c", limited]).spawn();
    lab.await_child("r");
    tells_all_but_resources(&lab, exec);
}

#[test]
fn the_lock_is_deleted() {
    let lab = Lab::new();
    let run = sleeper(&lab);
    fs::remove_file(lab.path("runs/r/.run/lock")).unwrap();
    assert_eq!(told(&lab, "r"), is("running", ""));
    lab.cmd("run-exec").args(["--resume", "r"]).run().code(125).stderr_has("it is already running");
    lab.cmd("run-stop").arg("r").run().code(0).stdout("runs/r: stopped\n");
    run.exec.wait().code(143);
    // Without lock and supervisor it is dead.
    lab.cmd("run-exec").args(["-q", "--resume", "r", "--", "true"]).run().code(0);
    let run = start(&lab, "s", &[], &["sleep", "1000"]);
    let child = orphan(run);
    testkit::signal(child, Signal::KILL);
    await_end(child);
    fs::remove_file(lab.path("runs/s/.run/lock")).unwrap();
    assert_eq!(told(&lab, "s"), is("dead", "its supervisor is gone"));
}

#[test]
fn a_kill_gives_no_time_to_save() {
    let lab = Lab::new();
    let program = "trap 'echo saving; sleep 1000' TERM; echo ready; while :; do sleep 0.05; done";
    for (name, by) in [("asked", "signal"), ("suspended", "signal"), ("orphaned", "run-stop")] {
        let run = start(&lab, name, &[], &["sh", "-c", program]);
        lab.await_text(&format!("runs/{name}/stdout.log"), "ready");
        if name == "suspended" {
            testkit::signal(run.supervisor, Signal::STOP);
            wait_for("it to stop", || state(run.supervisor) == Some('T'));
        }
        let kill = || lab.cmd("run-stop").args(["--kill", "--why", "no time", name]).run().code(0);
        if by == "signal" {
            kill().stdout(format!("runs/{name}: stopped\n"));
            run.exec.wait().code(137);
            assert!(told(&lab, name).1.ends_with(": no time"), "{:?}", told(&lab, name));
        } else {
            orphan(run);
            kill().stdout(format!("runs/{name}: dead\n"));
        }
        assert_eq!(lab.read(&format!("runs/{name}/stdout.log")), "ready\n");
        lab.nothing_left();
    }
    lab.cmd("run-stop").args(["--kill", "--grace", "1s", "x"]).run().code(2);
}

#[test]
fn many_runs_stop_within_the_grace_of_one() {
    let lab = Lab::new();
    let count = 30;
    let stubborn = "trap '' TERM; echo ready; while :; do sleep 0.1; done";
    let mut monitors = Vec::new();
    for number in 0..count {
        let name = format!("r{number}");
        lab.new_run(&name, &["sh", "-c", stubborn]);
        monitors.push(lab.cmd("run-exec").args(["-q", "--linger", "200ms", &name]).spawn());
    }
    for number in 0..count {
        lab.await_text(&format!("runs/r{number}/stdout.log"), "ready");
    }
    // Every other one has lost its supervisor, and its monitor.
    let mut left = Vec::new();
    for (number, monitor) in monitors.into_iter().enumerate() {
        if number % 2 == 0 {
            left.push(monitor);
            continue;
        }
        let status = lab.status(&format!("r{number}"));
        monitor.kill_with(pid(&status, "pid"));
    }
    let done = lab.cmd("run-stop").args(["--all", "--grace", "2s"]).run().code(0).out();
    assert_eq!(done.lines().count(), count, "{done}");
    assert_eq!(done.lines().filter(|line| line.ends_with(": stopped")).count(), count / 2, "{done}");
    assert_eq!(done.lines().filter(|line| line.ends_with(": dead")).count(), count / 2, "{done}");
    // Each was asked before the first was killed: the requests lie within the grace.
    let ends: Vec<String> = (0..count)
        .step_by(2)
        .map(|number| {
            lab.json(&format!("runs/r{number}/.run/result.json"))["end_time"].as_str().unwrap().to_owned()
        })
        .collect();
    let asked: Vec<String> = (0..count)
        .step_by(2)
        .map(|number| lab.json(&format!("runs/r{number}/stop"))["time"].as_str().unwrap().to_owned())
        .collect();
    assert!(asked.iter().max() < ends.iter().min(), "{asked:?} {ends:?}");
    for monitor in left {
        monitor.wait().code(137);
    }
    lab.nothing_left();
}

/// Waits until a tool watches directories.
fn await_watch(tool: &Running) {
    wait_for("directories to be watched", || {
        let handles = fs::read_dir(format!("/proc/{}/fdinfo", tool.pid())).unwrap().flatten();
        let mut infos = handles.into_iter().filter_map(|handle| fs::read_to_string(handle.path()).ok());
        infos.any(|info| info.contains("inotify wd:"))
    });
}

#[test]
fn a_stop_can_wait_for_the_next_checkpoint() {
    let lab = Lab::new();
    let save = "save() { mkdir -p $RUN_DIR/checkpoint-$1; echo {} > $RUN_DIR/checkpoint-$1/trainer_state.json; \
                echo x > $RUN_DIR/checkpoint-$1/model.bin; }; ";
    let program =
        format!("{save} save 10; echo ready; while [ ! -e go ]; do sleep 0.02; done; save 20; sleep 1000");
    let run = start(&lab, "r", &[], &["sh", "-c", &program]);
    lab.await_text("runs/r/stdout.log", "ready");
    let other = start(&lab, "ends", &[], &["sh", "-c", "while [ ! -e end ]; do sleep 0.02; done"]);
    let stop = lab.cmd("run-stop").args(["--after-checkpoint", "r", "ends"]).spawn();
    await_watch(&stop); // what it finds before that is not the next one
    lab.write("end", "");
    other.exec.wait().code(0);
    assert!(!lab.path("runs/r/stop").exists());
    lab.write("go", "");
    let done = stop.wait().code(0).out();
    let mut lines: Vec<&str> = done.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["runs/ends: completed", "runs/r: stopped"]);
    assert!(lab.path("runs/r/checkpoint-20/trainer_state.json").exists());
    run.exec.wait().code(143);
    let details = lab.cmd("run-status").arg("r").run().code(0).out();
    let rows: Vec<Vec<&str>> = details.lines().map(|line| line.split_whitespace().collect()).collect();
    for step in ["10", "20"] {
        let row = rows.iter().find(|row| row.first() == Some(&format!("checkpoint-{step}").as_str()));
        let row = row.unwrap_or_else(|| panic!("{details}"));
        assert_eq!((row[1], row[4]), (step, "complete"), "{details}");
    }
}

/// Counts how often a directory was opened since it was asked.
fn opens(watch: &rustix::fd::OwnedFd) -> usize {
    let mut memory = vec![MaybeUninit::uninit(); 64 << 10];
    let mut events = inotify::Reader::new(watch, &mut memory);
    let mut count = 0;
    while let Ok(event) = events.next() {
        count += usize::from(event.events().contains(ReadFlags::OPEN));
    }
    count
}

#[test]
fn waiting_for_a_checkpoint_looks_when_there_is_something_to_see() {
    let lab = Lab::new();
    let program = "mkdir $RUN_DIR/checkpoints; echo ready; while [ ! -e go ]; do sleep 0.05; echo x >> $RUN_DIR/metrics.jsonl; done; \
        printf '\\200\\004N.' > model; mv model $RUN_DIR/checkpoints/model_1.pt; sleep 1000";
    let run = start(&lab, "r", &["--heartbeat", "100ms"], &["sh", "-c", program]);
    lab.await_text("runs/r/stdout.log", "ready");
    let watch = inotify::init(inotify::CreateFlags::NONBLOCK).unwrap();
    // Equal events are reported once: each opening is followed by another one, which is not.
    let events = WatchFlags::OPEN | WatchFlags::CLOSE;
    inotify::add_watch(&watch, lab.path("runs/r/checkpoints"), events).unwrap();
    let stop = lab.cmd("run-stop").args(["--after-checkpoint", "r"]).spawn();
    let script = "echo '{\"acc\": 1}'";
    let eval = lab.cmd("run-eval").args(["--follow", "r", "--", "sh", "-c", script]).spawn();
    await_watch(&stop);
    await_watch(&eval);
    let beats = |count: usize| {
        let mut last = Value::Null;
        let mut left = count;
        wait_for("heartbeats", || {
            let beat = lab.json("runs/r/.run/status.json")["last_heartbeat"].clone();
            left -= usize::from(beat != last && left > 0);
            last = beat;
            left == 0
        });
    };
    beats(15); // both look once more, for something may have come before they watched
    opens(&watch);
    let start = Instant::now();
    beats(60);
    let looks = start.elapsed().as_secs() / 10 + 1; // now and then they look without a reason
    let opened = opens(&watch) as u64;
    assert!(opened <= 4 * looks, "{opened} times, though nothing has happened");
    lab.write("go", "");
    stop.wait().code(0).stdout("runs/r: stopped\n");
    run.exec.wait().code(143);
    eval.wait().code(0).stderr("");
    assert_eq!(lab.read("eval_runs/r_eval/consolidated_metrics.csv"), "step,acc\n1,1\n");
}

#[test]
fn what_a_program_starts_when_it_is_asked_to_end_is_ended_too() {
    let lab = Lab::new();
    lab.write("saver.py", "import os, signal, subprocess, sys\ndef save(*_):\n    subprocess.Popen(['sleep', '1000'], start_new_session=True)\n    os._exit(0)\nsignal.signal(signal.SIGTERM, save)\nopen('ready', 'w')\nwhile True: signal.pause()\n");
    let run = start(&lab, "r", &[], &["python3", "saver.py"]);
    wait_for("the handler", || lab.path("ready").exists());
    orphan(run);
    // The run was heard of last long ago.
    edit(&lab, "r", |record| record["last_heartbeat"] = "2026-01-01T00:00:00Z".into());
    lab.cmd("run-stop").arg("r").run().code(0).stdout("runs/r: dead\n");
    lab.nothing_left();
}
