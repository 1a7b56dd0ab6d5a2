//! Resuming: from which checkpoint, with which arguments, and to the very numbers of an unbroken run.

use serde_json::{Value, json};
use std::fs;
use testkit::process::Signal;
use testkit::{Lab, checkout, pid, wait_for};

/// Prints what it was given, and leaves checkpoints as the Hugging Face Trainer does.
const PROGRAM: &str = "import os, sys\nrun = os.environ['RUN_DIR']\nprint(sys.argv[1:], os.environ.get('RUN_RESUME_FROM'), \
                       os.environ.get('RUN_RESUME_STEP'), os.environ.get('RUN_TOTAL_STEPS'))\n\
                       for step in map(int, os.environ.get('SAVE', '').split()):\n    d = f'{run}/checkpoint-{step}'\n    os.makedirs(d, exist_ok=True)\n\
                       \x20   open(d + '/model.bin', 'w').write('x')\n    open(d + '/trainer_state.json', 'w').write('{}')\n\
                       sys.exit(int(os.environ.get('CODE', 0)))\n";

fn new_run(lab: &Lab, options: &[&str], command: &[&str]) {
    lab.write("p.py", PROGRAM);
    lab.cmd("run-new")
        .args(["-n", "r"])
        .args(options)
        .args(["--", "python3", "p.py"])
        .args(command)
        .run()
        .code(0);
}

fn exec(lab: &Lab, options: &[&str], save: &str) -> testkit::Done {
    lab.cmd("run-exec").args(options).arg("r").env("SAVE", save).env("CODE", "1").run()
}

#[test]
fn an_attempt_goes_on_from_the_latest_complete_checkpoint() {
    let lab = Lab::new();
    let resume = [
        "--total-steps",
        "300",
        "--resume-args=--resume",
        "--resume-args={checkpoint}",
        "--resume-args=--from={step}",
    ];
    new_run(&lab, &resume, &["{resume}", "--ckpt={checkpoint}", "--total={total_steps}", "{{resume}}"]);
    exec(&lab, &[], "40 80 120 160 200").code(1).stdout("['--total=300', '{resume}'] None None 300\n");
    let run = lab.path("runs/r");
    fs::create_dir(run.join("checkpoint-240")).unwrap();
    fs::write(run.join("checkpoint-240/trainer_state.json"), "{}").unwrap();
    fs::create_dir(run.join("checkpoint-320")).unwrap();
    std::os::unix::fs::symlink("nowhere", run.join("step_latest")).unwrap();
    let path = |step: u32| format!("{}/checkpoint-{step}", run.display());
    let given = |step: u32, total: u32| {
        let path = path(step);
        format!(
            "['--resume', '{path}', '--from={step}', '--ckpt={path}', '--total={total}', '{{resume}}'] {path} {step} {total}\n"
        )
    };
    exec(&lab, &["--resume"], "")
        .code(1)
        .stdout(given(200, 300))
        .stderr_has("run-exec: skipping 'checkpoint-240' of ")
        .stderr_has("run-exec: skipping 'checkpoint-320' of ");
    let start = lab.json_lines("runs/r/.run/attempts.jsonl")[2].clone();
    assert_eq!(
        (&start["resume_from"], &start["resume_step"], &start["total_steps"]),
        (&json!(path(200)), &json!(200), &json!(300))
    );
    assert_eq!(lab.json("runs/r/.run/result.json")["final_checkpoint"], "checkpoint-200");
    // From another step; with more steps, whose sum is the total from then on.
    exec(&lab, &["--resume", "--from-step", "80"], "")
        .code(1)
        .stdout(given(80, 300))
        .stderr_has("run-exec: 'checkpoint-200' of ")
        .stderr_has(" is later and is kept: a resume from the latest would use it\n");
    exec(&lab, &["--resume", "--from-step", "latest", "--additional-steps", "50"], "")
        .code(1)
        .stdout(given(200, 250));
    assert_eq!(lab.status("r")["total_steps"], 250);
    exec(&lab, &["--unfinished"], "").code(1).stdout(given(200, 250));
    for (step, why) in [("240", "'checkpoint-240' is not complete"), ("81", "no such checkpoint")] {
        exec(&lab, &["--resume", "--from-step", step], "").code(125).stderr_has(why);
    }
    for wrong in ["0", "-5", "x"] {
        exec(&lab, &["--resume", &format!("--additional-steps={wrong}")], "").code(125);
    }
    // A command given for this attempt.
    lab.cmd("run-exec")
        .args(["--resume", "r", "--", "echo", "torchrun", "{step}"])
        .run()
        .code(0)
        .stdout("torchrun 200\n");
}

