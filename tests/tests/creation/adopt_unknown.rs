//! `run-new --adopt` of directories in no known layout.

use serde_json::json;
use std::fs;
use testkit::Lab;
use testkit::foreign::{age, short_rows, stealthrl};

#[test]
fn a_table_and_checkpoints_become_a_stopped_run() {
    let lab = Lab::new();
    lab.write("out/mine/metrics.csv", "step,loss\n1,0.5\n20,0.25\n");
    lab.write("out/mine/config.yaml", "seed: 7\nlr: 0.1\n");
    lab.write("out/mine/notes.log", "made by hand\n");
    lab.write("out/mine/checkpoints/model_20.pt", "PK");
    age(&lab, "out/mine", 3600);
    let words = ["--adopt", "out/mine", "--", "sh", "-c", "echo 'step 30: loss 0.125'"];
    assert_eq!(lab.cmd("run-new").args(words).run().code(0).out(), "out/mine\n");
    let log = lab.cmd("run-status").args(["--log", "out/mine"]).run().code(3);
    assert_eq!(log.err(), "run-status: cannot print the log of 'out/mine': it was adopted without a log\n");
    let status = lab.status("out/mine");
    assert_eq!(status["status"], "stopped");
    assert_eq!(status["reason"], "it was adopted, and nothing says how it ended");
    assert_eq!(status["step"], 20);
    assert_eq!(status["metrics"]["loss"]["last"], 0.25);
    let meta: serde_json::Value =
        serde_json::from_slice(&fs::read(lab.path("out/mine/.run/meta.json")).unwrap()).unwrap();
    assert_eq!(
        (&meta["system"], &meta["seed"], &meta["config_file"]),
        (&"unknown".into(), &7.into(), &"config.yaml".into())
    );
    lab.cmd("run-new").args(["--adopt", "out/mine"]).run().code(1).stderr_has("already has a record");
}

#[test]
fn a_log_with_metrics_becomes_a_stopped_run_and_goes_on() {
    let lab = Lab::new();
    lab.write("out/mine/train.log", "loading\nstep 1: loss 0.5\nstep 2: loss 0.25\n");
    age(&lab, "out/mine", 3600);
    let words = ["--adopt", "out/mine", "--", "sh", "-c", "echo 'step 3: loss 0.125'"];
    lab.cmd("run-new").args(words).run().code(0);
    assert_eq!(lab.status("out/mine")["status"], "stopped");
    assert_eq!(lab.status("out/mine")["step"], 2);
    lab.cmd("run-exec").args(["-q", "--resume", "out/mine"]).run().code(0);
    assert_eq!(lab.status("out/mine")["step"], 3);
    assert_eq!(fs::read_to_string(lab.path("out/mine/train.log")).unwrap().lines().count(), 3);
    let log = lab.cmd("run-status").args(["--log", "out/mine"]).run().code(0).out();
    assert_eq!(log, "loading\nstep 1: loss 0.5\nstep 2: loss 0.25\nstep 3: loss 0.125\n");
}

#[test]
fn checkpoints_alone_become_a_stopped_run() {
    let lab = Lab::new();
    for step in [10, 20] {
        lab.write(&format!("out/mine/step_{step}/model.safetensors"), "x");
    }
    age(&lab, "out/mine", 3600);
    lab.cmd("run-new").args(["--adopt", "out/mine"]).run().code(0);
    assert_eq!(lab.status("out/mine")["status"], "stopped");
}

#[test]
fn options_name_what_is_not_recognised() {
    let lab = Lab::new();
    lab.write("out/mine/history.csv", "it,my_loss\n10,0.5\n20,0.25\n");
    lab.write("out/mine/snap-20.bin", "x");
    lab.write("out/snaps/snap-20.bin", "x");
    lab.write("out/csv/history.csv", "it,my_loss\n10,0.5\n");
    age(&lab, "out", 3600);
    for words in [&["out/mine"][..], &["--metrics=none.csv", "out/mine"], &["--checkpoint=*.pt", "out/snaps"]]
    {
        lab.cmd("run-new")
            .arg("--adopt")
            .args(words)
            .run()
            .code(3)
            .stderr_has("neither metrics nor checkpoints");
    }
    let command = ["--", "sh", "-c", "echo 30,0.125 >> {run}/history.csv"];
    let words = ["--adopt", "--metrics=history.csv", "--step-key=it", "--checkpoint=snap-*.bin", "out/mine"];
    lab.cmd("run-new").args(words).args(command).run().code(0);
    lab.cmd("run-status").arg("out/snaps").run().code(3).stderr_has("run-new --adopt makes it one");
    lab.cmd("run-new").args(["--adopt", "--checkpoint=snap-*.bin", "out/snaps"]).run().code(0);
    lab.cmd("run-new").args(["--adopt", "--metrics=history.csv", "out/csv"]).run().code(0);
    let status = lab.status("out/mine");
    assert_eq!((&status["step"], &status["metrics"]["my_loss"]["last"]), (&json!(20), &json!(0.25)));
    let rows = |from: &str| lab.cmd("run-report").args(["--metrics", from]).run().code(0).out();
    assert_eq!(rows("out/mine"), "run,step,my_loss\nmine,10,0.5\nmine,20,0.25\n");
    // Another attempt inherits them.
    lab.cmd("run-exec").args(["-q", "--resume", "out/mine"]).run().code(0);
    assert_eq!(
        (&lab.status("out/mine")["step"], &lab.status("out/mine")["step_key"]),
        (&json!(30), &json!("it"))
    );
    assert_eq!(rows("out/mine"), "run,step,my_loss\nmine,10,0.5\nmine,20,0.25\nmine,30,0.125\n");
}

