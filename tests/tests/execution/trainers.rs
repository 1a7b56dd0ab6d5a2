//! Training programs that behave badly, and what becomes of them: the right status, the right
//! reason, and no process left.

use serde_json::Value;
use testkit::process::Signal;
use testkit::{Lab, Running, pid};

/// Starts a run of a program whose first line of output is `ready`.
fn start(lab: &Lab, options: &[&str], command: &[&str]) -> Running {
    let run = lab.new_run("r", command);
    let exec = lab.cmd("run-exec").args(options).arg(run).spawn();
    lab.await_text("runs/r/stdout.log", "ready\n");
    exec
}

/// A program that saves for a second when it is asked to end, and succeeds.
const SAVES: &str = r"
import signal, sys, time
def save(*_):
    time.sleep(1)
    print('saved', flush=True)
    open('saved', 'a').write('once\n')
    sys.exit(0)
signal.signal(signal.SIGTERM, save)
signal.signal(signal.SIGINT, save)
print('ready', flush=True)
while True: time.sleep(0.1)
";

/// Expects how the run ended, and that nothing is left of it.
#[track_caller]
fn ended(lab: &Lab, status: &str, reason: Option<&str>, exit_code: Option<i64>, signal: Option<i64>) {
    let found = lab.status("r");
    let found = (&found["status"], &found["reason"], &found["exit_code"], &found["signal"]);
    assert_eq!(
        found,
        (&Value::from(status), &Value::from(reason), &Value::from(exit_code), &Value::from(signal))
    );
    lab.nothing_left();
}

const BY_TERM: Option<&str> = Some("stopped by signal 15 (TERM)");

#[test]
fn one_that_ignores_term_is_killed_when_the_grace_is_over() {
    let lab = Lab::new();
    let program = "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('ready')\nwhile True: time.sleep(1)";
    let exec = start(&lab, &["--grace", "200ms", "--linger", "200ms"], &["python3", "-c", program]);
    exec.signal(Signal::TERM);
    exec.wait().code(137);
    let reason = "stopped by signal 15 (TERM); killed after grace 0.2s and linger 0.2s";
    ended(&lab, "stopped", Some(reason), None, Some(9));
}

#[test]
fn one_that_double_forks_a_helper_which_holds_the_pipe_ends_with_it() {
    let lab = Lab::new();
    let program = r"
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        print('ready')
        time.sleep(1000)
    os._exit(0)
os.wait()
time.sleep(0.2)
";
    let exec = start(&lab, &["--linger", "200ms"], &["python3", "-c", program]);
    exec.wait().code(0);
    ended(&lab, "completed", Some("ended 1 process that outlived it"), Some(0), None);
}

#[test]
fn a_helper_that_ends_by_itself_in_time_is_left_alone() {
    let lab = Lab::new();
    let exec = start(&lab, &[], &["sh", "-c", "(sleep 0.5; echo late) & echo ready"]);
    exec.wait().code(0).stdout("ready\nlate\n");
    ended(&lab, "completed", None, Some(0), None);
}

#[test]
fn one_wrapped_in_a_shell_gets_the_stop_and_saves() {
    let lab = Lab::new();
    lab.write("train.py", SAVES);
    lab.write("inner.sh", "python3 train.py; echo after >> after");
    for wrapper in [
        "python3 train.py; echo after >> after",
        "bash inner.sh; true",
        "trap '' TERM; python3 train.py; true",
    ] {
        let lab_run = Lab::new();
        std::fs::copy(lab.path("train.py"), lab_run.path("train.py")).unwrap();
        std::fs::copy(lab.path("inner.sh"), lab_run.path("inner.sh")).unwrap();
        let exec = start(&lab_run, &["--grace", "20s"], &["bash", "-c", wrapper]);
        exec.signal(Signal::TERM);
        exec.wait().code(0);
        ended(&lab_run, "stopped", BY_TERM, Some(0), None);
        assert_eq!(lab_run.read("saved"), "once\n", "{wrapper}");
        assert!(!lab_run.path("after").exists(), "{wrapper}");
    }
}