#[test]
fn without_a_checkpoint_it_begins_anew_and_says_so() {
    let lab = Lab::new();
    new_run(&lab, &["--resume-args", "--resume", "{checkpoint}"], &["{resume}", "--ckpt={checkpoint}"]);
    exec(&lab, &[], "").code(1).stdout("[] None None None\n");
    let shown = lab.path("runs/r").display().to_string();
    let anew = format!("run-exec: '{shown}' starts from the beginning: it has no checkpoint\n");
    exec(&lab, &["--resume"], "").code(1).stdout("[] None None None\n").stderr(&anew);
    exec(&lab, &["--resume", "--additional-steps", "7"], "").code(1).stdout("[] None None 7\n");
    exec(&lab, &["--unfinished"], "").code(1).stdout("[] None None 7\n").stderr("");
    // One that cannot be resumed from is worth a word.
    lab.write("runs/r/checkpoint-5/model.bin", "");
    let none = format!("run-exec: '{shown}' has no complete checkpoint to resume from\n");
    let said = exec(&lab, &["--unfinished"], "").code(1).stdout("[] None None 7\n").err();
    assert!(said.contains("skipping 'checkpoint-5'") && said.ends_with(&none), "{said}");
    // Nor can it be seen what is on a disk that is not mounted.
    fs::remove_dir_all(lab.path("runs/r/checkpoint-5")).unwrap();
    std::os::unix::fs::symlink("/not/mounted", lab.path("runs/r/checkpoints")).unwrap();
    let passed =
        format!("run-exec: skipping 'checkpoints' of '{shown}': cannot be read: No such file or directory\n");
    exec(&lab, &["--unfinished"], "").code(1).stderr(&format!("{passed}{none}"));
}

#[test]
fn a_checkpoint_without_a_step_is_gone_on_from_where_no_other_is() {
    let lab = Lab::new();
    let resume = ["--resume-args", "--init_from={checkpoint}"];
    new_run(&lab, &resume, &["{resume}"]);
    lab.write("runs/r/out/best.pt", b"\x80\x04N.");
    exec(&lab, &["--resume", "--from-step", "best"], "").code(125).stderr_has("no attempt has been made yet");
    exec(&lab, &[], "").code(1);
    exec(&lab, &["--resume"], "").code(1).stderr_has("has no complete checkpoint to resume from");
    let given = |name: &str| {
        let path = lab.path(format!("runs/r/out/{name}"));
        format!("['--init_from={0}'] {0} None None\n", path.display())
    };
    exec(&lab, &["--resume", "--from-step", "best"], "").code(1).stdout(given("best.pt"));
    // nanoGPT overwrites this one.
    lab.write("runs/r/out/ckpt.pt", b"\x80\x04N.");
    exec(&lab, &["--resume"], "")
        .code(1)
        .stdout(given("ckpt.pt"))
        .stderr_has("has no complete checkpoint with a step; resuming from 'out/ckpt.pt'");
    exec(&lab, &["--resume", "--additional-steps", "5"], "").code(125).stderr_has("its step is unknown");
    exec(&lab, &["--resume", "--from-step", "final"], "").code(125).stderr_has("no such checkpoint");
    exec(&lab, &["--resume", "--from-step", "first"], "").code(125).stderr_has("latest, final, best or last");
    lab.write("runs/r/out/ckpt.pt", b"\x80\x04");
    exec(&lab, &["--resume", "--from-step", "last"], "")
        .code(125)
        .stderr_has("'out/ckpt.pt' is not complete");
    // So is one that was recorded by its very name.
    for (name, pattern) in [("fixed", "state.x"), ("dotted", "./state.x")] {
        lab.cmd("run-new")
            .args(["-n", name, "--checkpoint", pattern, "--", "sh", "-c", "echo $RUN_RESUME_FROM"])
            .run()
            .code(0);
        lab.cmd("run-exec").args(["-q", name]).run().code(0);
        let path = lab.write(&format!("runs/{name}/state.x"), "state");
        lab.cmd("run-exec").args(["--resume", name]).run().code(0).stdout(format!("{}\n", path.display()));
    }
}

