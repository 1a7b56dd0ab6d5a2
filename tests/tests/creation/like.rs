//! `run-new --like RUN`: the command, options and settings of an earlier run.

use serde_json::json;
use testkit::Lab;

#[test]
fn a_run_like_another_has_its_command_options_and_settings() {
    let lab = Lab::new();
    lab.write("conf/base.yaml", "seed: 1\nsteps: 5\n");
    lab.write("data.txt", "x");
    lab.write("there/ok", "");
    let first = [
        "-n",
        "first",
        "-s",
        "lr=1e-3",
        "-s",
        "text=a b",
        "--seed",
        "7",
        "--tag",
        "t",
        "--note",
        "n",
        "--input",
        "data=data.txt",
        "--env",
        "OUT={run}/out",
        "--checkpoint",
        "ckpt/{step}.bin",
        "--metrics",
        "m.csv",
        "--chdir",
        "there",
        "conf/base.yaml",
        "--resume-args",
        "--go",
        "--",
        "sh",
        "-c",
        "cat ok",
        "sh",
        "{config}",
        "{set}",
        "{input:data}",
        "{resume}",
    ];
    lab.cmd("run-new").args(first).run().code(0).stderr("");
    lab.cmd("run-exec").args(["-q", "--timeout", "8h", "first"]).run().code(0);
    let made = lab.cmd("run-new").args(["--like", "first", "-s", "lr=0.1"]).run().code(0).stderr("").out();
    let run = made.trim_end();
    assert!(run.starts_with("runs/base_20"), "{run}");
    let meta = |run: &str| lab.json(&format!("{run}/.run/meta.json"));
    let (old, new) = (meta("runs/first"), meta(run));
    let same = [
        "command",
        "resume_args",
        "config_path",
        "config_file",
        "config_sha256",
        "tags",
        "note",
        "seed",
        "total_steps",
        "checkpoint",
        "cwd",
        "env",
        "device",
        "inputs",
    ];
    for key in same {
        assert_eq!(new[key], old[key], "{key}");
    }
    assert_eq!(new["overrides"], json!({"text": "a b", "lr": "0.1"}));
    assert_eq!(new["options"], json!({"metrics": "m.csv", "timeout_s": 28800.0}));
    assert_eq!(lab.read(&format!("{run}/config.yaml")), "seed: 1\nsteps: 5\n");
    lab.cmd("run-exec").args(["-q", run]).run().code(0);
    // What is given counts; a seed among the overrides replaces that of the option; a sweep replaces an override.
    let args = ["--like", "first", "-n", "x", "--sweep", "lr=1,2", "-s", "seed=3", "--note", "other"];
    assert_eq!(lab.cmd("run-new").args(args).run().code(0).out(), "runs/x_lr-1\nruns/x_lr-2\n");
    let new = meta("runs/x_lr-2");
    assert_eq!((&new["seed"], &new["note"]), (&json!(3), &json!("other")));
    assert_eq!(new["overrides"], json!({"text": "a b", "seed": "3", "lr": "2"}));
}

#[test]
fn the_command_is_that_of_the_last_attempt() {
    let lab = Lab::new();
    lab.new_run("a", &["false"]);
    lab.cmd("run-exec").arg("a").run().code(1);
    lab.cmd("run-exec").args(["--resume", "a", "--", "true"]).run().code(0);
    lab.cmd("run-new").args(["--like", "a", "-n", "b"]).run().code(0).stderr("");
    assert_eq!(lab.json("runs/b/.run/meta.json")["command"], json!(["true"]));
    lab.cmd("run-exec").arg("b").run().code(0);
}

#[test]
fn what_no_run_can_be_like_is_refused() {
    let lab = Lab::new();
    lab.new_run("a", &["true", "--api-key", "k123"]);
    lab.cmd("run-new").args(["-b=b", "--", "true"]).run().code(0);
    let like = |name: &str| lab.cmd("run-new").args(["--like", name]).run();
    like("a").code(2).stderr_has("'[redacted]' has a credential that is not recorded");
    like("b").code(2).stderr("run-new: 'b' is a batch; name one of its runs\n");
    like("nope").code(3).stderr_has("no run 'nope'");
    let given = ["--like", "a", "-n", "c", "--", "true", "--api-key", "{env:KEY}"];
    lab.cmd("run-new").args(given).run().code(0).stderr("");
}
