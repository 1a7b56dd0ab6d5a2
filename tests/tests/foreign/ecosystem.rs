//! Directories that trainers leave by themselves, without run-exec: told by their names, whatever lies beside.

use serde_json::{Value, json};
use testkit::trackers::{listed, series};
use testkit::{Lab, checkout};

/// Trains below a directory by one of the real trainers, for a number of steps.
fn train(lab: &Lab, words: &[&str], directory: &str, steps: u32) {
    let python = checkout().join("target/trainers/bin/python3");
    assert!(python.exists(), "the trainers are not installed: tests/setup installs them");
    std::fs::create_dir_all(lab.path(directory)).unwrap();
    let program = checkout().join("tests/fixtures/trainers").join(words[0]);
    let command = lab.cmd(python).arg(program).args(&words[1..]);
    let command = command.env("RUN_DIR", lab.path(directory)).env("RUN_TOTAL_STEPS", steps.to_string());
    command.env("OMP_NUM_THREADS", "1").env("MPLCONFIGDIR", lab.path("cache")).run().code(0);
}

/// Returns the path and the status of the only run.
fn only(lab: &Lab) -> (String, Value) {
    let runs = listed(lab, "proj");
    assert_eq!(runs.len(), 1, "{runs:#?}");
    runs.into_iter().next().unwrap()
}

#[test]
fn lightning_without_run_exec() {
    let lab = Lab::new();
    train(&lab, &["lightning_fit.py", "csv"], "proj", 20);
    let (path, run) = only(&lab);
    assert_eq!(
        (path.as_str(), &run["status"], &run["step"]),
        ("lightning_logs/version_0", &json!("running"), &json!(19))
    );
    assert_eq!(series(&lab, "proj/lightning_logs/version_0")["train_loss"].len(), 20);
    let details = lab.cmd("run-status").arg("proj/lightning_logs/version_0").run().code(0).out();
    assert!(details.contains("epoch=2-step=20.ckpt"), "{details}");
}

#[test]
fn transformers_without_run_exec() {
    let lab = Lab::new();
    train(&lab, &["transformers_trainer.py", "--output_dir=proj/out", "--max_steps=40"], "proj", 40);
    let (path, run) = only(&lab);
    let found = [&run["status"], &run["step"], &run["total_steps"], &run["metrics"]["loss"]["count"]];
    assert_eq!((path.as_str(), found), ("out", [&json!("completed"), &json!(40), &json!(40), &json!(8)]));
}

#[test]
fn stable_baselines_without_run_exec() {
    let lab = Lab::new();
    train(&lab, &["sb3_ppo.py"], "proj/ppo", 300);
    let (path, run) = only(&lab);
    assert_eq!((path.as_str(), &run["step"]), ("ppo", &json!(300)));
    assert!(run["duration_s"].as_f64().is_some(), "{run}");
}

#[test]
fn keras_without_run_exec() {
    let lab = Lab::new();
    train(&lab, &["keras_fit.py"], "proj/fit", 3);
    let (path, run) = only(&lab);
    assert_eq!(
        (path.as_str(), &run["step"], &run["metrics"]["loss"]["count"]),
        ("fit", &json!(2), &json!(3))
    );
}

/// Files with what is in them.
type Files<'a> = &'a [(&'a str, &'a str)];

