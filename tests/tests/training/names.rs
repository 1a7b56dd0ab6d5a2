//! Names of checkpoints: which is the latest by them, which files are one, what is reported if they are
//! ambiguous, and patterns that say it in their place.

use testkit::{Done, Lab};

/// A run that has ended, with these files, each a whole pickle.
fn run_with(lab: &Lab, name: &str, options: &[&str], files: &[&str]) {
    lab.cmd("run-new").args(["-n", name]).args(options).args(["--", "sh", "-c", SHOW]).run().code(0);
    lab.cmd("run-exec").args(["-q", name]).run().code(0);
    for file in files {
        // Archives have to be such ones; an empty one is whole.
        let is_archive = file.contains(".npz");
        let empty = [
            &b"PK\x03\x04"[..],
            &[0; 26],
            b"PK\x01\x02",
            &[0; 42],
            b"PK\x05\x06",
            &[0, 0, 0, 0, 1, 0, 1, 0, 46, 0, 0, 0, 30, 0, 0, 0, 0, 0],
        ]
        .concat();
        lab.write(&format!("runs/{name}/{file}"), if is_archive { empty } else { b"\x80\x04N.".to_vec() });
    }
}

/// Prints what an attempt resumes from.
const SHOW: &str = "echo $RUN_RESUME_STEP ${RUN_RESUME_FROM#$RUN_DIR/}";

fn resume(lab: &Lab, name: &str, options: &[&str]) -> Done {
    lab.cmd("run-exec").arg("--resume").args(options).arg(name).run()
}

/// Evaluates all checkpoints; returns the steps in the table.
fn evaluated(lab: &Lab, name: &str, warned: &str) -> String {
    let done = lab.cmd("run-eval").args([name, "--", "echo", "{\"x\": {step}}"]).run().code(0);
    assert_eq!(done.err(), warned);
    let table = lab.read(&format!("eval_runs/{name}_eval/consolidated_metrics.csv"));
    let steps: Vec<&str> = table.lines().skip(1).filter_map(|line| line.split(',').next()).collect();
    steps.join(" ")
}

/// Returns the rows of the table of checkpoints: path, step and state of each.
fn listed(lab: &Lab, name: &str, options: &[&str]) -> Vec<String> {
    let shown = lab.cmd("run-status").args(options).arg(name).run().code(0).out();
    let block = shown.split("\n\n").find(|block| block.starts_with("CHECKPOINT")).unwrap_or_default();
    let row = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let state = words.iter().position(|word| word.contains("complete")).unwrap_or(0);
        [&words[..2], &words[state..]].concat().join(" ")
    };
    block.lines().skip(1).map(row).collect()
}

