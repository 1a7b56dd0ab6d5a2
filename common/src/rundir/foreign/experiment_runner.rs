//! The experiment runner: batches `experiment_<time>/` with `master_log.txt` and, once ended,
//! `experiment_summary.json`. A batch has a directory for each config, with `experiment_metadata.json`, once
//! ended `experiment_result.json`, and logs in the style of nanoGPT (`run_experiments.py`).

use super::cached::Cached;
use super::{Account, Claim, Fields, ForeignLayout, Listing, Logs, MetricFile, MetricFiles, MetricFormat};
use crate::fsio::read_small;
use crate::provenance::config;
use crate::rundir::layout::BATCH_DIR;
use crate::rundir::status::Outcome;
use serde_json::{Map, Value};
use std::path::Path;

/// The layout.
#[derive(Debug)]
pub(super) struct ExperimentRunner;

const METADATA: &str = "experiment_metadata.json";
const RESULT: &str = "experiment_result.json";
const SUMMARY: &str = "experiment_summary.json";
const CONFIG: &str = "config_used.py";

impl ForeignLayout for ExperimentRunner {
    fn name(&self) -> &'static str {
        "the experiment runner"
    }

    fn is_run(&self, listing: &Listing) -> bool {
        let has = |name| listing.has_file(name);
        has(METADATA) || has(RESULT) || has(CONFIG) && has("stdout.log")
    }

    fn is_holder(&self, listing: &Listing) -> bool {
        listing.has_file("master_log.txt") && !listing.has_dir(BATCH_DIR)
    }

    fn account(&self, run: &Path) -> Account {
        let mut account = Account::default();
        let metadata = Fields::read(&run.join(METADATA), &mut account.damage).unwrap_or_default();
        let result = Fields::read(&run.join(RESULT), &mut account.damage).or_else(|| of_batch(run));
        let result = result.unwrap_or_default();
        account.start_time = metadata.time("start_time").or_else(|| result.time("start_time"));
        account.claim = match result.text("status") {
            Some(word) => Claim::of_word(&word),
            None => Claim::Running,
        };
        if let Claim::Ended(outcome) = account.claim {
            let lasted = result.number("duration_seconds");
            let start = account.start_time;
            account.end_time = result.time("end_time").or_else(|| start?.after_seconds(lasted?));
            let code =
                result.value("return_code").and_then(Value::as_i64).and_then(|code| i32::try_from(code).ok());
            (account.exit_code, account.signal) = match code {
                Some(code) if code < 0 => (None, code.checked_neg()),
                code => (code, None),
            };
            if outcome != Outcome::Completed {
                account.reason = result.text("error").map(|error| first_line(&error));
            }
        }
        let overrides = metadata.object("global_overrides").cloned().unwrap_or_default();
        let config = run.join(CONFIG);
        let read = read_small(&config).ok();
        let has_config = read.is_some();
        let values = read.and_then(|bytes| config::parse(&config, &bytes).ok()).unwrap_or_default();
        let meta = &mut account.meta;
        meta.run_name = result.text("config_name").unwrap_or_default();
        meta.config_file = has_config.then(|| CONFIG.to_owned());
        meta.config_path = metadata.text("config_path").or_else(|| result.text("config_path"));
        meta.command = metadata.command("command");
        meta.python_executable = metadata.text("python_executable");
        meta.cwd = metadata.text("working_directory").unwrap_or_default();
        meta.total_steps =
            whole_of(&overrides, "max_iters").or_else(|| whole_of(values.as_object()?, "max_iters"));
        meta.device = overrides
            .get("device")
            .or_else(|| values.get("device"))
            .and_then(Value::as_str)
            .map(str::to_owned);
        meta.seed = values.get("seed").and_then(Value::as_i64);
        meta.overrides = overrides.into_iter().filter(|(_, value)| !value.is_null()).collect();
        account
    }

    fn metrics(&self, run: &Path) -> MetricFiles {
        MetricFiles::Files(MetricFormat::Printed, vec![MetricFile::new(run.join("stdout.log"))])
    }

    fn logs(&self, run: &Path) -> Logs {
        let log = |name| Some(run.join(name));
        Logs { combined: log("combined.log"), stdout: log("stdout.log"), stderr: log("stderr.log") }
    }
}

/// Returns the entry of a run without a result of its own in the summary of its batch.
fn of_batch(run: &Path) -> Option<Fields> {
    static SUMMARIES: Cached<Option<Fields>> = Cached::new();
    let run = std::path::absolute(run).ok()?;
    let summary = SUMMARIES.get(&run.parent()?.join(SUMMARY), |path| Fields::read(path, &mut Vec::new()))?;
    let result = Option::as_ref(&summary)?.object("results")?.get(run.file_name()?.to_str()?)?;
    result.as_object().cloned().map(Fields::from)
}

fn whole_of(values: &Map<String, Value>, key: &str) -> Option<u64> {
    super::fields::whole(values.get(key)?.as_f64()?)
}

fn first_line(text: &str) -> String {
    text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default().to_owned()
}
