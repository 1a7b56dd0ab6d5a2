//! What is odd, hostile or unlucky, and was wrong once.

use serde_json::{Value, json};
use std::fs;
use testkit::process::Signal;
use testkit::{Lab, Running, await_end, pid, state, wait_for};

/// Starts a run that sleeps, in the foreground; returns its record when it runs.
fn sleeping(lab: &Lab, name: &str, command: &[&str]) -> (Running, Value) {
    let run = lab.new_run(name, command);
    let exec = lab.cmd("run-exec").args(["-q", "--linger", "200ms", "--grace", "1s", &run]).spawn();
    let status = lab.await_child(&run);
    (exec, status)
}

#[test]
fn a_process_whose_name_is_cut_within_a_character_is_seen_and_ended() {
    let lab = Lab::new();
    lab.write("обучение.sh", "#!/bin/sh\necho ready\nsleep 1000\n");
    lab.set_mode("обучение.sh", 0o755);
    let (exec, status) = sleeping(&lab, "r", &["./обучение.sh"]);
    assert!(status["child_start"].is_u64());
    lab.cmd("run-stop").arg("r").run().code(0).stdout("runs/r: stopped\n");
    exec.wait().code(143);
    lab.nothing_left();
}

#[test]
fn a_program_that_hides_its_environment_is_not_dead() {
    let lab = Lab::new();
    let (exec, status) = sleeping(&lab, "r", &["env", "-i", "/bin/sleep", "1000"]);
    exec.kill_with(pid(&status, "pid"));
    let found = lab.status("r");
    let expected = format!("supervisor gone, process {} lives", status["child_pid"]);
    assert_eq!((&found["status"], found["reason"].as_str()), (&json!("stale"), Some(expected.as_str())));
    lab.cmd("run-exec").args(["--resume", "r"]).run().code(125).stderr_has("supervisor gone");
    // A copy is another directory, with its lock or without.
    lab.cmd("cp").args(["-a", "runs/r", "runs/copy"]).run().code(0);
    fs::remove_file(lab.path("runs/copy/.run/lock")).unwrap();
    assert_eq!(lab.status("copy")["status"], "dead");
    lab.cmd("run-stop").arg("copy").run().code(0).stdout("runs/copy: dead\n");
    assert!(state(pid(&status, "child_pid")).is_some_and(|state| state != 'Z'));
    lab.cmd("run-stop").arg("r").run().code(0).stdout("runs/r: dead\n");
    await_end(pid(&status, "child_pid"));
}

#[test]
fn a_copy_of_a_running_run_is_not_running() {
    let lab = Lab::new();
    let (exec, _) = sleeping(&lab, "r", &["sleep", "1000"]);
    for lock in [true, false] {
        lab.cmd("cp").args(["-a", "runs/r", "runs/copy"]).run().code(0);
        if !lock {
            fs::remove_file(lab.path("runs/copy/.run/lock")).unwrap();
        }
        assert_eq!(lab.status("copy")["status"], "dead");
        lab.cmd("run-stop").arg("copy").run().code(0).stdout("runs/copy: dead\n");
        fs::remove_dir_all(lab.path("runs/copy")).unwrap();
    }
    // The original keeps its identity when it is moved.
    fs::rename(lab.path("runs/r"), lab.path("runs/moved")).unwrap();
    assert_eq!(lab.status("moved")["status"], "running");
    fs::rename(lab.path("runs/moved"), lab.path("runs/r")).unwrap();
    lab.cmd("run-stop").arg("r").run().code(0).stdout("runs/r: stopped\n");
    exec.wait();
    lab.nothing_left();
}