#[test]
fn the_latest_is_that_of_the_greatest_step_whatever_a_trainer_calls_it() {
    let lab = Lab::new();
    let rows: [(&str, &[&str], &str, &str); 10] = [
        (
            "composer",
            &[
                "ep0-ba100-rank0.pt",
                "ep0-ba200-rank0.pt",
                "ep0-ba1000-rank0.pt",
                "ep0-ba1000-rank1.pt",
                "latest-rank0.pt",
            ],
            "1000 ep0-ba1000-rank0.pt",
            "100 200 1000",
        ),
        (
            "transformers",
            &["checkpoint-1095-epoch-1.pt", "checkpoint-2000.pt", "checkpoint-2190-epoch-2.pt"],
            "2190 checkpoint-2190-epoch-2.pt",
            "1095 2000 2190",
        ),
        ("units", &["step500.pt", "step10k.pt", "step_9999.pt"], "10000 step10k.pt", "500 9999 10000"),
        (
            "mlx",
            &["0000100_adapters.safetensors.pt", "adapters/0000200_adapters.pt"],
            "200 adapters/0000200_adapters.pt",
            "100 200",
        ),
        ("gan", &["9_net_G.pth", "9_net_D.pth", "10_net_G.pth", "10_net_D.pth"], "10 10_net_G.pth", "9 10"),
        ("vits", &["G_900.pth", "D_900.pth", "G_1000.pth", "D_1000.pth"], "1000 G_1000.pth", "900 1000"),
        ("keras", &["model.05-0.91.h5", "model.12-0.12.keras", "model.2.npz"], "5 model.05-0.91.h5", "5"),
        (
            "numbers",
            &["checkpoints/900/state.pkl", "checkpoints/1000/state.pkl", "1100/state.pkl", "7000.pkl"],
            "1000 checkpoints/1000",
            "900 1000",
        ),
        (
            "held",
            &["checkpoints/sac_9.npz", "checkpoints/0010.pkl", "checkpoints/eval_11.npz", "sac_12.npz"],
            "10 checkpoints/0010.pkl",
            "9 10",
        ),
        (
            "seeds",
            &["checkpoints/1/step_5.pt", "checkpoints/2/step_7.pt"],
            "7 checkpoints/2/step_7.pt",
            "5 7",
        ),
    ];
    for (name, files, latest, steps) in rows {
        run_with(&lab, name, &[], files);
        if name == "keras" {
            // Neither is a pickle in truth.
            lab.write("runs/keras/model.12-0.12.keras", "PK\x03\x04");
            lab.write("runs/keras/model.2.npz", "PK\x03\x04");
        }
        assert_eq!(resume(&lab, name, &["-q"]).code(0).out(), "");
        assert_eq!(lab.read(&format!("runs/{name}/stdout.log")).lines().last(), Some(latest), "{name}");
        if name != "keras" {
            assert_eq!(evaluated(&lab, name, ""), steps, "{name}");
        }
    }
}

#[test]
fn files_of_one_step_are_one_checkpoint_and_what_it_lacks_is_said() {
    let lab = Lab::new();
    let files = ["model010000.pt", "ema_0.9999_010000.pt", "opt010000.pt"];
    run_with(&lab, "a", &[], &files);
    assert_eq!(listed(&lab, "a", &[]), ["model010000.pt 10000 complete"]);
    resume(&lab, "a", &[]).code(0).stdout("10000 model010000.pt\n").stderr("");
    // The optimizer of the next one is missing, then cut, then there.
    for file in ["model020000.pt", "ema_0.9999_020000.pt"] {
        lab.write(&format!("runs/a/{file}"), b"\x80\x04N.");
    }
    let state =
        |why: &str| ["model010000.pt 10000 complete".to_owned(), format!("model020000.pt 20000 {why}")];
    assert_eq!(listed(&lab, "a", &[]), state("incomplete lacks 'opt010000.pt', which 'model010000.pt' has"));
    resume(&lab, "a", &[]).code(0).stdout("10000 model010000.pt\n").stderr_has("skipping 'model020000.pt'");
    lab.write("runs/a/opt020000.pt", b"\x80\x04N");
    assert_eq!(listed(&lab, "a", &[]), state("incomplete 'opt020000.pt' is cut short, or no pickle"));
    lab.write("runs/a/opt020000.pt", b"\x80\x04N.");
    assert_eq!(listed(&lab, "a", &[]), state("complete"));
    // All of it is kept while it is evaluated.
    let script = "ls \"$(dirname \"$1\")\" | tr '\\n' ' ' >&2; echo '{\"x\": 1}'";
    lab.cmd("run-eval")
        .args(["--steps", "20000", "a", "--", "sh", "-c", script, "sh", "{checkpoint}"])
        .run()
        .code(0);
    let seen = lab.read("eval_runs/a_eval/step_20000_eval/stderr.log");
    assert_eq!(seen, "ema_0.9999_020000.pt model020000.pt opt020000.pt ");
    // Averaged weights alone are a checkpoint, an optimizer alone is none.
    run_with(&lab, "b", &[], &["ema_0.9999_010000.pt"]);
    assert_eq!(listed(&lab, "b", &[]), ["ema_0.9999_010000.pt 10000 complete"]);
    run_with(&lab, "c", &[], &["opt010000.pt"]);
    assert_eq!(listed(&lab, "c", &[]), [""; 0]);
}

