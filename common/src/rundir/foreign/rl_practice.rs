//! The RL practice repository: `training_runs/run_<time>/` with `config.yaml`, `training_state/step_N/`,
//! `logs/*.jsonl` and `tensorboard/`. Older runs are in `rl_runs/run_<time>/`, with `train_log.jsonl` and
//! checkpoints at the top. Evaluations are beside them, see [`rl_evaluations`]. No file records the
//! state of a run (`rl_training/runners/rl_runner.py`, `eval_batch.py`).

use super::rl_evaluations::{self, is_step};
use super::traces::{names, written};
use super::{
    Account, Claim, ForeignEvaluations, ForeignLayout, Listing, MetricFile, MetricFiles, MetricFormat,
};
use crate::fsio::read_small;
use crate::provenance::config;
use crate::rundir::status::Outcome;
use crate::time::Timestamp;
use serde_json::Value;
use std::fs;
use std::path::Path;

/// The layout.
#[derive(Debug)]
pub(super) struct RlPractice;

const CONFIG: &str = "config.yaml";

/// The file of the final checkpoint that is written last.
const FINAL: &str = "training_state/step_final/training_info.json";

/// The directory of the final checkpoint of older runs, whose last file is unknown.
const OLD_FINAL: &str = "ckpt_final";

/// Files that grow while a run is running.
const GROWING: [&str; 2] = ["logs/train_log.jsonl", "train_log.jsonl"];

/// Maximum time in seconds between the final checkpoint of a run and its last rows.
const SLACK: f64 = 60.0;

impl ForeignLayout for RlPractice {
    fn name(&self) -> &'static str {
        "RL practice"
    }

    fn is_run(&self, listing: &Listing) -> bool {
        let has_log = || listing.has_dir("logs") && listing.path().join(GROWING[0]).is_file();
        let is_old = || {
            listing.has_file("train_log.jsonl")
                || listing.any_dir(|name| name.starts_with("ckpt_step-") || is_step(name))
                    && listing.any_file(|name| name.contains(".tfevents."))
        };
        listing.has_dir("training_state") || listing.has_file(CONFIG) && (has_log() || is_old())
    }

    fn account(&self, run: &Path) -> Account {
        let mut account = Account::default();
        let name = run.file_name().unwrap_or_default().to_string_lossy();
        let config = run.join(CONFIG);
        account.start_time = Timestamp::of_name(&name, "run_%Y-%m-%d_%H-%M-%S").or_else(|| written(&config));
        let read = read_small(&config).map(|bytes| config::parse(&config, &bytes)).ok();
        let has_config = read.is_some();
        let values = read.unwrap_or(Ok(Value::Null)).unwrap_or_else(|why| {
            account.damage.push(format!("cannot read '{}': {why}", config.display()));
            Value::Null
        });
        let meta = &mut account.meta;
        meta.config_file = has_config.then(|| CONFIG.to_owned());
        meta.total_steps = config::get(&values, "total_steps").and_then(Value::as_u64);
        meta.seed = config::get(&values, "seed").and_then(Value::as_i64);
        let old = run.join(OLD_FINAL);
        // The time of a directory would be that of copying it.
        let old_end = names(&old).into_iter().filter_map(|name| written(&old.join(name))).max();
        let grown = GROWING.iter().filter_map(|name| written(&run.join(name))).max();
        if let Some(end) = written(&run.join(FINAL)).max(old_end)
            && grown.is_none_or(|grown| grown.seconds_since(end) <= SLACK)
        {
            account.claim = Claim::Ended(Outcome::Completed);
            account.end_time = Some(end);
        }
        account
    }

    fn metrics(&self, run: &Path) -> MetricFiles {
        let mut logs = names(&run.join("logs"));
        logs.retain(|name| name.strip_suffix(".jsonl").is_some());
        let log = run.join(GROWING[0]);
        let is_only = logs == ["train_log.jsonl"] && fs::metadata(&log).is_ok_and(|log| log.len() > 0);
        if is_only {
            return MetricFiles::Files(MetricFormat::Lines, vec![MetricFile::new(log)]); // no other metrics
        }
        MetricFiles::Usual
    }

    fn evaluations(&self, run: &Path) -> Vec<ForeignEvaluations> {
        rl_evaluations::of_run(run)
    }
}
