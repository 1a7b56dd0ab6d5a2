//! A Ctrl-C ends the loop of a shell that executes runs, as it does with programs that it ends; a SIGINT that is sent
//! to run-exec alone stops the run, and leaves the status that of the command.

use serde_json::json;
use testkit::Lab;
use testkit::process::{Pid, Signal, kill_process_group};

/// Saves and exits with 0 when it is interrupted.
const TRAINER: &str = "import signal, sys, time\nsignal.signal(signal.SIGINT, lambda *_: sys.exit(0))\n\
                       print('ready')\ntime.sleep(1000)\n";

/// Creates runs of the trainer.
fn lab(names: &[&str]) -> Lab {
    let lab = Lab::new();
    lab.write("train.py", TRAINER);
    for name in names {
        lab.new_run(name, &["python3", "train.py"]);
    }
    lab
}

/// Expects that the first run was stopped, its command having exited with 0, and that no other was executed.
fn only_first_was_executed(lab: &Lab, others: &[&str]) {
    let status = lab.status("a");
    assert_eq!(
        (&status["status"], &status["reason"], &status["exit_code"]),
        (&json!("stopped"), &json!("stopped by signal 2 (INT)"), &json!(0))
    );
    for other in others {
        assert_eq!(lab.status(other)["status"], "created");
    }
    lab.nothing_left();
}

#[test]
fn a_loop_ends_with_the_run_that_is_interrupted() {
    for line in [
        "for run in a b c; do run-exec -q $run; done; echo on",
        "printf 'a\\nb\\nc\\n' | while read run; do run-exec -q $run; done; echo on",
        "for run in a b c; do run-exec -q $run --retries 2; done; echo on",
        "for run in a b c; do echo $run | run-exec -q -; done; echo on",
    ] {
        let lab = lab(&["a", "b", "c"]);
        let shell = lab.cmd("setsid").args(["bash", "-c", line]).spawn();
        lab.await_text("runs/a/stdout.log", "ready");
        kill_process_group(Pid::from_raw(shell.pid()).unwrap(), Signal::INT).unwrap();
        shell.wait().code(1000 + 2).stdout("");
        lab.await_nothing_left();
        only_first_was_executed(&lab, &["b", "c"]);
    }
}

#[test]
fn a_key_of_the_terminal_ends_the_loop() {
    let lab = lab(&["a", "b"]);
    let program = "import os, pty, sys, time\npid, fd = pty.fork()\n\
        if pid == 0: os.execvp('bash', ['bash', '-c', 'for run in a b; do run-exec $run; done; echo on'])\n\
        seen = b''\n\
        while b'ready' not in seen: seen += os.read(fd, 1000)\n\
        os.write(fd, b'\\x03')\n\
        while True:\n    try: seen += os.read(fd, 1000)\n    except OSError: break\n\
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), b'on\\r\\n' in seen)\n";
    lab.cmd("python3").args(["-c", program]).run().code(0).stdout("-2 False\n");
    only_first_was_executed(&lab, &["b"]);
}

#[test]
fn an_interrupt_of_run_exec_alone_leaves_the_status() {
    // By a program that is no shell.
    let lab_ = lab(&["a"]);
    let exec = lab_.cmd("run-exec").args(["-q", "a"]).spawn();
    lab_.await_text("runs/a/stdout.log", "ready");
    exec.signal(Signal::INT);
    exec.wait().code(0);
    only_first_was_executed(&lab_, &[]);
    // In the background of a script.
    let lab_ = lab(&["a"]);
    let script = "run-exec -q a & until grep -q ready runs/a/stdout.log 2>/dev/null; do sleep 0.02; done; kill -INT $!; wait $!; echo $?";
    lab_.cmd("bash").args(["-c", script]).run().code(0).stdout("0\n");
    only_first_was_executed(&lab_, &[]);
}