#[test]
fn a_directory_that_lacks_what_its_siblings_have_is_incomplete() {
    let lab = Lab::new();
    run_with(&lab, "a", &[], &[]);
    let save = |step: u32, files: &[&str]| {
        for file in files {
            lab.write(&format!("runs/a/checkpoint-{step}/{file}"), b"\x80\x04N.");
        }
        lab.write(&format!("runs/a/checkpoint-{step}/trainer_state.json"), "{}");
        lab.write(
            &format!("runs/a/checkpoint-{step}/samples/of_{}.npy", ["a", "b"][step as usize / 500 % 2]),
            "x",
        );
    };
    save(500, &["model.bin", "optimizer.pt", "scheduler.pt", "rng_state.pth"]);
    save(1000, &["pytorch_model.bin", "optimizer.bin", "scheduler.pt", "rng_state_0.pth", "rng_state_1.pth"]);
    save(1500, &["model.bin", "scheduler.pt", "rng_state_0.pth"]);
    assert_eq!(
        listed(&lab, "a", &[]),
        [
            "checkpoint-500 500 complete",
            "checkpoint-1000 1000 complete",
            "checkpoint-1500 1500 incomplete lacks 'optimizer.bin', which 'checkpoint-1000' has",
        ]
    );
    resume(&lab, "a", &[])
        .code(0)
        .stdout("1000 checkpoint-1000\n")
        .stderr_has("skipping 'checkpoint-1500'")
        .stderr_has("lacks 'optimizer.bin', which 'checkpoint-1000' has");
    let refused = "the checkpoint is incomplete: it lacks 'optimizer.bin', which 'checkpoint-1000' has";
    let eval =
        |steps: &str| lab.cmd("run-eval").args(["--steps", steps, "a", "--", "echo", "{\"x\": 1}"]).run();
    eval("1500").code(1).stderr_has(refused);
    // Older ones may have been stripped to save space, but for the first, that alone lacks it.
    save(1500, &["optimizer.pt"]);
    save(2000, &["model.bin", "optimizer.pt", "scheduler.pt", "rng_state.pth"]);
    for step in [500, 1000] {
        for file in ["optimizer.pt", "optimizer.bin"] {
            let _ = std::fs::remove_file(lab.path(format!("runs/a/checkpoint-{step}/{file}")));
        }
    }
    assert!(listed(&lab, "a", &[]).iter().all(|row| row.ends_with(" complete")));
    save(1000, &["optimizer.pt"]);
    let first = "checkpoint-500 500 incomplete lacks 'optimizer.pt', which 'checkpoint-1000' has";
    assert_eq!(listed(&lab, "a", &[])[0], first);
    // Files that are required by name stand in place of those that siblings have.
    let own = ["--checkpoint", "checkpoint-{step}", "--checkpoint-requires", "model.bin"];
    run_with(
        &lab,
        "b",
        &own,
        &["checkpoint-1/model.bin", "checkpoint-1/optimizer.pt", "checkpoint-2/model.bin"],
    );
    assert_eq!(listed(&lab, "b", &[]), ["checkpoint-1 1 complete", "checkpoint-2 2 complete"]);
}

#[test]
fn steps_that_begin_again_with_each_epoch_are_ordered_by_both() {
    let lab = Lab::new();
    run_with(
        &lab,
        "a",
        &[],
        &["epoch1_step100.pt", "epoch2_step50.pt", "epoch2_step100.pt", "epoch10_step7.pt"],
    );
    resume(&lab, "a", &[]).code(0).stdout("7 epoch10_step7.pt\n").stderr("");
    assert_eq!(evaluated(&lab, "a", ""), "100 50 100 7");
    assert!(lab.path("eval_runs/a_eval/step_epoch2_step50_eval").exists());
    resume(&lab, "a", &["--from-step", "100"])
        .code(0)
        .stdout("100 epoch2_step100.pt\n")
        .stderr_has("not from 'epoch1_step100.pt' of step 100; choose with --checkpoint");
    resume(&lab, "a", &["--additional-steps", "5"])
        .code(125)
        .stderr_has("its step counts within epoch 10, and steps restart in each epoch");
    // Where steps go on through the epochs, they alone count; directories may say the epoch.
    run_with(&lab, "b", &[], &["epoch=2-step=50.ckpt", "epoch=3-step=51.ckpt"]);
    resume(&lab, "b", &["--additional-steps", "5"]).code(0).stdout("51 epoch=3-step=51.ckpt\n").stderr("");
    run_with(&lab, "c", &[], &["epoch_1/step_100.pt", "epoch_2/step_50.pt"]);
    resume(&lab, "c", &[]).code(0).stdout("50 epoch_2/step_50.pt\n").stderr("");
}