#[test]
fn a_recorded_pattern_says_what_a_checkpoint_is() {
    let lab = Lab::new();
    new_run(&lab, &["--checkpoint", "saved/at_{step}.json"], &["{checkpoint}"]);
    exec(&lab, &[], "500").code(1);
    for step in [9, 10] {
        lab.write(&format!("runs/r/saved/at_{step}.json"), "{}");
    }
    let expected = lab.path("runs/r/saved/at_10.json");
    exec(&lab, &["--resume"], "").code(1).stdout(format!("['{0}'] {0} 10 None\n", expected.display()));
}

#[test]
fn checkpoints_on_another_disk_are_resumed_from_and_evaluated() {
    let lab = Lab::new();
    new_run(&lab, &[], &["{checkpoint}"]);
    exec(&lab, &[], "").code(1);
    lab.write("scratch/model_7.pt", b"\x80\x04N.");
    std::os::unix::fs::symlink(lab.path("scratch"), lab.path("runs/r/checkpoints")).unwrap();
    let path = lab.path("runs/r/checkpoints/model_7.pt");
    exec(&lab, &["--resume"], "").code(1).stdout(format!("['{0}'] {0} 7 None\n", path.display()));
    assert_eq!(lab.json("runs/r/.run/result.json")["final_checkpoint"], "checkpoints/model_7.pt");
    let command = ["sh", "-c", "echo '{\"bytes\": '$(wc -c <$1)'}'", "sh", "{checkpoint}"];
    lab.cmd("run-eval").args(["r", "--"]).args(command).run().code(0).stderr("");
    assert_eq!(lab.read("eval_runs/r_eval/consolidated_metrics.csv"), "step,bytes\n7,4\n");
    assert!(lab.path("scratch/model_7.pt").exists());
}

#[test]
fn a_changed_config_is_another_training() {
    let lab = Lab::new();
    lab.write("c.yaml", "lr: 1\n");
    new_run(&lab, &["c.yaml"], &["{config}"]);
    exec(&lab, &[], "5").code(1);
    lab.write("runs/r/config.yaml", "lr: 2\n");
    let expected = format!(
        "run-exec: cannot resume '{}': its 'config.yaml' has changed since the run was created\n\
         run-exec: use --allow-config-change to resume anyway, or create a new run with run-new\n",
        lab.path("runs/r").display()
    );
    exec(&lab, &["--resume"], "").code(125).stdout("").stderr(&expected);
    assert_eq!(lab.status("r")["attempt"], 1);
    exec(&lab, &["--resume", "--allow-config-change"], "").code(1).stderr("");
    assert_eq!(lab.status("r")["attempt"], 2);
}

#[test]
fn retries_go_on_from_the_last_checkpoint() {
    let lab = Lab::new();
    let program = "import os, signal\nrun, attempt = os.environ['RUN_DIR'], int(os.environ['RUN_ATTEMPT'])\n\
                   print(os.environ.get('RUN_RESUME_STEP'), os.environ.get('RUN_TOTAL_STEPS'))\nd = f'{run}/checkpoint-{attempt * 10}'\nos.makedirs(d)\n\
                   open(d + '/model.bin', 'w').write('x')\nopen(d + '/trainer_state.json', 'w').write('{}')\n\
                   attempt in (1, 2, 4) and os.kill(os.getpid(), signal.SIGKILL)\n";
    lab.write("p.py", program);
    lab.new_run("r", &["python3", "p.py"]);
    lab.cmd("run-exec").args(["-q", "--retries", "5", "--retry-delay", "10ms", "r"]).run().code(0).stderr("");
    assert_eq!(lab.read("runs/r/stdout.log"), "None None\n10 None\n20 None\n");
    assert_eq!(lab.json("runs/r/.run/result.json")["final_checkpoint"], "checkpoint-30");
    // Where to start, and for how many steps, applies to the first attempt, and not to its retries.
    let args = ["--resume", "--from-step", "10", "--additional-steps", "50", "--retries", "5"];
    lab.cmd("run-exec")
        .args(args)
        .args(["--retry-delay", "10ms", "r"])
        .run()
        .code(0)
        .stdout("10 60\n40 60\n");
    // One that failed before it has saved anything leaves the later ones of before given up.
    let program = "import os, signal\nprint(os.environ.get('RUN_RESUME_STEP'), os.environ.get('RUN_TOTAL_STEPS'), flush=True)\n\
                   attempt = int(os.environ['RUN_ATTEMPT'])\nd = os.environ['RUN_DIR'] + '/checkpoint-15'\n\
                   if attempt == 7:\n    os.makedirs(d)\n\
                   \x20   open(d + '/model.bin', 'w').write('x')\n    open(d + '/trainer_state.json', 'w').write('{}')\n\
                   attempt < 8 and os.kill(os.getpid(), signal.SIGKILL)\n";
    lab.write("p.py", program);
    lab.cmd("run-exec")
        .args(args)
        .args(["--retry-delay", "10ms", "r"])
        .run()
        .code(0)
        .stdout("10 60\n10 60\n15 60\n");
}