#[test]
fn one_in_a_pipeline_gets_the_stop_and_saves() {
    let lab = Lab::new();
    lab.write("train.py", SAVES);
    lab.write("pretty.py", "import sys\nfor line in sys.stdin: print('>', line, end='', flush=True)\n");
    for (shell, wrapper, shown) in [
        ("sh", "python3 train.py | tee log", "ready\nsaved\n"),
        (
            "bash",
            "set -o pipefail; python3 train.py 2>&1 | tee log | grep --line-buffered -v nothing",
            "ready\nsaved\n",
        ),
        ("bash", "cat train.py | python3 train.py", "ready\nsaved\n"),
        ("bash", "python3 train.py > >(tee log)", "ready\nsaved\n"),
        ("bash", "exec > >(tee log); python3 train.py; true", "ready\nsaved\n"),
        ("sh", "(python3 train.py; true) | tee log", "ready\nsaved\n"),
        ("bash", "bash -c 'python3 train.py | tee log' | cat", "ready\nsaved\n"),
        ("sh", "python3 train.py | while read line; do echo \"> $line\"; done", "> ready\n> saved\n"),
        ("sh", "python3 train.py | tee log | python3 pretty.py", "> ready\n> saved\n"),
    ] {
        let lab_run = Lab::new();
        for file in ["train.py", "pretty.py"] {
            std::fs::copy(lab.path(file), lab_run.path(file)).unwrap();
        }
        // What outlives the main process has no time to save.
        let exec = start(&lab_run, &["--grace", "20s", "--linger", "300ms"], &[shell, "-c", wrapper]);
        exec.signal(Signal::TERM);
        exec.wait().code(0);
        ended(&lab_run, "stopped", BY_TERM, Some(0), None);
        assert_eq!(lab_run.read("saved"), "once\n", "{wrapper}");
        assert_eq!(lab_run.read("runs/r/stdout.log"), shown, "{wrapper}");
    }
}

#[test]
fn a_script_that_goes_on_after_an_interrupt_has_no_grace() {
    let lab = Lab::new();
    lab.write("train.py", SAVES);
    let script = "python3 train.py; echo next; sleep 1000";
    let exec = start(&lab, &["--grace", "1h", "--linger", "300ms"], &["bash", "-c", script]);
    exec.signal(Signal::INT);
    exec.wait();
    assert!(lab.read("runs/r/stdout.log").starts_with("ready\nsaved\n"));
    assert_eq!(lab.status("r")["status"], "stopped");
    lab.nothing_left();
}

#[test]
fn a_shell_that_handles_the_stop_has_the_grace() {
    let trap =
        "trap 'echo saving; sleep 1; echo saved; exit 7' TERM; echo ready; while :; do sleep 0.1; done";
    for shell in ["sh", "bash"] {
        let lab = Lab::new();
        let exec = start(&lab, &["--grace", "20s", "--linger", "300ms"], &[shell, "-c", trap]);
        exec.signal(Signal::TERM);
        exec.wait().code(7);
        ended(&lab, "stopped", BY_TERM, Some(7), None);
        assert_eq!(lab.read("runs/r/stdout.log"), "ready\nsaving\nsaved\n", "{shell}");
        // One that does not end is killed after the grace, which is reported.
        let lab = Lab::new();
        let deaf = "trap '' TERM; echo ready; while :; do sleep 0.1; done";
        let exec = start(&lab, &["--grace", "300ms", "--linger", "300ms"], &[shell, "-c", deaf]);
        exec.signal(Signal::TERM);
        let said = exec.wait().code(137).err();
        assert!(said.contains("has not ended after grace 0.3s and linger 0.3s: killed"), "{said}");
        let remark = "stopped by signal 15 (TERM); killed after grace 0.3s and linger 0.3s";
        ended(&lab, "stopped", Some(remark), None, Some(9));
    }
}