#[test]
fn ties_are_said() {
    let lab = Lab::new();
    run_with(&lab, "a", &[], &["x_step_5.pt", "y_step_5.pt", "best_step_5.pt", "last.ckpt", "z_step_4.pt"]);
    let run = lab.path("runs/a").display().to_string();
    resume(&lab, "a", &[]).code(0).stdout("5 y_step_5.pt\n").stderr(&format!(
        "run-exec: resuming from 'y_step_5.pt' of '{run}', not from 'best_step_5.pt', 'x_step_5.pt' of the same step 5; \
         choose with --checkpoint\n"
    ));
    let said = "run-eval: 'a' has several checkpoints at step 5: evaluating 'y_step_5.pt', not 'best_step_5.pt', 'x_step_5.pt'; \
                choose with --checkpoint\n";
    assert_eq!(evaluated(&lab, "a", said), "4 5");
    lab.cmd("run-eval").args(["--steps", "4", "a", "--", "echo", "{\"x\": {step}}"]).run().code(0).stderr("");
    // Of equal names in numbered directories the last is that of the greatest number.
    run_with(&lab, "b", &[], &["version_9/epoch=1-step=5.ckpt", "version_10/epoch=1-step=5.ckpt"]);
    resume(&lab, "b", &[])
        .code(0)
        .stdout("5 version_10/epoch=1-step=5.ckpt\n")
        .stderr_has("not from 'version_9/");
    resume(&lab, "a", &["--checkpoint", "x_step_{step}.pt"]).code(0).stdout("5 x_step_5.pt\n").stderr("");
}