#[test]
fn options_outrank_what_a_layout_says() {
    let lab = Lab::new();
    stealthrl(&lab, "out/s", &json!({}), &short_rows(3));
    lab.write("out/s/other.csv", "step,other\n5,1\n7,2\n");
    lab.cmd("run-new").args(["--adopt", "--metrics=other.csv", "out/s"]).run().code(0);
    let status = lab.status("out/s");
    assert_eq!((&status["step"], &status["metrics"]["other"]["last"]), (&json!(7), &json!(2)));
    assert_eq!(status["metrics"].as_object().unwrap().len(), 1);
    let rows = lab.cmd("run-report").args(["--metrics", "out/s"]).run().code(0).out();
    assert_eq!(rows, "run,step,other\ns,5,1\ns,7,2\n");
}

#[test]
fn what_is_written_to_is_not_adopted() {
    let lab = Lab::new();
    lab.write("mine/metrics.jsonl", short_rows(2));
    let refused = lab.cmd("run-new").args(["--adopt", "mine"]).run().code(4).err();
    assert_eq!(
        refused,
        "run-new: cannot adopt 'mine': its files have just changed\nrun-new: adopt it after it has ended\n"
    );
}

#[test]
fn a_directory_without_files_of_a_run_is_refused() {
    let lab = Lab::new();
    fs::create_dir(lab.path("empty")).unwrap();
    for (name, text) in [
        ("data/train.csv", "step,label\n1,2\n"),
        ("data/train.txt", "step 1 loss 0.5\n"),
        ("data/train.jsonl", "{\"step\": 1, \"text\": \"a\"}\n"),
        ("data/images/0001.png", "x"),
        ("data/shard_10.pt", "PK"),
        ("tree/setup.py", "setup()\n"),
        ("tree/logs/train.jsonl", &short_rows(2)),
    ] {
        lab.write(name, text);
    }
    for name in ["empty", "data"] {
        let refused = lab.cmd("run-new").args(["--adopt", name]).run().code(3).err();
        assert_eq!(
            refused,
            format!(
                "run-new: cannot adopt '{name}': it has no known layout, and neither metrics nor checkpoints of a run\n\
                 run-new: make a run with run-new -n NAME -- COMMAND and copy the files into it; \
                 run-tools(7) lists the layouts that --adopt knows\n"
            )
        );
    }
    lab.cmd("run-new")
        .args(["--adopt", "tree"])
        .run()
        .code(3)
        .stderr_has("a source tree, with 'setup.py' in it");
    stealthrl(&lab, "runs/s", &serde_json::json!({}), &short_rows(2));
    let refused = lab.cmd("run-new").args(["--adopt", "runs"]).run().code(3).err();
    assert_eq!(
        refused,
        "run-new: cannot adopt 'runs': it is no run, and holds runs\n\
         run-new: run-status -a -d 'runs' lists them; adopt each by its own path\n"
    );
    let missing = lab.cmd("run-new").args(["--adopt", "nowhere"]).run().code(3).err();
    assert_eq!(missing, "run-new: no run 'nowhere': no such directory\n");
    for name in ["empty", "data", "tree", "runs"] {
        assert!(!lab.path(name).join(".run").exists(), "{name}");
    }
}

#[test]
fn what_lies_in_the_place_of_the_record_is_named() {
    let lab = Lab::new();
    for put in ["fifo", "link", "empty"] {
        lab.write(&format!("{put}/metrics.jsonl"), short_rows(2));
    }
    lab.cmd("mkfifo").arg("fifo/.run").run().code(0);
    std::os::unix::fs::symlink("nowhere", lab.path("link/.run")).unwrap();
    fs::create_dir(lab.path("empty/.run")).unwrap();
    for put in ["fifo", "link", "empty"] {
        age(&lab, put, 3600);
        let refused = lab.cmd("run-new").args(["--adopt", put]).run().code(3).err();
        assert_eq!(
            refused,
            format!(
                "run-new: cannot adopt '{put}': '{put}/.run' is there, without a meta.json\n\
                 run-new: remove it first, if nothing needs it\n"
            )
        );
    }
}

#[test]
fn a_part_of_a_run_is_not_adopted() {
    let lab = Lab::new();
    lab.new_run("ours", &["true"]);
    lab.write("runs/ours/checkpoints/model_10.pt", "PK");
    stealthrl(&lab, "runs/s", &json!({}), &short_rows(2));
    lab.write("runs/s/wandb/run-20260129_120000-a/run-a.wandb", "");
    lab.write("runs/hf/checkpoint-20/trainer_state.json", r#"{"global_step": 20}"#);
    age(&lab, "runs", 3600);
    for (part, run) in [
        ("runs/ours/checkpoints", "runs/ours"),
        ("runs/s/wandb/run-20260129_120000-a", "runs/s"),
        ("runs/hf/checkpoint-20", "runs/hf"),
    ] {
        let run = lab.path(run).canonicalize().unwrap();
        let refused = lab.cmd("run-new").args(["--adopt", part]).run().code(3).err();
        let run = run.display();
        let hint =
            if part.contains("ours") { String::new() } else { format!("run-new: adopt '{run}' instead\n") };
        assert_eq!(refused, format!("run-new: cannot adopt '{part}': it is part of the run '{run}'\n{hint}"));
    }
}