/// The least files of each layout, the directory of the run, its status and its step.
const LAYOUTS: [(Files, &str, &str, Option<f64>); 11] = [
    (
        &[
            ("runs/detect/train/args.yaml", "task: detect\nmode: train\nepochs: 2\nseed: 0\n"),
            ("runs/detect/train/results.csv", "epoch,time,train/box_loss\n1,3.5,1.5\n2,7,1.25\n"),
            ("runs/detect/train/weights/best.pt", "PK"),
            ("datasets/coco8/images/train/1.jpg", "x"),
        ],
        "runs/detect/train",
        "completed",
        Some(2.0),
    ),
    (
        &[
            ("ray_results/exp/train_a_0/params.json", r#"{"lr": 0.1}"#),
            (
                "ray_results/exp/train_a_0/result.json",
                "{\"loss\": 2, \"training_iteration\": 1, \"done\": false, \"timestamp\": 1769688000, \"time_total_s\": 1.5, \"hostname\": \"h\", \"config\": {\"lr\": 0.1}}\n{\"loss\": 1, \"training_iteration\": 2, \"done\": true, \"timestamp\": 1769688010, \"time_total_s\": 11.5, \"hostname\": \"h\", \"config\": {\"lr\": 0.1}}\n",
            ),
            ("ray_results/exp/train_a_0/checkpoint_000001/data.pkl", "x"),
        ],
        "ray_results/exp/train_a_0",
        "completed",
        Some(2.0),
    ),
    (
        &[
            ("ray_results/exp/train_b_0/params.json", "{}"),
            ("ray_results/exp/train_b_0/error.txt", "Traceback (most recent call last):\nValueError: bad\n"),
        ],
        "ray_results/exp/train_b_0",
        "failed",
        None,
    ),
    (
        &[
            (".guild/runs/0a/.guild/attrs/started", "1769688000000000"),
            (".guild/runs/0a/.guild/attrs/stopped", "1769688010000000"),
            (".guild/runs/0a/.guild/attrs/exit_status", "0"),
            (".guild/runs/0a/.guild/attrs/flags", "lr: 0.1\nsteps: 3\n"),
            (".guild/runs/0a/.guild/attrs/cmd", "- python\n- -um\n- train\n"),
            (".guild/runs/0a/.guild/output", "loss: 1\n"),
            (".guild/trash/runs/0b/.guild/attrs/started", "1769688000000000"),
        ],
        ".guild/runs/0a",
        "completed",
        None,
    ),
    (
        &[
            (".guild/runs/0c/.guild/attrs/started", "1769688000000000"),
            (".guild/runs/0c/.guild/LOCK", "999999999"),
        ],
        ".guild/runs/0c",
        "dead",
        None,
    ),
    (&[("out/ckpt.pt", "PK")], "out", "running", None),
    (&[("logs/fit/a/train/events.out.tfevents.1769688000.h.1.0", "")], "logs/fit/a", "running", None),
    (&[("tb/Jan01/events.out.tfevents.1769688000.h.1.0", "")], "tb/Jan01", "running", None),
    (
        &[
            ("12_submitted.pkl", "x"),
            ("12_0_log.out", "iter 5: loss 2.5, time 1.00ms, mfu 1.00%\n"),
            ("12_submission.sh", ""),
        ],
        "",
        "running",
        Some(5.0),
    ),
    (&[("jobs/12_submitted.pkl", "x")], "jobs", "queued", None),
    (
        &[("diffusion/checkpoint-500/random_states_0.pkl", "x"), ("diffusion/logs/a/x.txt", "")],
        "diffusion",
        "running",
        None,
    ),
];

#[test]
fn layouts_are_told_by_their_names() {
    for (files, path, status, step) in LAYOUTS {
        let lab = Lab::new();
        for (name, content) in files {
            lab.write(&format!("proj/{name}"), content);
        }
        let runs = if path.is_empty() { listed(&lab, ".") } else { listed(&lab, "proj") };
        let path = if path.is_empty() { "proj" } else { path };
        let found: Vec<_> =
            runs.iter().map(|(path, run)| (path.as_str(), &run["status"], run["step"].as_f64())).collect();
        assert_eq!(found, [(path, &json!(status), step)], "{runs:#?}");
    }
}

#[test]
fn what_says_nothing_of_its_end_is_in_doubt_when_it_is_old_and_never_dead() {
    let lab = Lab::new();
    for file in
        ["tb/events.out.tfevents.1769688000.h.1.0", "a/lightning_logs/version_0/hparams.yaml", "out/ckpt.pt"]
    {
        lab.write(&format!("proj/{file}"), "x: 1\n");
    }
    lab.cmd("find").args(["proj", "-exec", "touch", "-d", "2026-01-29T13:00:00Z", "{}", "+"]).run().code(0);
    for (path, run) in listed(&lab, "proj") {
        assert_eq!(run["status"], "stale", "{path}");
        assert!(run["reason"].as_str().unwrap().contains("nothing says that it has ended"), "{run}");
    }
}

#[test]
fn data_sets_models_and_parts_of_runs_are_no_runs() {
    let lab = Lab::new();
    for file in [
        "data/imdb/dataset_info.json",
        "data/imdb/train/data-00000-of-00001.arrow",
        "data/coco/train/images/1.jpg",
        "data/coco/data.yaml",
        "data/tables/log.csv",
        "models/gpt2/config.json",
        "models/gpt2/model.safetensors",
        "mlruns/0/meta.yaml",
        "mlruns/0/models/m-1/meta.yaml",
        "mlruns/0/models/m-1/metrics/loss",
        "mlruns/0/models/m-1/params/lr",
        "mlruns/0/models/m-1/tags/a",
        "src/train/__init__.py",
        "checkpoints/checkpoint-500/model.safetensors",
        "version_1/readme.txt",
        "docs/params.json",
    ] {
        lab.write(&format!("proj/{file}"), "a,b\n1,2\n");
    }
    let runs = listed(&lab, "proj");
    assert!(runs.is_empty(), "{runs:#?}");
}

#[test]
fn common_names_with_other_contents_are_no_runs() {
    let lab = Lab::new();
    for (file, content) in [
        ("app/status.json", "{\"status\": \"ok\", \"start_time\": \"2026-01-29T12:00:00\"}"),
        ("app/config.yaml", "port: 80\n"),
        ("service/status.json", "{\"status\": \"running\", \"uptime\": 12}"),
        ("service/pid", "1"),
        ("data/status.json", "{\"status\": \"complete\"}"),
        ("data/meta.json", "{\"license\": \"MIT\"}"),
        ("kaggle/progress.csv", "id,progress\n1,0.5\n"),
        ("words/progress.csv", "who,task/name\nme,reading\n"),
        ("machine/monitor.csv", "time,cpu\n1,0.5\n"),
        ("machine/disk.monitor.csv", "time,disk\n1,0.5\n"),
        ("games/log.csv", "epoch,winner,moves\n1,me,7\n"),
        ("cards/history.csv", "epoch,loss_of\n1,ace\n"),
        ("years/training.csv", "epoch\n1\n"),
        ("notes/training.log", "epoch, the first\n"),
    ] {
        lab.write(&format!("proj/{file}"), content);
    }
    let runs = listed(&lab, "proj");
    assert!(runs.is_empty(), "{runs:#?}");
    // What is damaged, or has only begun, is what its name says; and so are tables of Baselines and of Keras.
    let status = "{\"status\": \"running\", \"start_time\": \"2026-01-29T12:00:00+00:00\"}";
    for (file, content) in [
        ("begins/status.json", status),
        ("begins/config.yaml", "lr: 1\n"),
        ("beats/status.json", "{\"last_heartbeat\": \"2026-01-29T12:00:00+00:00\"}"),
        ("beats/pid", "0"),
        ("torn/status.json", "{\"stat"),
        ("torn/meta.json", "{\"license\": \"MIT\"}"),
        ("ppo/progress.csv", ""),
        ("a2c/progress.csv", "fps,nupdates\n100,1\n"),
        ("dqn/0.monitor.csv", "# {\"t_start\": 1769688000.5} \nr,l,t\n"),
        ("fit/log.csv", "epoch;accuracy;val_f1\n0;0.5;0.5\n"),
        ("tabs/history.csv", "epoch\tbox_loss\n"),
    ] {
        lab.write(&format!("real/{file}"), content);
    }
    lab.write("real/shut/progress.csv", "id,progress\n");
    lab.set_mode("real/shut/progress.csv", 0);
    let listed = lab.cmd_by_somebody("run-status").args(["-d", "real", "-a", "--json"]).run();
    let mut names: Vec<String> = listed.json_lines().iter().map(|run| run["run_name"].to_string()).collect();
    names.sort();
    let expected = ["a2c", "beats", "begins", "dqn", "fit", "ppo", "shut", "tabs", "torn"];
    assert_eq!(names, expected.map(|name| format!("\"{name}\"")));
}
