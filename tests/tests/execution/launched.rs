//! How run-exec is launched, and what it finds then: children and blocked signals of a launcher, programs that do
//! not answer, runs that are named in odd ways.

use serde_json::json;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use testkit::active::{edit, start, told};
use testkit::process::Signal;
use testkit::{Lab, lives, pid, signal, wait_for};

/// A script that has a child, and then becomes run-exec, as the entry of a container does.
const ENTRY: &str = "sleep 1001 >/dev/null 2>&1 & echo $! >stranger.new; mv stranger.new stranger; exec run-exec -q --linger 100ms --grace 1s";

fn stranger(lab: &Lab) -> i32 {
    lab.read("stranger").trim().parse().unwrap()
}

#[test]
fn a_child_that_run_exec_inherits_is_none_of_the_run() {
    let lab = Lab::new();
    lab.new_run("r", &["sh", "-c", "setsid sleep 1002 & sleep 1000"]);
    let exec = lab.cmd("sh").args(["-c", &format!("{ENTRY} r")]).spawn();
    let status = lab.await_child("r");
    signal(pid(&status, "pid"), Signal::KILL);
    exec.wait().code(125);
    assert_eq!(told(&lab, "r").0, "failed");
    assert_eq!(lab.alive(), [stranger(&lab)]);
}

#[test]
fn nor_is_it_when_the_supervisor_is_killed_in_the_script_for_the_end() {
    let lab = Lab::new();
    lab.new_run("r", &["true"]);
    let exec = lab.cmd("sh").args(["-c", &format!("{ENTRY} --on-end 'touch ending; sleep 1000' r")]).spawn();
    wait_for("the end", || lab.path("ending").exists());
    signal(pid(&lab.json("runs/r/.run/status.json"), "pid"), Signal::KILL);
    exec.wait().code(0);
    assert_eq!(lab.alive(), [stranger(&lab)]);
}

#[test]
fn signals_that_a_launcher_has_blocked_come_through() {
    let lab = Lab::new();
    lab.write("trainer.py", "import signal, sys\nsignal.signal(signal.SIGTERM, lambda *_: (open('saved', 'w'), sys.exit(0)))\nopen('ready', 'w')\nwhile True: signal.pause()\n");
    lab.new_run("r", &["python3", "trainer.py"]);
    let block = "import os, signal, sys; signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 32)); os.execvp('run-exec', sys.argv[1:])";
    let exec = lab.cmd("python3").args(["-c", block, "run-exec", "-q", "r"]).spawn();
    wait_for("the program", || lab.path("ready").exists());
    exec.signal(Signal::TERM);
    exec.wait().code(0);
    assert!(lab.path("saved").exists());
    assert_eq!(told(&lab, "r"), ("stopped".to_owned(), "stopped by signal 15 (TERM)".to_owned()));
}

#[test]
fn an_end_that_attempts_jsonl_alone_tells_is_an_end() {
    let lab = Lab::new();
    let command = ["sh", "-c", "touch $RUN_DIR/ready; while [ ! -e go ]; do sleep 0.01; done"];
    let run = lab.new_run("r", &command);
    lab.cmd("chown").args(["-R", "65534", "runs"]).run();
    let exec = lab.cmd_by_somebody("run-exec").args(["-q", "--heartbeat", "50ms", &run]).spawn();
    wait_for("the program", || lab.path("runs/r/ready").exists());
    lab.await_child("r");
    // No file of the record can be replaced, and lines can be appended.
    fs::set_permissions(lab.path("runs/r/.run"), Permissions::from_mode(0o555)).unwrap();
    lab.write("go", "");
    exec.wait().code(0).stderr_has("Permission denied");
    assert_eq!(told(&lab, "r"), ("completed".to_owned(), String::new()));
    fs::set_permissions(lab.path("runs/r/.run"), Permissions::from_mode(0o755)).unwrap();
    lab.cmd_by_somebody("run-exec").args(["-q", "--unfinished", &run]).run().code(0);
    assert_eq!(lab.status("r")["attempt"], 1);
}

#[test]
fn nothing_is_written_through_a_link_that_takes_the_place_of_the_record() {
    let lab = Lab::new();
    fs::create_dir(lab.path("out")).unwrap();
    for file in ["status.json", "resources.jsonl", "attempts.jsonl"] {
        lab.write(&format!("out/{file}"), "precious\n");
    }
    let run = start(&lab, "r", &["--heartbeat", "20ms"], &["sleep", "1000"]);
    fs::rename(lab.path("runs/r/.run"), lab.path("runs/r/moved")).unwrap();
    symlink("../../out", lab.path("runs/r/.run")).unwrap();
    let err = run.exec.wait().code(125).err();
    assert!(err.contains("another run is now"), "{err}");
    let left: Vec<String> = fs::read_dir(lab.path("out"))
        .unwrap()
        .map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap())
        .collect();
    assert_eq!(left, ["precious\n"; 3]);
    lab.nothing_left();
}

#[test]
fn a_name_without_end_on_stdin_is_one_line_and_little_memory() {
    let lab = Lab::new();
    lab.new_run("r", &["true"]);
    for tool in ["run-status", "run-stop", "run-report", "run-exec -q"] {
        let script =
            format!("ulimit -v 400000; {{ head -c 200M /dev/zero | tr '\\0' x; echo; echo r; }} | {tool} -");
        let err = lab.cmd("sh").args(["-c", &script]).run().err();
        let said = "stdin has a name of more than 4096 bytes";
        assert_eq!(err.matches(said).count(), 1, "{tool}: {err}");
        assert!(err.len() < 1000, "{tool}: {err}");
    }
}

#[test]
fn a_run_is_executed_once_whatever_its_names() {
    let lab = Lab::new();
    lab.new_run("a", &["sh", "-c", "echo x >>count"]);
    symlink("a", lab.path("runs/b")).unwrap();
    let done = lab.cmd("run-exec").args(["-q", "a", "b", "runs/../runs/a"]).run().code(0);
    assert_eq!(done.err().matches("is named several times").count(), 2, "{}", done.err());
    assert_eq!(lab.read("count"), "x\n");
}

#[test]
fn a_record_without_room_for_another_attempt_is_damaged() {
    let lab = Lab::new();
    lab.new_run("r", &["false"]);
    lab.cmd("run-exec").args(["-q", "r"]).run().code(1);
    edit(&lab, "r", |record| record["attempt"] = json!(u32::MAX));
    lab.cmd("run-exec").args(["-q", "--resume", "r"]).run().code(125).stderr_has("its record is damaged");
}

#[test]
fn an_interpreter_that_does_not_answer_is_unknown() {
    let lab = Lab::new();
    fs::create_dir(lab.path("bin")).unwrap();
    lab.write("bin/python3", "#!/bin/sh\nsleep 1000\n");
    lab.set_mode("bin/python3", 0o755);
    let done = lab.cmd("run-new").args(["-n", "r", "--", "bin/python3", "x.py"]).run().code(0);
    assert!(done.err().contains("has not answered within 5s"), "{}", done.err());
    assert_eq!(lab.json("runs/r/.run/meta.json")["python_version"], json!(null));
    assert!(lab.alive().iter().all(|&pid| !lives(pid)));
}
