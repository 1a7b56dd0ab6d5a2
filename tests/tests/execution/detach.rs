//! `run-exec --detach` in a pipe: its output is a list of the runs.

use testkit::Lab;

#[test]
fn a_pipe_carries_a_detached_run() {
    let lab = Lab::new();
    let script = "run-new -n 'a b' -- true | run-exec --detach - | run-status --wait -";
    let done = lab.cmd("bash").args(["-o", "pipefail", "-c", script]).run().code(0);
    assert_eq!(done.err(), "run-exec: follow the output: run-status --log -f 'runs/a b'\n");
    assert_eq!(done.out(), "runs/a b: completed\n");
    // Like a named run: the status is that of the start.
    let script = "run-new -n gone -- no-such-program | run-exec --detach -";
    let done = lab.cmd("bash").args(["-o", "pipefail", "-c", script]).run().code(127);
    assert_eq!(
        (done.out().as_str(), done.err().as_str()),
        ("", "run-exec: command not found: no-such-program\n")
    );
    lab.await_nothing_left();
}

#[test]
fn a_pipe_carries_several_detached_runs() {
    let lab = Lab::new();
    let script = "run-new -d d -n x -- true; run-new -d d -b=b --sweep k=1..2 -- true {set}";
    let made = lab.cmd("sh").args(["-c", script]).run().code(0).out();
    let done = lab.cmd("run-exec").args(["-d", "d", "--detach", "-"]).stdin(&made).run().code(0);
    assert_eq!(done.err(), "run-exec: follow the runs: run-status --watch -d d\n");
    assert_eq!(done.out(), made);
    lab.cmd("run-status").args(["--wait", "-"]).stdin(&made).run().code(0);
    lab.await_nothing_left();
    let again = lab.cmd("run-exec").args(["-q", "--detach", "--resume", "d/x"]).run().code(0);
    assert!(!again.stdout("d/x\n").err().contains("follow"));
    // What cannot be executed does not prevent the others.
    lab.new_run("y", &["true"]);
    let done = lab.cmd("run-exec").args(["--detach", "-"]).stdin("y\n{\"path\": 1}\nnope\n").run().code(3);
    done.stdout("runs/y\n").stderr_has("no run 'nope'");
    lab.cmd("run-status").args(["--wait", "y"]).run().code(0);
    let done = lab.cmd("run-exec").args(["--detach", "nope", "gone"]).run().code(3).stdout("");
    done.stderr_has("no run 'nope'").stderr_has("no run 'gone'");
    lab.await_nothing_left();
}
