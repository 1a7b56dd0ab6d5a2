//! The command of a run: what it gets, what is read from it, and what is refused.

use serde_json::{Value, json};
use testkit::{Done, Lab};

fn new(lab: &Lab, words: &[&str]) -> Done {
    lab.cmd("run-new").args(words).run()
}

fn meta(lab: &Lab, run: &str) -> Value {
    lab.json(&format!("runs/{run}/.run/meta.json"))
}

/// Executes a run of `printf`, and returns the words that it got.
fn words(lab: &Lab, run: &str, options: &[&str]) -> Vec<String> {
    let done = lab.cmd("run-exec").args(options).arg(run).run().code(0);
    done.out().lines().map(str::to_owned).collect()
}

#[test]
fn the_steps_of_the_command_outrank_those_of_the_config() {
    let lab = Lab::new();
    lab.write("base.py", "max_iters = 600\nseed = 1\n");
    for (name, words, total) in [
        ("config", &[][..], 600),
        ("equals", &["--max_iters=2000"], 2000),
        ("word", &["--max_steps", "2000"], 2000),
        ("plain", &["+trainer.max_steps=2000"], 2000),
        ("placeholder", &["--max_iters={total_steps}"], 600),
    ] {
        new(&lab, &[&["-n", name, "base.py", "--", "printf", "%s\\n", "{config}"], words].concat()).code(0);
        assert_eq!(meta(&lab, name)["total_steps"], total, "{name}");
    }
    // With a negative number epochs end the training, and the config's number is not its total.
    new(&lab, &["-n", "epochs", "base.py", "--", "true", "{config}", "--max_steps=-1"]).code(0);
    assert!(meta(&lab, "epochs")["total_steps"].is_null());
    lab.cmd("run-exec").args(["-q", "epochs"]).run().code(0);
    assert!(lab.status("epochs")["total_steps"].is_null());
    let set = ["-n", "set", "-s", "max_iters=50", "base.py", "--", "true", "--max_iters=9", "{set}"];
    new(&lab, &set).code(0);
    assert_eq!(meta(&lab, "set")["total_steps"], 50);
    let option = ["-n", "option", "--total-steps", "7", "base.py", "--", "true", "--max_iters=9", "--seed=3"];
    new(&lab, &option).code(0);
    assert_eq!((&meta(&lab, "option")["total_steps"], &meta(&lab, "option")["seed"]), (&json!(7), &json!(3)));
    // A command that is typed for an attempt says it for this attempt.
    lab.cmd("run-exec").args(["-q", "config", "--", "true", "--max_iters", "300"]).run().code(0);
    assert_eq!(lab.status("config")["total_steps"], 300);
    lab.cmd("run-exec").args(["-q", "--resume", "config"]).run().code(0);
    assert_eq!(lab.status("config")["total_steps"], 300);
    lab.cmd("run-exec").args(["-q", "equals", "--", "true", "--max_iters", "-1"]).run().code(0);
    assert!(lab.status("equals")["total_steps"].is_null());
}

#[test]
fn overrides_are_spelled_for_every_kind_of_trainer() {
    let lab = Lab::new();
    let set = ["-s", "lr=1e-3", "-s", "amp=true", "-s", "compile=false", "-s", "text=a b"];
    for (name, placeholder, expected) in [
        ("options", "{set}", &["--lr=1e-3", "--amp=true", "--compile=false", "--text=a b"][..]),
        ("py", "{set:py}", &["--lr=1e-3", "--amp=True", "--compile=False", "--text=a b"]),
        ("plain", "{set:plain}", &["lr=1e-3", "amp=true", "compile=false", "text=a b"]),
        ("words", "{set:words}", &["--lr", "1e-3", "--amp", "--text", "a b"]),
    ] {
        new(&lab, &[&["-n", name], &set[..], &["--", "printf", "%s\\n", placeholder]].concat()).code(0);
        assert_eq!(words(&lab, name, &[]), expected, "{name}");
    }
}

