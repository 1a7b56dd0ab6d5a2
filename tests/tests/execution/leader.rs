//! A program whose main thread has ended while others train on: the kernel calls its process a zombie, and it
//! lives. Stops reach it, and no end is recorded before it has ended.

use testkit::process::Signal;
use testkit::{Lab, Running, lives, pid, state, wait_for};

/// Trains in a thread; the main one ends as soon as that has begun. Ends when there is a file `go`.
const PROGRAM: &str = "
import ctypes, os, signal, sys, threading, time
if 'deaf' in sys.argv:
    for number in [signal.SIGTERM, signal.SIGINT]: signal.signal(number, signal.SIG_IGN)
begun = threading.Event()
def train():
    step = 0
    while not os.path.exists('go'):
        step += 1
        try: print('step', step, flush=True)
        except OSError: pass # nobody reads any more
        begun.set()
        time.sleep(0.02)
    begun.set()
threading.Thread(target=train).start()
begun.wait()
ctypes.CDLL(None).pthread_exit(None)
";

/// A run whose main thread has ended.
struct Active {
    exec: Running,
    supervisor: i32,
    child: i32,
}

fn start(lab: &Lab, options: &[&str], program: &[&str]) -> Active {
    lab.write("train.py", PROGRAM);
    lab.new_run("r", &[&["python3", "train.py"], program].concat());
    let exec = lab.cmd("run-exec").args(["-q", "--linger", "200ms"]).args(options).arg("r").spawn();
    let status = lab.await_child("r");
    let child = pid(&status, "child_pid");
    wait_for("the main thread to end", || state(child) == Some('Z'));
    Active { exec, supervisor: pid(&status, "pid"), child }
}

/// Expects that the run has ended with nothing left, and returns its status and its reason.
fn ended(lab: &Lab) -> (String, String) {
    lab.nothing_left();
    let status = lab.status("r");
    let word = |key: &str| status[key].as_str().unwrap_or_default().to_owned();
    (word("status"), word("reason"))
}

fn is(status: &str, reason: &str) -> (String, String) {
    (status.to_owned(), reason.to_owned())
}

#[test]
fn it_runs_until_its_last_thread_has_ended() {
    let lab = Lab::new();
    let run = start(&lab, &["--heartbeat", "20ms"], &[]);
    let lines = || lab.read("runs/r/stdout.log").lines().count();
    let (beat, before) = (lab.status("r")["last_heartbeat"].clone(), lines());
    lab.await_status("r", "heard of again", |status| status["last_heartbeat"] != beat);
    wait_for("it to train on", || lines() > before + 5);
    let status = lab.status("r");
    assert_eq!((status["status"].as_str(), lives(run.child)), (Some("running"), true));
    assert!(!lab.path("runs/r/.run/result.json").exists());
    lab.cmd("run-exec").args(["--resume", "r"]).run().code(125).stderr_has("it is already running");
    lab.write("go", "");
    run.exec.wait().code(0);
    assert_eq!(ended(&lab), is("completed", ""));
}

#[test]
fn a_stop_reaches_it() {
    let lab = Lab::new();
    let run = start(&lab, &[], &[]);
    lab.cmd("run-stop").args(["--why", "enough", "r"]).run().code(0).stdout("runs/r: stopped\n");
    run.exec.wait().code(143);
    let (status, reason) = ended(&lab);
    assert!(status == "stopped" && reason.ends_with(": enough"), "{status} {reason}");
}

#[test]
fn one_that_ignores_a_stop_is_killed() {
    let lab = Lab::new();
    let run = start(&lab, &[], &["deaf"]);
    let stop = ["--grace", "100ms", "--why", "enough", "r"];
    lab.cmd("run-stop").args(stop).run().code(0).stdout("runs/r: stopped\n");
    run.exec.wait().code(137);
    let (status, reason) = ended(&lab);
    let killed = ": enough; killed after grace 0.1s and linger 0.2s";
    assert!(status == "stopped" && reason.ends_with(killed), "{status} {reason}");
}

