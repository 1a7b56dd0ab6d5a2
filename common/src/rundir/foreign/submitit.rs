//! Folders of submitit: for each job `ID_submitted.pkl`, and for each of its tasks `ID_TASK_log.out`,
//! `ID_TASK_log.err` and in the end `ID_TASK_result.pkl` (submitit, `core/utils.py`). A folder is a run, whose jobs
//! are its parts. Nothing is unpickled.

use super::traces::{last_words, names, written};
use super::{Account, Claim, ForeignLayout, Listing, Logs, MetricFile, MetricFiles, MetricFormat};
use crate::fsio::read::read_start;
use crate::rundir::status::Outcome;
use std::path::Path;

/// The layout.
#[derive(Debug)]
pub(super) struct Submitit;

/// The end of the name of what was submitted.
const SUBMITTED: &str = "_submitted.pkl";

/// A result is a pair. Its first element, a word, is among the first bytes of the pickle.
const START: u64 = 64;

impl ForeignLayout for Submitit {
    fn name(&self) -> &'static str {
        "submitit"
    }

    fn is_run(&self, listing: &Listing) -> bool {
        listing.any_file(|name| name.ends_with(SUBMITTED))
    }

    fn account(&self, run: &Path) -> Account {
        let mut account = Account::default();
        let names = names(run);
        let jobs: Vec<&str> = names.iter().filter_map(|name| name.strip_suffix(SUBMITTED)).collect();
        let of = |job: &str, end: &str| -> Vec<&String> {
            let is_task = |task: &str| !task.is_empty() && task.bytes().all(|byte| byte.is_ascii_digit());
            let task = |name: &str| name.strip_prefix(job)?.strip_prefix('_')?.strip_suffix(end).map(is_task);
            names.iter().filter(|name| task(name) == Some(true)).collect()
        };
        let (mut begun, mut ended, mut failed) = (0, 0, Vec::new());
        for job in &jobs {
            account.start_time = [account.start_time, written(&run.join(format!("{job}{SUBMITTED}")))]
                .into_iter()
                .flatten()
                .min();
            begun += usize::from(!of(job, "_log.out").is_empty());
            let results = of(job, "_result.pkl");
            ended += usize::from(!results.is_empty());
            account.end_time =
                results.iter().filter_map(|name| written(&run.join(name))).max().max(account.end_time);
            failed.extend(results.into_iter().filter(|name| is_error(&run.join(name))));
        }
        account.claim = match (ended == jobs.len(), failed.first()) {
            (true, None) => Claim::Ended(Outcome::Completed),
            (true, Some(first)) => {
                let log = run.join(first.replace("_result.pkl", "_log.err"));
                account.reason = last_words(&log);
                Claim::Ended(Outcome::Failed)
            }
            (false, _) if begun == 0 => Claim::Queued,
            (false, _) => Claim::Running,
        };
        if ended < jobs.len() {
            account.end_time = None;
        }
        if jobs.len() > 1 {
            let why = account.reason.take().map(|why| format!(": {why}")).unwrap_or_default();
            account.reason = Some(format!(
                "{} jobs, of which {ended} have ended, {} by an error{why}",
                jobs.len(),
                failed.len()
            ));
        }
        account
    }

    fn metrics(&self, run: &Path) -> MetricFiles {
        let files = logs(run, "_log.out").into_iter().map(|name| MetricFile::new(run.join(name))).collect();
        MetricFiles::Files(MetricFormat::Printed, files)
    }

    fn logs(&self, run: &Path) -> Logs {
        let last = |end: &str| logs(run, end).pop().map(|name| run.join(name));
        Logs { combined: None, stdout: last("_log.out"), stderr: last("_log.err") }
    }
}

/// Returns the names of the logs of a folder.
fn logs(run: &Path, end: &str) -> Vec<String> {
    names(run).into_iter().filter(|name| name.ends_with(end)).collect()
}

/// Says whether a result is that of a task that failed: `("error", traceback)` instead of `("success", result)`.
fn is_error(path: &Path) -> bool {
    let start = read_start(path, START).unwrap_or_default();
    start.windows(5).any(|window| window == b"error") && !start.windows(7).any(|window| window == b"success")
}