#[test]
fn overrides_that_the_command_does_not_use_are_refused() {
    let lab = Lab::new();
    let advice = |key: &str| {
        format!(
            "run-new: write {{set}} or {{set:{key}}} in the command, or use --set-by-env if the program reads RUN_SET\n"
        )
    };
    let told = "run-new: cannot create runs: the command does not use the override";
    let sweep = ["-b=b", "--sweep", "lr=1,2", "--", "true"];
    new(&lab, &sweep).code(2).stdout("").stderr(&format!("{told} 'lr'\n{}", advice("lr")));
    assert!(!lab.path("runs").exists(), "nothing was created");
    let two = ["-s", "lr=1", "--sweep", "seed=1,2", "--", "true", "{{set}}"];
    new(&lab, &two).code(2).stderr(&format!("{told}s 'lr', 'seed'\n{}", advice("lr")));
    for fine in [
        &["-s", "lr=1", "--", "true", "--lr={set:lr}"][..],
        &["-s", "lr=1", "--env", "LR={set:lr}", "--", "true"],
        &["--sweep", "seed=1,2", "--", "true", "--seed", "{seed}"],
        &["-s", "max_steps=5", "--", "true", "{total_steps}"],
        &["-s", "lr=1"],
    ] {
        new(&lab, fine).code(0).stderr("");
    }
    // A program may read them from its environment.
    let script = "import json, os; print(json.loads(os.environ['RUN_SET'])['lr'])";
    new(&lab, &["-n", "env", "--set-by-env", "-s", "lr=1e-3", "--", "python3", "-c", script]).code(0);
    assert_eq!(words(&lab, "env", &[]), ["1e-3"]);
    // A command that is typed later is executed, and what it does not use is reported.
    new(&lab, &["-n", "later", "-s", "lr=1"]).code(0);
    let done = lab.cmd("run-exec").args(["later", "--", "true"]).run().code(0);
    let run = lab.path("runs/later").display().to_string();
    done.stderr(&format!(
        "run-exec: the command does not use 'lr', with which '{run}' was created: it has no {{set}}\n"
    ));
    lab.cmd("run-exec").args(["--resume", "later", "--", "echo", "{set}"]).run().code(0).stdout("--lr=1\n");
}

#[test]
fn placeholders_that_can_never_be_filled_in_are_refused_and_slips_are_said() {
    let lab = Lab::new();
    lab.write("base.yaml", "");
    for (words, why) in [
        (
            &["-s", "x=1", "--", "true", "{set}", "--lr={set:lr}"][..],
            "'{set:lr}' of '--lr={set:lr}': there is no override 'lr'",
        ),
        (&["--", "true", "{input:data}"], "'{input:data}' of '{input:data}': there is no input 'data'"),
        (&["--", "true", "x{resume}"], "'{resume}' of 'x{resume}': it must be a whole argument"),
        (
            &["-s", "x=1", "--", "true", "a={set:plain}"],
            "'{set:plain}' of 'a={set:plain}': it must be a whole argument",
        ),
        (&["--env", "A={set}", "--", "true"], "'{set}' of '{set}': it must be a whole argument"),
        (&["--env", "A={set:lr}", "--", "true"], "'{set:lr}' of '{set:lr}': there is no override 'lr'"),
        (&["--", "true", "{config}"], "'{config}' of '{config}': there is no config"),
        (
            &["--", "true", "--seed={seed}"],
            "'{seed}' of '--seed={seed}': no seed is known; set it with --seed",
        ),
        (
            &["-b", "--sweep", "lr=1,2", "--env", "N={total_steps}", "base.yaml", "--", "true", "{set}"],
            "'{total_steps}' of '{total_steps}': no total_steps is known; set it with --total-steps",
        ),
    ] {
        new(&lab, words).code(2).stdout("").stderr_has(&format!("run-new: cannot fill in {why}"));
    }
    assert!(!lab.path("runs").exists());
    let typed = [
        "-n",
        "r",
        "base.yaml",
        "--env",
        "OUT={rundir}",
        "--",
        "true",
        "{chekpoint}",
        "${run_dir}",
        "{epoch}",
    ];
    new(&lab, &typed).code(0).stderr(
        "run-new: '{chekpoint}' is not a placeholder and stays unchanged; did you mean '{checkpoint}'?\n\
         run-new: '{rundir}' is not a placeholder and stays unchanged; did you mean '{run}'?\n",
    );
    let done = lab.cmd("run-exec").args(["-q", "r", "--", "true", "{output_dir}"]).run().code(0);
    done.stderr("run-exec: '{output_dir}' is not a placeholder and stays unchanged; did you mean '{run}'?\n");
    lab.write("runs/r/model_5.ckpt", "weights");
    let done = lab.cmd("run-eval").args(["r", "--", "echo", "{\"a\": 1}", "{out}", "{chekpoint}"]).run();
    done.stderr_has("'{chekpoint}' is not a placeholder and stays unchanged; did you mean '{checkpoint}'?\n");
}