#[test]
fn a_limit_ends_it() {
    for (program, how, code) in
        [(&[][..], "", 124), (&["deaf"], "; killed after grace 0.1s and linger 0.2s", 124)]
    {
        let lab = Lab::new();
        let run = start(&lab, &["--timeout", "2s", "--grace", "100ms"], program);
        run.exec.wait().code(code);
        assert_eq!(ended(&lab), is("failed", &format!("timeout 2s{how}")));
    }
}

#[test]
fn a_signal_to_run_exec_ends_it() {
    let lab = Lab::new();
    // The interpreter hears of SIGINT in its main thread alone.
    let run = start(&lab, &["--grace", "100ms"], &[]);
    run.exec.signal(Signal::INT);
    run.exec.wait().code(143);
    assert_eq!(ended(&lab), is("stopped", "stopped by signal 2 (INT)"));
    let lab = Lab::new();
    let run = start(&lab, &[], &["deaf"]);
    run.exec.signal(Signal::INT);
    lab.await_status("r", "asked", |status| {
        status["reason"].as_str().is_some_and(|reason| reason.starts_with("ending: "))
    });
    run.exec.signal(Signal::INT);
    run.exec.wait().code(137);
    assert_eq!(ended(&lab), is("stopped", "stopped by signal 2 (INT)"));
}

#[test]
fn it_is_ended_when_its_supervisor_is_killed() {
    for program in [&[][..], &["deaf"]] {
        let lab = Lab::new();
        let run = start(&lab, &["--grace", "100ms"], program);
        testkit::signal(run.supervisor, Signal::KILL);
        run.exec.wait().code(125);
        let (status, reason) = ended(&lab);
        assert!(status == "failed" && reason.starts_with("supervisor was killed"), "{status} {reason}");
    }
}

#[test]
fn it_is_ended_when_run_exec_is_killed() {
    let lab = Lab::new();
    let run = start(&lab, &[], &[]);
    run.exec.signal(Signal::KILL);
    run.exec.wait();
    lab.await_status("r", "over", |status| status["status"] != "running");
    lab.await_nothing_left();
    assert_eq!(ended(&lab), is("failed", "run-exec was killed"));
}

#[test]
fn it_is_found_and_ended_when_nobody_supervises_it() {
    for (program, stop) in
        [(&[][..], &["r"][..]), (&["deaf"], &["--grace", "100ms", "r"]), (&["deaf"], &["--kill", "r"])]
    {
        let lab = Lab::new();
        let run = start(&lab, &[], program);
        run.exec.kill_with(run.supervisor);
        let status = lab.status("r");
        let reason = format!("supervisor gone, process {} lives", run.child);
        assert_eq!(
            (status["status"].as_str(), status["reason"].as_str()),
            (Some("stale"), Some(reason.as_str()))
        );
        lab.cmd("run-exec").args(["--resume", "r"]).run().code(125).stderr_has(&reason);
        lab.cmd("run-stop").args(stop).run().code(0).stdout("runs/r: dead\n");
        assert_eq!(ended(&lab), is("dead", "its supervisor is gone"));
        lab.write("go", "");
        lab.cmd("run-exec").args(["-q", "--resume", "r"]).run().code(0);
    }
}

#[test]
fn one_that_outlives_the_main_process_is_ended() {
    for (program, how) in [
        ("", "ended 1 process that outlived it"),
        ("deaf", "killed 1 process that outlived it, after linger 0.2s"),
    ] {
        let lab = Lab::new();
        lab.write("train.py", PROGRAM);
        let script =
            format!("python3 train.py {program} & until [ -s $RUN_DIR/stdout.log ]; do sleep 0.02; done");
        lab.new_run("r", &["sh", "-c", &script]);
        lab.cmd("run-exec").args(["-q", "--linger", "200ms", "r"]).run().code(0);
        assert_eq!(ended(&lab), is("completed", how));
    }
}