#[test]
fn what_looks_like_a_checkpoint_and_is_not_recognised_is_said() {
    let lab = Lab::new();
    run_with(
        &lab,
        "a",
        &[],
        &["net/a7.pt", "net/b7.pt", "net/c7.pt", "net/d7.pt", "data_5.pt", "eval/e7.pt"],
    );
    let said = "4 files look like checkpoints and are not recognised ('net/a7.pt', 'net/b7.pt', 'net/c7.pt', 1 more); \
                name them with --checkpoint";
    lab.cmd("run-status").arg("a").run().code(0).stderr(&format!("run-status: {said}\n"));
    resume(&lab, "a", &[])
        .code(0)
        .stderr_has("it has no checkpoint\n")
        .stderr_has(&format!("run-exec: {said}\n"));
    let eval = |options: &[&str]| {
        lab.cmd("run-eval").args(options).args(["a", "--", "echo", "{\"x\": {step}}"]).run()
    };
    eval(&[]).code(3).stderr_has("there are no checkpoints\n").stderr_has(&format!("run-eval: {said}\n"));
    // Nor is it concealed where one of many is recognised, unless the number is all that sets them apart.
    run_with(&lab, "b", &[], &["model_5.pt", "net/a7.pt", "net/b7.pt"]);
    let two = "2 files look like checkpoints and are not recognised ('net/a7.pt', 'net/b7.pt'); name them with --checkpoint";
    assert_eq!(evaluated(&lab, "b", &format!("run-eval: 'b': {two}\n")), "5");
    resume(&lab, "b", &[]).code(0).stdout("5 model_5.pt\n").stderr(&format!("run-exec: {two}\n"));
    run_with(&lab, "c", &[], &["model0.pt", "model50.pt", "model950.pt", "model1000.pt", "resnet50.pt"]);
    assert_eq!(evaluated(&lab, "c", ""), "0 50 950 1000");
    // Some count epochs, and others steps.
    run_with(&lab, "d", &[], &["epoch_1.pt", "epoch_2.pt", "step_900.pt", "best_epoch_1.pt"]);
    let mixed = "'epoch_1.pt', 'epoch_2.pt' count epochs and 'step_900.pt' steps; taking the greatest number as the latest; \
                 choose with --checkpoint";
    resume(&lab, "d", &[]).code(0).stdout("900 step_900.pt\n").stderr(&format!("run-exec: {mixed}\n"));
    lab.cmd("run-status").arg("d").run().code(0).stderr(&format!("run-status: {mixed}\n"));
    lab.cmd("run-eval")
        .args(["d", "--", "echo", "{\"x\": {step}}"])
        .run()
        .code(0)
        .stderr_has(&format!("run-eval: 'd': {mixed}\n"));
    // Each tool takes a pattern.
    let pattern = ["--checkpoint", "net/?{step}.pt"];
    assert_eq!(listed(&lab, "a", &pattern).len(), 4);
    eval(&pattern).code(0).stderr_has("evaluating 'net/d7.pt', not 'net/a7.pt', 'net/b7.pt', 'net/c7.pt'");
    lab.write("runs/a/net/e8.pt", b"\x80\x04N.");
    resume(&lab, "a", &pattern).code(0).stdout("8 net/e8.pt\n").stderr("");
    // That of run-exec is recorded: later attempts and the other tools keep it.
    resume(&lab, "a", &[]).code(0).stdout("8 net/e8.pt\n").stderr("");
    assert_eq!(
        lab.json_lines("runs/a/.run/attempts.jsonl")
            .iter()
            .filter(|line| line["checkpoint_pattern"] == pattern[1])
            .count(),
        2
    );
    assert_eq!(lab.json("runs/a/.run/result.json")["final_checkpoint"], "net/e8.pt");
    assert_eq!(listed(&lab, "a", &[]).len(), 5);
    let newest = ["--label", "new", "--steps", "latest"];
    eval(&newest).code(0).stderr("");
    assert_eq!(lab.read("eval_runs/a_new/consolidated_metrics.csv"), "step,x\n8,8\n");
    let other = ["--checkpoint", "net/b{step}.pt"];
    resume(&lab, "a", &other).code(0).stdout("7 net/b7.pt\n").stderr("");
    assert_eq!(listed(&lab, "a", &[]), ["net/b7.pt 7 complete"]);
}

#[test]
fn a_pattern_is_accepted_by_all_tools_or_by_none() {
    let lab = Lab::new();
    run_with(&lab, "a", &[], &[]);
    for (pattern, why) in [
        ("/abs/{step}", "it matches nothing below the run"),
        ("../x_{step}", "it matches nothing below the run"),
        ("", "it matches nothing below the run"),
        (".cache/{step}.pt", "it names a hidden file or directory, which is never searched for checkpoints"),
        (&"*a".repeat(65), "it has too many wildcards"),
    ] {
        let option = format!("--checkpoint={pattern}");
        lab.cmd("run-new").args([&option, "--", "true"]).run().code(2).stderr_has(why);
        lab.cmd("run-exec").args(["--resume", &option, "a"]).run().code(125).stderr_has(why);
        lab.cmd("run-status").args([&option, "a"]).run().code(2).stderr_has(why);
        if pattern.contains("{step}") || pattern.contains('*') {
            lab.cmd("run-eval").args([&option, "a", "--", "true"]).run().code(2).stderr_has(why);
        }
    }
    lab.cmd("run-status")
        .args(["--checkpoint", "*.x"])
        .run()
        .code(2)
        .stderr_has("for the details of one run");
    // A path is one checkpoint, of one run, and stays as it is.
    for (wrong, why) in [
        (&["--follow", "--checkpoint", "x", "a"][..], "takes a pattern, not a path"),
        (&["--checkpoint", "x", "a", "a"], "a path in --checkpoint needs a single run"),
    ] {
        lab.cmd("run-eval").args(wrong).args(["--", "true"]).run().code(2).stderr_has(why);
    }
}
