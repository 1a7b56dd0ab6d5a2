//! The RL practice repository: `training_runs/run_<time>/` with `config.yaml`, `training_state/step_N/`,
//! `logs/*.jsonl` and `tensorboard/`. Older runs are in `rl_runs/run_<time>/`, with `train_log.jsonl` and
//! checkpoints at the top. Evaluations are beside them, in `eval_runs/<run>_<dataset>/`. No file records the
//! state of a run (`rl_training/runners/rl_runner.py`, `eval_batch.py`).

use super::traces::{names, written};
use super::{
    Account, Claim, ForeignEvaluations, ForeignLayout, Listing, MetricFile, MetricFiles, MetricFormat,
};
use crate::fsio::read_small;
use crate::provenance::config;
use crate::rundir::status::Outcome;
use crate::time::Timestamp;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

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

/// Maximum depth of tables below the evaluations of a run, and maximum number of entries to examine.
const DEPTH: usize = 4;
const ENTRIES: usize = 100_000;

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
        let absolute = std::path::absolute(run).unwrap_or_else(|_| run.to_owned());
        let Some((name, top)) = absolute.file_name().zip(absolute.parent().and_then(Path::parent)) else {
            return Vec::new();
        };
        let (top, Some(name)) = (top.join("eval_runs"), name.to_str()) else { return Vec::new() };
        let mut found: Vec<ForeignEvaluations> = fs::read_dir(&top)
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| {
                let label = entry.file_name().to_str()?.strip_prefix(name)?.strip_prefix('_')?.to_owned();
                Some((label, entry.path()))
            })
            .filter(|(_, path)| is_of(path, name))
            .flat_map(|(label, path)| tables(&label, &path, ENTRIES))
            .collect();
        found.sort_by(|one, other| one.label.cmp(&other.label));
        found
    }
}

/// Returns whether evaluations belong to a run: their config names the run, or no run. Evaluations of the suite
/// are excluded.
fn is_of(path: &Path, run: &str) -> bool {
    let config = path.join("eval_config.yaml");
    let Ok(bytes) = read_small(&config) else { return path.is_dir() && !path.join(".eval").exists() };
    let values = config::parse(&config, &bytes).unwrap_or_default();
    values.get("run_id").is_none()
        && values
            .get("training_run")
            .and_then(Value::as_str)
            .is_none_or(|named| named == run || run.strip_prefix("run_") == Some(named))
}

/// Finds the tables below the evaluations of a run: directly in the directory of a step, or one level deeper,
/// in a directory for the sampling method. Each of several methods gets a label of its own. Examines at most
/// `most` entries.
fn tables(label: &str, root: &Path, most: usize) -> Vec<ForeignEvaluations> {
    let mut by_way: BTreeMap<String, Vec<(Option<u64>, PathBuf)>> = BTreeMap::new();
    let mut left = most;
    let mut directories = vec![(root.to_owned(), 0, None, String::new())];
    while let Some((directory, depth, step, way)) = directories.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten().take(left) {
            left -= 1;
            let (name, path) = (entry.file_name().to_string_lossy().into_owned(), entry.path());
            let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if let (false, "metrics.csv", Some(step)) = (is_dir, name.as_str(), step) {
                by_way.entry(way.clone()).or_default().push((step, path));
            } else if is_dir && depth < DEPTH {
                let (step, way) = match step {
                    Some(step) => (Some(step), name),
                    None => (step_of(&name), way.clone()),
                };
                directories.push((path, depth + 1, step, way));
            }
        }
    }
    let is_one = by_way.len() == 1;
    let named = by_way.into_iter().map(|(way, mut tables)| {
        tables.sort_by_cached_key(|(step, path)| (step.is_none(), *step, path.clone()));
        let is_plain = is_one || way.is_empty();
        ForeignEvaluations {
            label: if is_plain { label.to_owned() } else { format!("{label}/{way}") },
            tables,
            is_cut: left == 0,
        }
    });
    named.collect()
}

/// Returns the step of a directory such as `step_10_gsm8k`, `Some(None)` for `step_final`, and `None` for other
/// directories.
#[expect(clippy::option_option, reason = "a final step has no number")]
fn step_of(name: &str) -> Option<Option<u64>> {
    let rest = name.strip_prefix("step_")?;
    let word = rest.split('_').next()?;
    if word == "final" { Some(None) } else { word.parse().ok().map(Some) }
}

fn is_step(name: &str) -> bool {
    step_of(name).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    #[test]
    fn evaluations_of_too_many_files_say_that_some_are_missing() {
        let dir = TempDir::new().unwrap();
        for step in 0..10 {
            let directory = dir.path().join(format!("step_{step}"));
            fs::create_dir(&directory).unwrap();
            fs::write(directory.join("metrics.csv"), "correct\n1\n").unwrap();
        }
        let found = |most| {
            let all = tables("gsm8k", dir.path(), most);
            all.iter().map(|of| (of.label.clone(), of.tables.len(), of.is_cut)).collect::<Vec<_>>()
        };
        assert_eq!(found(100), [("gsm8k".to_owned(), 10, false)]);
        assert_eq!(found(15), [("gsm8k".to_owned(), 5, true)]);
    }
}