#[test]
fn what_an_on_end_script_starts_is_not_the_runs() {
    let lab = Lab::new();
    lab.new_run("a", &["true"]);
    lab.new_run("b", &["sleep", "1000"]);
    lab.cmd("run-exec").args(["-q", "--on-end", "run-exec --detach b", "a"]).run().code(0);
    lab.await_child("b");
    lab.cmd("run-exec").args(["--detach", "--resume", "a", "--", "sleep", "1000"]).run().code(0);
    let status = lab.await_child("a");
    let monitor = fs::read_to_string(format!("/proc/{}/status", status["pid"])).unwrap();
    let monitor =
        monitor.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap().trim().parse().unwrap();
    testkit::signal(monitor, Signal::STOP);
    for victim in [pid(&status, "pid"), monitor, pid(&status, "child_pid")] {
        testkit::signal(victim, Signal::KILL);
        await_end(victim);
    }
    assert_eq!(lab.status("a")["status"], "dead");
    lab.cmd("run-stop").arg("a").run().code(0);
    assert_eq!(lab.status("b")["status"], "running");
    lab.cmd("run-stop").arg("b").run().code(0).stdout("runs/b: stopped\n");
}

#[test]
fn a_supervisor_that_is_killed_after_the_end_changes_nothing() {
    let lab = Lab::new();
    let run = lab.new_run("r", &["true"]);
    let exec = lab.cmd("run-exec").args(["-q", "--on-end", "touch begun; sleep 1000", &run]).spawn();
    wait_for("the script", || lab.path("begun").exists());
    testkit::signal(pid(&lab.status("r"), "pid"), Signal::KILL);
    exec.wait().code(0).stderr_has("after the run had ended");
    assert_eq!(lab.status("r")["status"], "completed");
    assert_eq!(lab.json_lines("runs/r/.run/attempts.jsonl").len(), 2);
}

#[test]
fn a_stop_that_comes_while_a_start_is_prepared_counts() {
    let lab = Lab::new();
    lab.write("slow/.git/HEAD", "");
    lab.write("bin/git", "#!/bin/sh\ntouch ../begun\nuntil [ -e ../go ]; do sleep 0.02; done\nexit 1\n");
    lab.set_mode("bin/git", 0o755);
    lab.cmd("run-new").args(["-n", "r", "--", "touch", "ran"]).run().code(0);
    let path = lab.own_path();
    let exec = lab
        .cmd("run-exec")
        .env("PATH", path)
        .cwd(lab.path("slow"))
        .args(["../runs/r", "--", "touch", "ran"])
        .spawn();
    wait_for("the start", || lab.path("begun").exists());
    lab.cmd("run-stop").args(["--no-wait", "r"]).run().code(0);
    lab.write("go", "");
    exec.wait().code(125).stderr_has("before it started");
    assert_eq!(lab.status("r")["status"], "stopped");
    assert!(!lab.path("slow/ran").exists());
}

#[test]
fn a_terminal_that_is_closed_and_opened_again_loses_nothing() {
    let lab = Lab::new();
    let program =
        "echo one; exec >/dev/null 2>&1 </dev/null; sleep 0.3; echo two >/dev/tty; seq 20000 >/dev/tty";
    let run = lab.new_run("p", &["sh", "-c", program]);
    lab.cmd("run-exec").args(["-q", "--pty", &run]).run().code(0);
    let expected: String = (1..=20000).map(|i| format!("{i}\n")).collect();
    assert_eq!(lab.read("runs/p/stdout.log"), format!("one\ntwo\n{expected}"));
}

#[test]
fn a_secret_override_is_refused_and_not_passed_on_as_a_word() {
    let lab = Lab::new();
    for template in ["{set}", "--x={set:api_key}"] {
        lab.cmd("run-new")
            .args([
                "-n",
                template.trim_matches(['{', '}', '-']),
                "-s",
                "api_key=k123",
                "--",
                "echo",
                template,
            ])
            .run()
            .code(0);
    }
    for name in ["set", "x={set:api_key"] {
        let done =
            lab.cmd("run-exec").arg(name).run().code(125).stderr_has("is a secret and was not recorded");
        assert!(!done.err().contains("k123"));
    }
}