#[test]
fn its_workers_live_until_it_has_saved_and_no_longer() {
    let lab = Lab::new();
    let program = r"
import multiprocessing, os, signal, sys, time
def work():
    signal.signal(signal.SIGTERM, lambda *_: None)
    while True: time.sleep(0.1)
if __name__ == '__main__':
    workers = [multiprocessing.Process(target=work) for _ in range(3)]
    for worker in workers: worker.start()
    def save(*_):
        time.sleep(0.3)
        open('alive', 'w').write(str(sum(worker.is_alive() for worker in workers)))
        os._exit(0)
    signal.signal(signal.SIGTERM, save)
    print('ready')
    while True: time.sleep(0.1)
";
    lab.write("train.py", program);
    let exec = start(&lab, &["--linger", "200ms"], &["python3", "train.py"]);
    exec.signal(Signal::TERM);
    exec.wait().code(0);
    let reason = "stopped by signal 15 (TERM); killed 3 processes that outlived it, after linger 0.2s";
    ended(&lab, "stopped", Some(reason), Some(0), None);
    assert_eq!(lab.read("alive"), "3");
}

#[test]
fn workers_that_outlive_a_crash_are_ended() {
    let lab = Lab::new();
    let program = r"
import multiprocessing, os, time
def work():
    while True: time.sleep(0.1)
if __name__ == '__main__':
    for _ in range(3): multiprocessing.Process(target=work).start()
    print('ready')
    os._exit(7)
";
    lab.write("train.py", program);
    let exec = start(&lab, &["--linger", "100ms"], &["python3", "train.py"]);
    exec.wait().code(7);
    ended(&lab, "failed", Some("exit 7; ended 3 processes that outlived it"), Some(7), None);
}

#[test]
fn files_of_its_own_are_not_confused_with_the_record() {
    let lab = Lab::new();
    lab.write("base.yaml", "seed: 1\n");
    let program = r#"
import os, time
os.chdir(os.environ["RUN_DIR"])
open("pid", "w").write("1")
open("status.json", "w").write('{"status": "completed", "step": 99, "pid": 1}')
open("meta.json", "w").write("{")
open("config.yaml", "w").write("mine: true")
os.makedirs("checkpoints")
print("ready")
while not os.path.exists("go"): time.sleep(0.02)
"#;
    lab.cmd("run-new").args(["-n", "r", "base.yaml", "--", "python3", "-c", program]).run().code(0);
    let exec = lab.cmd("run-exec").arg("r").spawn();
    lab.await_text("runs/r/stdout.log", "ready\n");
    let status = lab.status("r");
    assert_eq!(status["status"], "running");
    assert_ne!(status["pid"], 1);
    lab.write("runs/r/go", "");
    exec.wait().code(0);
    ended(&lab, "completed", None, Some(0), None);
    assert_eq!(lab.status("r")["step"], 99, "the progress of the program is in its own status.json alone");
    assert_eq!(lab.read("runs/r/config.yaml"), "mine: true");
    assert_eq!(lab.read("runs/r/pid"), "1");
    assert_eq!(lab.cmd("run-status").args(["-a", "--json"]).run().code(0).out().lines().count(), 1);
}

#[test]
fn one_that_saves_for_long_and_exits_with_success_was_stopped() {
    let lab = Lab::new();
    let program = r"
import signal, sys, time
def save(*_):
    time.sleep(3)
    print('saved')
    sys.exit(0)
signal.signal(signal.SIGTERM, save)
print('ready')
while True: time.sleep(1)
";
    let exec = start(&lab, &[], &["python3", "-c", program]);
    lab.cmd("run-stop").args(["--why", "lunch", "r"]).run().code(0).stdout("runs/r: stopped\n").stderr("");
    exec.wait().code(0).stdout("ready\nsaved\n");
    let reason = lab.status("r")["reason"].as_str().unwrap().to_owned();
    assert!(
        reason.starts_with("stopped by ") && reason.contains('@') && reason.ends_with(": lunch"),
        "{reason}"
    );
    ended(&lab, "stopped", Some(&reason), Some(0), None);
}

#[test]
fn the_command_is_asked_once_however_often_a_stop_is_asked_for() {
    let lab = Lab::new();
    let program = r"
import signal, sys, time
def count(number, _): print('got', number)
signal.signal(signal.SIGTERM, count)
signal.signal(signal.SIGINT, count)
signal.signal(signal.SIGHUP, count)
print('ready')
end = time.monotonic() + 1.5
while time.monotonic() < end: time.sleep(0.05)
";
    let exec = start(&lab, &[], &["python3", "-c", program]);
    exec.signal(Signal::TERM);
    lab.await_text("runs/r/stdout.log", "got 15\n");
    for request in [Signal::TERM, Signal::HUP, Signal::INT] {
        exec.signal(request);
    }
    lab.write("runs/r/stop", "");
    exec.wait().code(0).stdout("ready\ngot 15\n");
    ended(&lab, "stopped", BY_TERM, Some(0), None);
}

