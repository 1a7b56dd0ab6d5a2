//! Sacred's `FileStorageObserver`, `NUMBER/`: `run.json`, `config.json`, `cout.txt`, and `metrics.json`
//! (sacred, `observers/file_storage.py`). Times are in UTC, without a zone.

use super::settings::{text_at, value_at};
use super::{
    Account, Claim, Fields, ForeignLayout, Listing, Logs, MetricFile, MetricFiles, MetricFormat, settings,
};
use crate::rundir::status::Outcome;
use crate::time::Timestamp;
use serde_json::Value;
use std::path::Path;

/// The layout.
#[derive(Debug)]
pub(super) struct Sacred;

impl ForeignLayout for Sacred {
    fn name(&self) -> &'static str {
        "Sacred"
    }

    fn is_run(&self, listing: &Listing) -> bool {
        let is_queued = || listing.document("run.json").is_some_and(|run| run.object("experiment").is_some());
        listing.has_file("run.json")
            && listing.has_file("config.json")
            && (listing.has_file("cout.txt") || is_queued())
    }

    fn account(&self, run: &Path) -> Account {
        let mut account = Account::default();
        let entry = Fields::read(&run.join("run.json"), &mut account.damage).unwrap_or_default();
        let time = |key: &str| entry.text(key).and_then(|text| format!("{text}Z").parse::<Timestamp>().ok());
        account.start_time = time("start_time");
        account.end_time = time("stop_time");
        account.last_heartbeat = time("heartbeat");
        let status = entry.text("status");
        account.claim = match status.as_deref() {
            Some("QUEUED") => Claim::Queued,
            Some("RUNNING") => Claim::Running,
            Some("COMPLETED") => Claim::Ended(Outcome::Completed),
            Some("INTERRUPTED") => Claim::Ended(Outcome::Stopped),
            Some(_) => Claim::Ended(Outcome::Failed), // FAILED, TIMEOUT, and states of the program's own
            None => Claim::Nothing,
        };
        if account.claim == Claim::Ended(Outcome::Failed) {
            let lines = entry.value("fail_trace").and_then(Value::as_array);
            let last = lines.and_then(|lines| lines.last()?.as_str()).map(|line| line.trim().to_owned());
            account.reason = last.filter(|line| !line.is_empty()).or(status);
        }
        let meta = &mut account.meta;
        meta.host = text_at(&entry, &["host", "hostname"]).unwrap_or_default();
        meta.python_version = text_at(&entry, &["host", "python_version"]);
        meta.cwd = text_at(&entry, &["experiment", "base_dir"]).unwrap_or_default();
        meta.note = text_at(&entry, &["meta", "comment"]);
        if let Some(file) = text_at(&entry, &["experiment", "mainfile"]) {
            meta.command = Some([Some(file), entry.text("command")].into_iter().flatten().collect());
        }
        let repository = value_at(entry.all(), &["experiment", "repositories"]).and_then(|all| all.get(0));
        let of_repository = |key: &str| repository.and_then(|repository| repository.get(key));
        meta.git_commit = of_repository("commit").and_then(Value::as_str).map(str::to_owned);
        meta.git_dirty = of_repository("dirty").and_then(Value::as_bool);
        settings::config_file(meta, run, "config.json", &mut account.damage);
        account
    }

    fn metrics(&self, run: &Path) -> MetricFiles {
        MetricFiles::Files(MetricFormat::Sacred, vec![MetricFile::new(run.join("metrics.json"))])
    }

    fn logs(&self, run: &Path) -> Logs {
        let output = run.join("cout.txt");
        Logs { combined: output.exists().then_some(output), ..Logs::default() }
    }
}
