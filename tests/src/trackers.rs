//! Experiment trackers, which tests/setup installs, and what is read of the runs that they write.

use crate::{Cmd, Lab, checkout};
use serde_json::Value;
use std::collections::BTreeMap;

/// The values of a metric: steps, and what was logged at each.
pub type Series = Vec<(f64, f64)>;

/// Prepares to execute one of the programs in `tests/fixtures/trackers` by the interpreter that has the trackers.
pub fn tracker(lab: &Lab, program: &str) -> Cmd {
    let python = checkout().join("target/trackers/bin/python3");
    assert!(python.exists(), "the trackers are not installed: tests/setup installs them");
    lab.cmd(python).arg(checkout().join("tests/fixtures/trackers").join(program))
}

/// Returns what run-status says of all runs below a directory, by their paths below it. Nothing is wrong with any;
/// there may be directories that are no runs.
pub fn listed(lab: &Lab, directory: &str) -> BTreeMap<String, Value> {
    let done = lab.cmd("run-status").args(["-a", "--json", "--runs-dir", directory]).run().code(0);
    let is_other = |line: &str| line.contains("is not recognised as a run") || line.contains(": no runs: ");
    assert!(done.err().lines().all(is_other), "{}", done.err());
    let root = lab.path(directory);
    let below = |status: &Value| {
        let path = std::path::Path::new(status["path"].as_str().unwrap());
        path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned()
    };
    done.json_lines().into_iter().map(|status| (below(&status), status)).collect()
}

/// Returns all that a run has logged, by metric, as run-report consolidates it.
pub fn series(lab: &Lab, run: &str) -> BTreeMap<String, Series> {
    let csv = lab.cmd("run-report").args(["--metrics", run]).run().code(0).stderr("").out();
    let mut lines = csv.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let head = lines.next().unwrap_or_default();
    let mut series: BTreeMap<String, Series> = BTreeMap::new();
    for cells in lines {
        let step = cells[1].parse().unwrap();
        for (name, cell) in head.iter().zip(&cells).skip(2).filter(|(_, cell)| !cell.is_empty()) {
            if let Ok(number) = cell.parse() {
                series.entry((*name).to_owned()).or_default().push((step, number));
            }
        }
    }
    series
}

/// Asserts that two sets of series are the same, also where a value is not finite.
pub fn assert_same(found: &BTreeMap<String, Series>, expected: &BTreeMap<String, Series>) {
    assert_eq!(format!("{found:?}"), format!("{expected:?}"));
}