#[test]
fn variables_are_filled_in() {
    let lab = Lab::new();
    let script = "echo \"$OUT $LR $SEED $WORD ${FROM-none} $PLAIN\"";
    let env = [
        "OUT={run}/out",
        "LR={set:lr}",
        "SEED={seed}",
        "WORD={env:SECRET_WORD}",
        "FROM={checkpoint}",
        "PLAIN={a}",
    ];
    let env = env.iter().flat_map(|pair| ["--env", pair]).collect::<Vec<_>>();
    let words =
        [&["-n", "r", "--seed", "7", "-s", "lr=1e-3"], &env[..], &["--", "sh", "-c", script]].concat();
    new(&lab, &words).code(0).stderr("");
    let out = lab.path("runs/r/out").display().to_string();
    let exec = |options: &[&str]| {
        lab.cmd("run-exec").args(options).arg("r").env("SECRET_WORD", "hush").env("FROM", "x").run()
    };
    exec(&[]).code(0).stdout(format!("{out} 1e-3 7 hush none {{a}}\n"));
    assert_eq!(meta(&lab, "r")["env"]["OUT"], "{run}/out");
    lab.write("runs/r/model_5.ckpt", "weights");
    let from = lab.path("runs/r/model_5.ckpt").display().to_string();
    exec(&["--resume"]).code(0).stdout(format!("{out} 1e-3 7 hush {from} {{a}}\n")).stderr("");
    let eval =
        lab.cmd("run-eval").args(["r", "--", "sh", "-c", "echo \"$LR $FROM\" >got; echo '{\"a\": 1}'"]);
    eval.env("SECRET_WORD", "hush").run().code(0);
    let got = lab.read("got");
    assert!(got.starts_with("1e-3 /") && got.ends_with("/model_5.ckpt\n"), "{got}");
    let done = lab.cmd("run-exec").args(["--resume", "r"]).run().code(125);
    assert!(done.err().contains("the variable SECRET_WORD is not set"), "{}", done.err());
}

#[test]
fn a_resume_that_the_program_is_not_told_is_said() {
    let lab = Lab::new();
    for (name, words, told) in [
        ("plain", &["--", "true"][..], false),
        ("resume", &["--resume-args", "--resume", "--", "true", "{resume}"], true),
        ("empty", &["--", "true", "{resume}"], false),
        ("checkpoint", &["--", "true", "--from={checkpoint}"], true),
        ("env", &["--env", "CKPT={checkpoint}", "--", "true"], true),
    ] {
        new(&lab, &[&["-n", name], words].concat()).code(0).stderr("");
        lab.cmd("run-exec").args(["-q", name]).run().code(0);
        lab.write(&format!("runs/{name}/model_5.ckpt"), "weights");
        let why = match name {
            "empty" => "there are no --resume-args for its {resume}",
            _ => "it has neither {resume} nor {checkpoint}",
        };
        let expected = format!(
            "run-exec: the command of '{}' does not use the checkpoint 'model_5.ckpt': {why}\n",
            lab.path(format!("runs/{name}")).display()
        );
        let done = lab.cmd("run-exec").args(["-q", "--resume", name]).run().code(0);
        done.stderr(if told { "" } else { &expected });
    }
    let done = new(&lab, &["--resume-args", "--resume", "--", "true"]).code(0);
    done.stderr("run-new: --resume-args has no effect: the command has no '{resume}'\n");
}

