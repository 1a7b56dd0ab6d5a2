//! A run that was executed before, or is running, and is executed again.

use serde_json::json;
use testkit::Lab;

#[test]
fn a_run_at_work_is_passed_over_alone_as_among_others() {
    let lab = Lab::new();
    lab.new_run("r", &["sh", "-c", "echo ready; while [ ! -e go ]; do sleep 0.02; done"]);
    let exec = lab.cmd("run-exec").args(["-q", "r"]).spawn();
    lab.await_text("runs/r/stdout.log", "ready");
    let said = "run-exec: skipping 'runs/r': another run-exec is executing it\n";
    for options in [&["r"][..], &["--detach", "r"], &["--retries", "1", "r"], &["r", "r/"], &["--stdin", "r"]]
    {
        let done = lab.cmd("run-exec").arg("--unfinished").args(options).run().code(0).stdout("");
        assert!(done.err().contains(said), "{options:?}: {}", done.err());
    }
    // Without the option it is asked for.
    for options in [&["r"][..], &["--resume", "r"]] {
        lab.cmd("run-exec").args(options).run().code(125).stderr_has("it is already running");
    }
    lab.write("go", "");
    exec.wait().code(0);
    lab.cmd("run-exec").args(["--unfinished", "r"]).run().code(0).stdout("").stderr("");
    assert_eq!(lab.status("r")["attempt"], 1);
}

#[test]
fn a_command_that_cannot_be_executed_can_be_replaced() {
    let lab = Lab::new();
    let advice = "run-exec: use --resume with another command after --, or create a new run with run-new\n";
    lab.write("denied", "");
    for (name, command, code, why) in [
        ("absent", "pyhton", 127, "command not found: pyhton"),
        ("denied", "./denied", 126, "cannot execute './denied': Permission denied"),
    ] {
        lab.new_run(name, &[command, "train.py"]);
        lab.cmd("run-exec").args(["-q", name]).run().code(code);
        let cause = format!("its command could not be executed: {why}");
        let path = lab.path(format!("runs/{name}")).display().to_string();
        let refused = format!("run-exec: cannot start '{path}': {cause}\n{advice}");
        lab.cmd("run-exec").args(["-q", name]).run().code(125).stderr(&refused);
        lab.cmd("run-exec").args(["-q", name, "--", "true"]).run().code(125).stderr(&refused);
        lab.cmd("run-exec").args(["-q", "--resume", name, "--", "true"]).run().code(0);
        assert_eq!(lab.status(name)["status"], json!("completed"));
    }
}