/// The files of a run of each layout of trackers and trainers, the smallest that tell all, and whether each is a small
/// document.
pub const ECOSYSTEM: [(&str, &str, bool); 37] = [
    (
        "mlruns/1/0a/meta.yaml",
        "end_time: 1769688010000\nrun_id: 0a\nrun_name: f\nstart_time: 1769688000000\nstatus: 3\nuser_id: u\n",
        true,
    ),
    ("mlruns/1/0a/metrics/loss", "1769688000000 0.5 1\n1769688001000 nan 2\n", false),
    ("mlruns/1/0a/params/lr", "0.1", true),
    ("mlruns/1/0a/tags/mlflow.runName", "f", true),
    ("wandb/run-20260129_120000-a/files/output.log", "printed\n", false),
    (
        "sacred/1/run.json",
        r#"{"status": "COMPLETED", "start_time": "2026-01-29T12:00:00.5", "stop_time": "2026-01-29T12:00:02", "heartbeat": null, "host": {"hostname": "h"}, "experiment": {"name": "e", "repositories": []}}"#,
        true,
    ),
    ("sacred/1/config.json", r#"{"lr": 0.1, "seed": 7}"#, true),
    (
        "sacred/1/metrics.json",
        r#"{"loss": {"steps": [1], "timestamps": ["2026-01-29T12:00:01"], "values": [0.5]}}"#,
        true,
    ),
    ("sacred/1/cout.txt", "printed\n", false),
    (".guild/runs/0b/.guild/attrs/started", "1769688000000000\n", true),
    (".guild/runs/0b/.guild/attrs/exit_status", "0\n", true),
    (".guild/runs/0b/.guild/attrs/flags", "lr: 0.1\n", true),
    (".guild/runs/0b/.guild/LOCK", "0", true),
    (".guild/runs/0b/.guild/output", "printed\n", false),
    (".guild/runs/0b/.guild/output.index", "123456781", true),
    ("jobs/12_submitted.pkl", "x", true),
    ("jobs/12_0_log.out", "iter 5: loss 2.5, time 1.00ms, mfu 1.00%\n", false),
    ("jobs/12_0_result.pkl", "\u{4}\u{95}\u{7}success", true),
    ("outputs/2026-01-29/12-00-00/.hydra/config.yaml", "lr: 0.1\n", true),
    ("outputs/2026-01-29/12-00-00/.hydra/overrides.yaml", "- lr=0.1\n", true),
    ("outputs/2026-01-29/12-00-00/job.log", "printed\n", false),
    ("ray/e/t/params.json", r#"{"lr": 0.1}"#, true),
    (
        "ray/e/t/result.json",
        "{\"loss\": 1, \"training_iteration\": 1, \"done\": true, \"timestamp\": 1769688000}\n",
        false,
    ),
    ("ray/e/failed/params.json", "{}", true),
    (
        "ray/e/experiment_state-2026-01-29_12-00-00.json",
        r#"{"trial_data": [["{\"status\": \"ERROR\", \"relative_logdir\": \"failed\"}", "{}"]]}"#,
        true,
    ),
    ("ray/e/failed/error.txt", "Traceback (most recent call last):\nValueError: x\n", true),
    ("runs/detect/train/args.yaml", "epochs: 2\n", true),
    ("runs/detect/train/results.csv", "epoch,loss\n1,1\n2,0.5\n", false),
    (
        "hf/checkpoint-20/trainer_state.json",
        r#"{"global_step": 20, "max_steps": 20, "log_history": [{"step": 20, "loss": NaN}]}"#,
        true,
    ),
    ("lightning_logs/version_0/hparams.yaml", "lr: 0.1\n", true),
    ("lightning_logs/version_0/metrics.csv", "epoch,step,loss\n0,1,0.5\n", false),
    ("out/ckpt.pt", "PK", true),
    ("ppo/progress.csv", "time/total_timesteps,train/loss\n64,2.5\n", false),
    ("ppo/0.monitor.csv", "#{\"t_start\": 1769688000.5}\nr,l,t\n", false),
    ("fit/training.log", "epoch,loss\n0,0.5\n", false),
    ("tb/a/events.out.tfevents.1769688000.h.1.0", "", true),
    ("diffusion/checkpoint-5/random_states_0.pkl", "x", true),
];

/// The runs that these files make, and the run of W&B, whose datastore W&B itself wrote.
pub const RUNS: [&str; 16] = [
    ".guild/runs/0b",
    "diffusion",
    "fit",
    "hf",
    "jobs",
    "lightning_logs/version_0",
    "mlruns/1/0a",
    "out",
    "outputs/2026-01-29/12-00-00",
    "ppo",
    "ray/e/failed",
    "ray/e/t",
    "runs/detect/train",
    "sacred/1",
    "tb/a",
    DATASTORE.0,
];

/// The run of W&B and its datastore.
pub const DATASTORE: (&str, &str) =
    ("wandb/run-20260129_120000-a", "wandb/run-20260129_120000-a/run-a.wandb");

/// Makes a run of each layout of trackers and trainers below a directory.
pub fn ecosystem(lab: &Lab, directory: &str) {
    for (name, content, _) in ECOSYSTEM {
        lab.write(&format!("{directory}/{name}"), content);
    }
    let datastore = std::fs::read(checkout().join("tests/fixtures/trackers/offline.wandb")).unwrap();
    lab.write(&format!("{directory}/{}", DATASTORE.1), datastore);
}