#[test]
fn names_that_are_made_hold_no_equals_sign_and_old_ones_are_continued() {
    let lab = Lab::new();
    lab.write("lr=1.py", "");
    let line = [
        "-b=b",
        "--exist-ok",
        "--sweep",
        "lr=0.01,0.1",
        "--sweep",
        "seed=1",
        "lr=1.py",
        "--",
        "true",
        "{set:py}",
    ];
    let done = new(&lab, &line).code(0);
    done.stdout("runs/b/lr_1_lr-0.01_seed-1\nruns/b/lr_1_lr-0.1_seed-1\n");
    let done = new(&lab, &["--sweep", "text=a=b", "--", "true", "{set}"]).code(0);
    assert!(!done.out().contains('='), "{}", done.out());
    // A run that an older version has created has its name.
    let (now, before) = (lab.path("runs/b/lr_1_lr-0.01_seed-1"), lab.path("runs/b/lr=1_lr=0.01_seed=1"));
    std::fs::rename(now, &before).unwrap();
    let done = new(&lab, &line).code(0);
    done.stdout("runs/b/lr=1_lr=0.01_seed=1\nruns/b/lr_1_lr-0.1_seed-1\n");
    lab.cmd("run-exec").args(["-q", "b"]).run().code(0);
    assert_eq!(lab.status("lr=1_lr=0.01_seed=1")["status"], "completed");
}

#[test]
fn an_interpreter_is_found_through_a_wrapper_or_is_not_known() {
    let lab = Lab::new();
    let version = "#!/bin/sh\necho Python 3.9.1\n";
    for bin in ["env/bin/python", "env/bin/python3"] {
        lab.write(bin, version);
        lab.set_mode(bin, 0o755);
    }
    lab.write("env/lib/python3.9/site-packages/torch-2.1.0.dist-info/METADATA", "");
    for (name, script, is_found) in [
        ("exec", "set -e\nexec \"$(dirname \"$0\")/env/bin/python\" \"$@\"", true),
        ("other", "exec \"$SOMEWHERE/bin/python\" \"$@\"", false),
        ("none", "echo hello", false),
    ] {
        let file = format!("{name}.sh");
        lab.write(&file, format!("#!/bin/sh\n{script}\n"));
        lab.set_mode(&file, 0o755);
        new(&lab, &["-n", name, "--", &format!("./{file}"), "train.py"]).code(0);
        let meta = meta(&lab, name);
        let python = lab.path("env/bin/python").display().to_string();
        let expected = if is_found { json!([python, "3.9.1", "2.1.0"]) } else { json!([null, null, null]) };
        let found = json!([meta["python_executable"], meta["python_version"], meta["torch_version"]]);
        assert_eq!(found, expected, "{name}");
    }
    lab.cmd("run-exec").args(["-q", "none"]).run().code(0);
    assert_eq!(lab.json_lines("runs/none/.run/attempts.jsonl")[0]["python_version"], Value::Null);
}

#[test]
fn the_options_of_an_interpreter_are_no_params() {
    let lab = Lab::new();
    new(&lab, &["-n", "m", "--", "python3", "-u", "-m", "pkg.train", "--lr", "1"]).code(0);
    new(&lab, &["-n", "c", "--", "sh", "-c", "exit 0", "--lr", "1"]).code(0);
    for run in ["m", "c"] {
        assert_eq!(meta(&lab, run)["params"], json!({"lr": "1"}), "{run}");
    }
}
