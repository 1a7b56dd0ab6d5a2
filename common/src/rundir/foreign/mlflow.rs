//! A file store of `MLflow`, `mlruns/EXPERIMENT/RUN/`: `meta.yaml`, and a file for each of `params/`,
//! `metrics/` and `tags/` (mlflow, `store/tracking/file_store.py`). Logged models are stored beside the runs,
//! in the same format.

use super::traces::written;
use super::{Account, Claim, ForeignLayout, Listing, MetricFile, MetricFiles, MetricFormat, settings};
use crate::fsio::read::read_start;
use crate::rundir::status::Outcome;
use crate::time::Timestamp;
use serde_json::{Map, Value};
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

/// The layout.
#[derive(Debug)]
pub(super) struct Mlflow;

/// Maximum number of bytes to read of a parameter or tag: `MLflow` allows 6,000 characters.
const VALUE: u64 = 32 << 10;

/// Maximum number of parts in the name of a metric or parameter; the parts are directories.
const DEPTH: usize = 16;

/// Maximum number of metrics, parameters or tags of a run.
const ENTRIES: usize = 10_000;

impl ForeignLayout for Mlflow {
    fn name(&self) -> &'static str {
        "MLflow"
    }

    fn is_run(&self, listing: &Listing) -> bool {
        let is_model = || listing.name().to_string_lossy().starts_with("m-");
        let has_all = || ["metrics", "params", "tags"].iter().all(|name| listing.has_dir(name));
        listing.has_file("meta.yaml") && has_all() && !is_model()
    }

    fn is_holder(&self, listing: &Listing) -> bool {
        let is_experiment = || listing.path().parent().is_some_and(|parent| parent.ends_with("mlruns"));
        listing.name() == "mlruns" || listing.has_file("meta.yaml") && is_experiment()
    }

    fn account(&self, run: &Path) -> Account {
        let mut account = Account::default();
        let document = settings::read(&run.join("meta.yaml"), &mut account.damage);
        let value = |key: &str| document.as_ref()?.get(key).filter(|value| !value.is_null());
        let text = |key: &str| Some(value(key)?.as_str()?.to_owned()).filter(|text| !text.is_empty());
        let time = |key: &str| Timestamp::from_millis(value(key)?.as_i64()?);
        let tags = values(&run.join("tags"));
        let tag = |key: &str| tags.get(key).and_then(Value::as_str).map(str::to_owned);
        account.start_time = time("start_time");
        account.end_time = time("end_time");
        account.claim = match value("status") {
            // mlflow, entities/run_status.py; the first versions wrote words
            Some(status) if status == 1 || status == "RUNNING" => Claim::Running,
            Some(status) if status == 2 || status == "SCHEDULED" => Claim::Queued,
            Some(status) if status == 3 || status == "FINISHED" => Claim::Ended(Outcome::Completed),
            Some(status) if status == 4 || status == "FAILED" => Claim::Ended(Outcome::Failed),
            Some(status) if status == 5 || status == "KILLED" => Claim::Ended(Outcome::Stopped),
            _ => Claim::Nothing,
        };
        let meta = &mut account.meta;
        if let Some(id) = text("run_id").or_else(|| text("run_uuid")) {
            meta.run_id = id;
        }
        if let Some(name) = text("run_name").or_else(|| tag("mlflow.runName")) {
            meta.run_name = name;
        }
        meta.user = text("user_id").or_else(|| tag("mlflow.user")).unwrap_or_default();
        meta.note = tag("mlflow.note.content");
        meta.git_commit = tag("mlflow.source.git.commit");
        meta.git_branch = tag("mlflow.source.git.branch");
        meta.tags = tags
            .iter()
            .filter(|(key, _)| !key.starts_with("mlflow."))
            .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
            .collect();
        if text("lifecycle_stage").as_deref() == Some("deleted") {
            meta.tags.push("deleted".to_owned());
        }
        settings::params(meta, &Value::Object(values(&run.join("params"))));
        if account.claim == Claim::Running {
            let directory = run.join("metrics");
            let metrics = files(&directory).into_iter().filter_map(|name| written(&directory.join(name)));
            account.last_heartbeat = metrics.max().max(account.start_time);
        }
        account
    }

    fn metrics(&self, run: &Path) -> MetricFiles {
        let directory = run.join("metrics");
        let file = |name: String| MetricFile { path: directory.join(&name), prefix: name };
        let mut files: Vec<MetricFile> = below(&directory, true).into_iter().map(file).collect();
        let is_closed = || fs::read_dir(&directory).is_err_and(|error| error.kind() != ErrorKind::NotFound);
        if files.is_empty() && is_closed() {
            files.push(MetricFile::new(directory)); // whose reader reports the error
        }
        MetricFiles::Files(MetricFormat::Mlflow, files)
    }
}

/// Returns the files below a directory, sorted, by their paths below it.
fn files(directory: &Path) -> Vec<String> {
    below(directory, false)
}

/// Like [`files`], if `is_strict` with all that is neither a file nor a directory, and directories that cannot be
/// read.
fn below(directory: &Path, is_strict: bool) -> Vec<String> {
    let mut found = Vec::new();
    let mut below = vec![(0, String::new())];
    while let Some((depth, above)) = below.pop() {
        let entries = fs::read_dir(directory.join(&above));
        if entries.is_err() && is_strict && depth > 0 {
            found.push(above);
            continue;
        }
        for entry in entries.into_iter().flatten().flatten() {
            let (Ok(kind), Ok(name)) = (entry.file_type(), entry.file_name().into_string()) else { continue };
            let name = if above.is_empty() { name } else { format!("{above}/{name}") };
            let is_wanted = kind.is_file() || is_strict && !kind.is_dir();
            if is_wanted && found.len() < ENTRIES {
                found.push(name);
            } else if kind.is_dir() && depth < DEPTH && below.len() < ENTRIES {
                below.push((depth + 1, name));
            }
        }
    }
    found.sort();
    found
}

/// Reads the values in the files below a directory, by their paths below it.
fn values(directory: &Path) -> Map<String, Value> {
    let value = |name: String| {
        let bytes = read_start(&directory.join(&name), VALUE).ok()?;
        Some((name, Value::from(String::from_utf8_lossy(&bytes).trim_end())))
    };
    files(directory).into_iter().filter_map(value).collect()
}