#[test]
fn pipes_by_the_names_of_files_are_not_waited_for() {
    let lab = Lab::new();
    let (exec, _) = sleeping(&lab, "r", &["sh", "-c", "mkfifo $RUN_METRICS; sleep 1000"]);
    lab.cmd("run-stop").arg("r").run().code(0).stdout("runs/r: stopped\n");
    exec.wait().code(143);
    let (exec, _) = sleeping(&lab, "s", &["sh", "-c", "mkfifo $RUN_STOP_FILE; sleep 1000"]);
    exec.wait().code(143);
    assert_eq!(lab.status("s")["reason"], "stopped by the file 'stop'");
    lab.new_run("t", &["true"]);
    lab.cmd("mkfifo").arg("runs/t/metrics.jsonl").run().code(0);
    lab.cmd("run-exec").arg("t").run().code(0);
}

#[test]
fn the_last_of_very_many_metrics_counts() {
    let lab = Lab::new();
    let program = "import os\nf = open(os.environ['RUN_METRICS'], 'w')\nfor i in range(400000): f.write('{\"step\": %d, \"loss\": 0.123456789012345678901}\\n' % i)\n";
    let run = lab.new_run("m", &["python3", "-c", program]);
    lab.cmd("run-exec").args(["--heartbeat", "1h", &run]).run().code(0);
    assert!(fs::metadata(lab.path("runs/m/metrics.jsonl")).unwrap().len() > 16 << 20);
    let status = lab.status("m");
    assert_eq!((&status["step"], &status["metrics"]["loss"]["count"]), (&json!(399_999), &json!(400_000)));
}

#[test]
fn no_duration_is_too_long_to_be_refused() {
    let lab = Lab::new();
    let run = lab.new_run("r", &["true"]);
    for option in ["--timeout", "--stall-timeout", "--heartbeat", "--grace", "--linger"] {
        let done = lab.cmd("run-exec").args([option, "10000000000000000000", &run]).run().code(125);
        assert!(done.err().contains("longer than a century"), "{}", done.err());
    }
    lab.cmd("run-exec").args(["--timeout", "99y", &run]).run().code(125).stderr_has("not a duration");
    lab.cmd("run-exec")
        .args(["--timeout", "36500d", "--stall-timeout", "36500d", "--grace", "36500d", &run])
        .run()
        .code(0);
    let (exec, _) = sleeping(&lab, "s", &["sleep", "1000"]);
    lab.write("runs/s/stop", "{\"grace_s\": 1e19}");
    exec.wait().code(143);
}

#[test]
fn a_patch_applies_whatever_the_users_settings() {
    let lab = Lab::new();
    lab.git(&["init", "-q", "."]);
    lab.git(&["config", "diff.noprefix", "true"]);
    lab.git(&["config", "diff.relative", "true"]);
    lab.git(&["config", "color.ui", "always"]);
    lab.write("top", "1\n");
    lab.write("sub/train.py", "1\n");
    lab.git(&["add", "."]);
    lab.git(&["commit", "-q", "-m", "one"]);
    lab.write("top", "2\n");
    lab.write("sub/train.py", "2\n");
    lab.cmd("run-new").cwd(lab.path("sub")).args(["-n", "r"]).run().code(0);
    lab.git(&["reset", "-q", "--hard"]);
    lab.git(&["apply", "sub/runs/r/.run/git.patch"]);
    assert_eq!((lab.read("top").as_str(), lab.read("sub/train.py").as_str()), ("2\n", "2\n"));
}

#[test]
fn several_who_stop_at_once_do_not_disturb_each_other() {
    let lab = Lab::new();
    let program = "import signal, sys, time\nsignal.signal(signal.SIGTERM, lambda *_: (time.sleep(0.3), sys.exit(0)))\nopen('ready', 'w')\nwhile True: time.sleep(1)";
    let (exec, _) = sleeping(&lab, "r", &["python3", "-c", program]);
    wait_for("the program", || lab.path("ready").exists());
    let all: Vec<_> =
        (0..12).map(|_| lab.cmd("run-stop").args(["--grace", "20s", "--why", "x", "r"]).spawn()).collect();
    for one in all {
        one.wait().code(0).stdout("runs/r: stopped\n");
    }
    exec.wait().code(0);
    let reason = lab.status("r")["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains('@') && reason.ends_with(": x"), "{reason}");
    let left: Vec<_> =
        fs::read_dir(lab.path("runs/r")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().ends_with(".tmp")), "{left:?}");
}