/// Trains the network of the examples in the directory of the lab; returns its run.
fn train(lab: &Lab, name: &str) -> String {
    let examples = checkout().join("examples");
    let config = lab.write(
        "digits.json",
        r#"{"total_steps": 400, "save_every": 50, "log_every": 10, "eval_every": 100}"#,
    );
    lab.cmd("run-new")
        .args(["-n", name])
        .arg(config)
        .args(["--", "python3"])
        .arg(examples.join("train.py"))
        .args(["--config", "{config}"])
        .run()
        .code(0);
    format!("runs/{name}")
}

/// Returns the rows of a run by step, of several of one step the last.
fn curve(lab: &Lab, run: &str) -> Vec<(u64, Value)> {
    let mut rows: Vec<(u64, Value)> = Vec::new();
    for mut row in lab.json_lines(&format!("{run}/metrics.jsonl")) {
        let step = row["step"].as_u64().unwrap();
        rows.retain(|(known, _)| *known < step);
        row.as_object_mut().unwrap().retain(|key, _| !key.contains("time") && !key.contains("second"));
        rows.push((step, row));
    }
    rows
}

#[test]
fn a_resumed_training_comes_to_the_very_numbers_of_an_unbroken_one() {
    let lab = Lab::new();
    let unbroken = train(&lab, "unbroken");
    lab.cmd("run-exec").args(["-q", &unbroken]).run().code(0);
    let expected = curve(&lab, &unbroken);
    assert!(expected.len() > 5);
    for end in ["stop", "kill", "retry", "fail"] {
        let run = train(&lab, end);
        let retries = if end == "retry" { "1" } else { "0" };
        let options = ["-q", "--heartbeat", "50ms", "--retries", retries, "--retry-delay", "10ms"];
        let exec = lab.cmd("run-exec").args(options).arg(&run).spawn();
        wait_for("rows after a checkpoint", || {
            fs::read(lab.path(format!("{run}/metrics.jsonl")))
                .is_ok_and(|rows| rows.split(|byte| *byte == b'\n').count() > 8)
        });
        let status = lab.status(&run);
        let child = pid(&status, "child_pid");
        match end {
            "stop" => drop(lab.cmd("run-stop").arg(&run).run().code(0)),
            "kill" | "retry" => testkit::signal(child, Signal::KILL),
            _ => {
                // What it writes a checkpoint to is in its way: an exception ends it.
                let scratch = lab.path(format!("{run}/checkpoints/model.tmp"));
                wait_for("a place for a directory", || fs::create_dir_all(&scratch).is_ok());
                lab.await_status(&run, "failed", |status| status["status"] == "failed");
                fs::remove_dir(scratch).unwrap();
            }
        }
        let code = exec.wait().code;
        let expected_code = match end {
            "kill" => 137,
            "fail" => 1,
            _ => 0,
        };
        assert_eq!(code, expected_code, "{end}");
        if end != "retry" {
            lab.cmd("run-exec").args(["-q", "--resume", &run]).run().code(0);
        }
        assert!(lab.read(&format!("{run}/stdout.log")).contains("resumed at step"));
        assert_eq!(curve(&lab, &run), expected, "{end}");
        assert_eq!(lab.status(&run)["attempt"], 2);
    }
}