#[test]
fn an_interrupt_is_passed_on_as_such_and_the_second_one_kills() {
    let lab = Lab::new();
    let program = "import signal, time\nsignal.signal(signal.SIGINT, lambda *_: print('saving'))\nprint('ready')\nwhile True: time.sleep(0.1)";
    let exec = start(&lab, &[], &["python3", "-c", program]);
    exec.signal(Signal::INT);
    lab.await_text("runs/r/stdout.log", "saving\n");
    exec.signal(Signal::INT);
    exec.wait().code(137).stdout("ready\nsaving\n");
    ended(&lab, "stopped", Some("stopped by signal 2 (INT)"), None, Some(9));
}

#[test]
fn a_signal_that_means_something_to_the_program_alone_is_passed_on() {
    let lab = Lab::new();
    let program = "import signal, sys, time\nsignal.signal(signal.SIGUSR1, lambda *_: sys.exit('got it'))\nprint('ready')\nwhile True: time.sleep(0.1)";
    lab.write("train.py", program);
    let exec = start(&lab, &[], &["bash", "-c", "python3 train.py; exit $?"]);
    exec.signal(Signal::USR1);
    exec.wait().code(1);
    ended(&lab, "failed", Some("exit 1: got it"), Some(1), None);
}

#[test]
fn a_limit_on_the_size_of_files_is_the_programs_affair() {
    let lab = Lab::new();
    let run = lab.new_run("r", &["python3", "-c", "print('x' * 3_000_000); open('done', 'w').write('yes')"]);
    let script = format!("ulimit -f 1000; exec run-exec -q {run}");
    lab.cmd("bash").args(["-c", &script]).run().code(0).stderr_has("cannot write stdout.log: File too large");
    assert_eq!(lab.read("done"), "yes");
    let status = lab.status("r");
    assert_eq!(status["status"], "completed");
    let reason = status["reason"].as_str().unwrap();
    assert!(reason.ends_with(" bytes of output could not be logged"), "{reason}");
    lab.nothing_left();
}

#[test]
fn a_stop_file_touched_by_hand_is_enough() {
    let lab = Lab::new();
    let exec = start(&lab, &[], &["sh", "-c", "trap 'exit 0' TERM; echo ready; while :; do sleep 0.1; done"]);
    lab.write("runs/r/stop", "");
    exec.wait().code(0);
    ended(&lab, "stopped", Some("stopped by the file 'stop'"), Some(0), None);
}

#[test]
fn one_that_kills_its_own_process_group_kills_no_supervisor() {
    let lab = Lab::new();
    let exec = start(&lab, &[], &["sh", "-c", "echo ready; kill -KILL 0"]);
    exec.wait().code(137);
    ended(&lab, "failed", Some("signal 9 (KILL)"), None, Some(9));
}

#[test]
fn a_stopped_program_is_continued_to_take_notice_of_a_stop() {
    let lab = Lab::new();
    let exec = start(
        &lab,
        &["--grace", "20s"],
        &["sh", "-c", "trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.05; done"],
    );
    testkit::signal(pid(&lab.await_child("r"), "child_pid"), Signal::STOP);
    exec.signal(Signal::TERM);
    exec.wait().code(0).stdout("ready\nbye\n");
    ended(&lab, "stopped", BY_TERM, Some(0), None);
}

#[test]
fn a_timeout_gives_time_to_save_and_is_a_failure() {
    let lab = Lab::new();
    let exec = start(
        &lab,
        &["--timeout", "1s"],
        &["sh", "-c", "trap 'echo saved; exit 0' TERM; echo ready; while :; do sleep 0.05; done"],
    );
    exec.wait().code(124).stdout("ready\nsaved\n");
    ended(&lab, "failed", Some("timeout 1s"), Some(0), None);
}
