//! Folders of submitit: `ID_submitted.pkl` for each job, and for each of its tasks `ID_TASK_log.out`,
//! `ID_TASK_log.err` and, once ended, `ID_TASK_result.pkl` (submitit, `core/utils.py`). A folder is a run, and
//! its jobs are parts of the run. Nothing is unpickled.

use super::traces::{last_words, names, some_names, written};
use super::{Account, Claim, ForeignLayout, Listing, Logs, MetricFile, MetricFiles, MetricFormat};
use crate::fsio::read::read_start;
use crate::rundir::status::Outcome;
use std::collections::BTreeMap;
use std::path::Path;

/// The layout.
#[derive(Debug)]
pub(super) struct Submitit;

/// Suffixes of submitted jobs, and of the output and the result of each task.
const SUBMITTED: &str = "_submitted.pkl";
const LOG: &str = "_log.out";
const RESULT: &str = "_result.pkl";

/// Maximum number of names in a folder to examine: a folder that is used for years contains thousands of jobs.
const NAMES: usize = 200_000;

/// Number of bytes of a result to read. A result is a pair, and its first element is a word in these bytes.
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
        let names = some_names(run, NAMES);
        let mut jobs: BTreeMap<&str, Tasks> =
            names.iter().filter_map(|name| Some((name.strip_suffix(SUBMITTED)?, Tasks::default()))).collect();
        for name in &names {
            if let Some(tasks) = job_of(name, LOG).and_then(|job| jobs.get_mut(job)) {
                tasks.begun += 1;
            } else if let Some(tasks) = job_of(name, RESULT).and_then(|job| jobs.get_mut(job)) {
                tasks.results.push(name);
            }
        }
        let begun = jobs.values().filter(|tasks| tasks.begun > 0).count();
        let ended = jobs.values().filter(|tasks| tasks.have_ended()).count();
        let results = || jobs.values().flat_map(|tasks| &tasks.results);
        let failed: Vec<&&str> = results().filter(|name| is_error(&run.join(name))).collect();
        let submitted = jobs.keys().filter_map(|job| written(&run.join(format!("{job}{SUBMITTED}"))));
        account.start_time = submitted.min();
        account.end_time = results().filter_map(|name| written(&run.join(name))).max();
        account.claim = match (ended == jobs.len(), failed.first()) {
            (true, None) => Claim::Ended(Outcome::Completed),
            (true, Some(first)) => {
                let log = run.join(first.replace(RESULT, "_log.err"));
                account.reason = last_words(&log);
                Claim::Ended(Outcome::Failed)
            }
            (false, _) if begun == 0 => Claim::Queued,
            (false, _) => Claim::Running,
        };
        if names.len() == NAMES {
            let shown = run.display();
            account.damage.push(format!("'{shown}' has more than {NAMES} files, and not all are looked at"));
            account.claim = Claim::Nothing;
        }
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
        let files = logs(run, LOG).into_iter().map(|name| MetricFile::new(run.join(name))).collect();
        MetricFiles::Files(MetricFormat::Printed, files)
    }

    fn logs(&self, run: &Path) -> Logs {
        let last = |end: &str| logs(run, end).pop().map(|name| run.join(name));
        Logs { combined: None, stdout: last(LOG), stderr: last("_log.err") }
    }
}

/// The tasks of a job.
#[derive(Default)]
struct Tasks<'a> {
    /// Number of tasks that have begun.
    begun: usize,
    /// The names of the results of ended tasks.
    results: Vec<&'a str>,
}

impl Tasks<'_> {
    /// Returns whether every task that has begun has a result.
    fn have_ended(&self) -> bool {
        !self.results.is_empty() && self.results.len() >= self.begun
    }
}

/// Returns the job of a task's file, `JOB_TASK` with this suffix.
fn job_of<'a>(name: &'a str, end: &str) -> Option<&'a str> {
    let (job, task) = name.strip_suffix(end)?.rsplit_once('_')?;
    (!task.is_empty() && task.bytes().all(|byte| byte.is_ascii_digit())).then_some(job)
}

/// Returns the names of the logs in a folder.
fn logs(run: &Path, end: &str) -> Vec<String> {
    names(run).into_iter().filter(|name| name.ends_with(end)).collect()
}

/// Returns whether a task failed: its result is `("error", traceback)` instead of `("success", result)`.
fn is_error(path: &Path) -> bool {
    let start = read_start(path, START).unwrap_or_default();
    start.windows(5).any(|window| window == b"error") && !start.windows(7).any(|window| window == b"success")
}
