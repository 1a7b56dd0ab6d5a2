//! run-stop says which runs did not end when they were asked to.

use testkit::process::Signal;
use testkit::{Lab, await_end};

/// Ignores every request.
const DEAF: &str = "import signal, time\nfor number in [2, 15]: signal.signal(number, signal.SIG_IGN)\n\
                    print('ready')\nwhile True: time.sleep(0.1)\n";

fn start(lab: &Lab) -> testkit::Running {
    start_with(lab, &[])
}

fn start_with(lab: &Lab, options: &[&str]) -> testkit::Running {
    let run = lab.new_run("r", &["python3", "-c", DEAF]);
    let exec = lab.cmd("run-exec").args(["-q", "--linger", "100ms"]).args(options).arg(&run).spawn();
    lab.await_text("runs/r/stdout.log", "ready");
    exec
}

#[test]
fn a_run_that_had_to_be_killed_is_said_to_have_been() {
    let lab = Lab::new();
    let exec = start(&lab);
    let stop =
        || lab.cmd("run-stop").args(["--grace", "100ms", "r"]).run().code(0).stdout("runs/r: stopped\n");
    stop().stderr("run-stop: 'runs/r' did not end when asked to: killed after grace 0.1s and linger 0.1s\n");
    exec.wait().code(137);
    // That was another stop's affair.
    stop().stderr("run-stop: 'runs/r' has already ended: stopped\n");
    lab.nothing_left();
}

#[test]
fn what_is_left_of_a_run_and_had_to_be_killed_is_said_to_have_been() {
    let lab = Lab::new();
    let exec = start(&lab);
    let supervisor = testkit::pid(&lab.status("r"), "pid");
    exec.signal(Signal::STOP);
    testkit::signal(supervisor, Signal::KILL);
    exec.signal(Signal::KILL);
    exec.wait();
    await_end(supervisor);
    let done = lab.cmd("run-stop").args(["--grace", "300ms", "r"]).run().code(0).stdout("runs/r: dead\n");
    done.stderr_has("of 'runs/r', whose supervisor was gone; ")
        .stderr_has(" had to be killed after grace 0.3s\n");
    lab.nothing_left();
}

#[test]
fn who_asked_for_the_end_is_said_though_the_supervisor_is_killed_meanwhile() {
    for reason in [": enough", "stopped by signal 15 (TERM)"] {
        let lab = Lab::new();
        let exec = start(&lab);
        if reason == ": enough" {
            lab.cmd("run-stop").args(["--no-wait", "--why", "enough", "r"]).run().code(0);
        } else {
            exec.signal(Signal::TERM);
        }
        let status = lab.await_status("r", "being ended", |status| !status["reason"].is_null());
        testkit::signal(testkit::pid(&status, "pid"), Signal::KILL);
        lab.cmd("run-stop").args(["--grace", "100ms", "r"]).run().code(0).stdout("runs/r: stopped\n");
        exec.wait().code(137);
        let told = lab.status("r");
        let why = told["reason"].as_str().unwrap();
        assert!(told["status"] == "stopped" && why.contains(reason), "{told}");
        lab.nothing_left();
    }
}

#[test]
fn a_limit_stays_the_reason_though_the_supervisor_is_killed_meanwhile() {
    let lab = Lab::new();
    let exec = start_with(&lab, &["--timeout", "1s"]);
    let status = lab.await_status("r", "being ended", |status| !status["reason"].is_null());
    testkit::signal(testkit::pid(&status, "pid"), Signal::KILL);
    lab.cmd("run-stop").args(["--grace", "100ms", "r"]).run().code(0).stdout("runs/r: failed\n");
    exec.wait().code(124);
    let told = lab.status("r");
    assert!(told["reason"].as_str().unwrap().starts_with("timeout 1s"), "{told}");
    lab.nothing_left();
}
