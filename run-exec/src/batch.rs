//! The files of a batch for people: a line for each event, and a summary of all runs. The runs' records are
//! authoritative.

use run_common::error::Error;
use run_common::fsio::append::append;
use run_common::fsio::atomic::{Durability, replace};
use run_common::fsio::lock::{Lock, holder};
use run_common::fsio::stamp::Stamp;
use run_common::message::{complain, warn};
use run_common::process::identity::ProcessId;
use run_common::rundir::attempts::AttemptEnd;
use run_common::rundir::batch::BatchDir;
use run_common::rundir::observe::{Observed, Observer};
use run_common::rundir::open::RunDir;
use run_common::rundir::record::document;
use run_common::rundir::status::Status;
use run_common::rundir::stop::StopRequest;
use run_common::rundir::writable::check_batch;
use run_common::rundir::{self, SCHEMA};
use run_common::time::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

/// A batch with a run that the controller has executed.
#[derive(Debug)]
pub(crate) struct Batch {
    dir: BatchDir,
    /// Entries of ended runs, and the stamp of the record that each was read from.
    ended: BTreeMap<String, (Option<Stamp>, Entry)>,
    /// The request to stop the batch, if any.
    pub(crate) stopped: Option<StopRequest>,
    /// Whether the active runs were asked, too.
    pub(crate) is_heeded: bool,
    /// Whether no run of the batch has started yet.
    pub(crate) is_new: bool,
    /// Whether some started runs had not begun when the summary was written.
    pub(crate) is_behind: bool,
    /// Lines of its log that are not written yet, because another process holds the lock.
    owed: Vec<String>,
    /// Whether its summary is out of date.
    is_owed: bool,
    /// Whether its files cannot be written, which was reported.
    fails: bool,
}

/// `experiment_summary.json`.
#[derive(Serialize)]
struct Summary {
    schema: u32,
    batch: String,
    updated: Timestamp,
    total: usize,
    completed: usize,
    failed: usize,
    stopped: usize,
    running: usize,
    not_run: usize,
    runs: Vec<Entry>,
}

/// The entry of a run in the summary.
#[derive(Clone, Debug, Serialize)]
struct Entry {
    name: String,
    status: Status,
    reason: Option<String>,
    attempt: u32,
    start_time: Option<Timestamp>,
    end_time: Option<Timestamp>,
    duration_s: Option<f64>,
    exit_code: Option<i32>,
    signal: Option<i32>,
    step: Option<Value>,
    final_checkpoint: Option<String>,
    /// The last values of the metrics.
    metrics: Map<String, Value>,
}

impl Batch {
    fn new(dir: BatchDir) -> Self {
        Self {
            dir,
            ended: BTreeMap::new(),
            stopped: None,
            is_heeded: false,
            is_new: true,
            is_behind: false,
            owed: Vec::new(),
            is_owed: false,
            fails: false,
        }
    }

    /// Returns its name, for people.
    pub(crate) fn name(&self) -> String {
        self.dir.layout().root().display().to_string()
    }

    /// Returns whether a stop of the batch has been requested.
    pub(crate) fn look_for_stop(&mut self) -> bool {
        if self.stopped.is_none() {
            self.stopped = StopRequest::read(&self.dir.layout().stop());
        }
        self.stopped.is_some()
    }

    /// Removes a stop request that a later command overrides.
    fn forget_stop(&self) {
        match fs::remove_file(self.dir.layout().stop()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                complain(&Error::io("remove", &self.dir.layout().stop(), error));
            }
            _ => {}
        }
    }

    /// Writes an event to the log, and updates the summary. Nothing waits for these files: while another process
    /// holds their lock, the update is postponed.
    pub(crate) fn note(&mut self, event: &str, observer: &Observer) {
        self.owed.push(format!("{} {}\n", Timestamp::now(), event.replace(['\n', '\r'], " ")));
        self.renew(observer);
    }

    /// Updates the summary.
    pub(crate) fn renew(&mut self, observer: &Observer) {
        self.is_owed = true;
        self.catch_up(observer);
    }

    /// Writes postponed updates; returns whether none are left.
    pub(crate) fn catch_up(&mut self, observer: &Observer) -> bool {
        if !self.is_owed {
            return true;
        }
        let layout = self.dir.layout();
        let lock = check_batch(layout).map(|()| Lock::try_take(&layout.lock()));
        let written = match lock {
            Ok(Ok(None)) => return false,
            Ok(Ok(Some(mut lock))) => {
                let _ = lock.sign(&ProcessId::myself()); // only for people
                self.write_log().and_then(|()| self.write_summary(observer))
            }
            Ok(Err(error)) => Err(Error::io("lock", &layout.lock(), error)),
            Err(error) => Err(error),
        };
        self.is_owed = false; // a failure is retried with the next event
        if let Err(error) = written {
            self.fail(&error);
        }
        true
    }

    /// Stops waiting for the lock: appends the whole lines of the log without it, and leaves the summary to the
    /// holder.
    pub(crate) fn give_up(&mut self) {
        if !self.is_owed {
            return;
        }
        let layout = self.dir.layout();
        let summary = layout.summary();
        let who = match holder(&layout.lock()) {
            Some(ProcessId { pid, host, .. }) => format!("process {pid} on {host}"),
            None => "another process".to_owned(),
        };
        match check_batch(layout).and_then(|()| self.write_log()) {
            Ok(()) => warn(&format!("'{}' is out of date: {who} holds its lock", summary.display())),
            Err(error) => self.fail(&error),
        }
    }

    /// Reports once that the files cannot be written, unless the batch was removed.
    fn fail(&mut self, error: &Error) {
        if self.dir.layout().record().exists() && !std::mem::replace(&mut self.fails, true) {
            complain(error);
        }
    }

    fn write_log(&mut self) -> Result<(), Error> {
        let path = self.dir.layout().master_log();
        append(&path, self.owed.concat().as_bytes()).map_err(|error| Error::io("write", &path, error))?;
        self.owed.clear();
        Ok(())
    }

    fn write_summary(&mut self, observer: &Observer) -> Result<(), Error> {
        let path = self.dir.layout().summary();
        let summary = self.summary(observer)?;
        let written = document(&summary).and_then(|summary| replace(&path, &summary, Durability::Process));
        written.map_err(|error| Error::io("write", &path, error))
    }

    fn summary(&mut self, observer: &Observer) -> Result<Summary, Error> {
        let mut runs = Vec::new();
        let all = self.dir.runs()?;
        let total = all.len();
        for run in all {
            let name = run.layout().name();
            let stamp = Stamp::at(&run.layout().status());
            match self.ended.get(&name) {
                Some((known, entry)) if *known == stamp => runs.push(entry.clone()),
                _ => {
                    let Ok(observed) = observer.observe(&run) else { continue }; // still counted in the total
                    let entry = Entry::of(&name, &observed);
                    if entry.status.has_ended() {
                        self.ended.insert(name, (stamp, entry.clone()));
                    }
                    runs.push(entry);
                }
            }
        }
        let count = |statuses: &[Status]| runs.iter().filter(|run| statuses.contains(&run.status)).count();
        Ok(Summary {
            schema: SCHEMA,
            batch: self.dir.layout().name(),
            updated: Timestamp::now(),
            total,
            completed: count(&[Status::Completed]),
            failed: count(&[Status::Failed, Status::Dead]),
            stopped: count(&[Status::Stopped]),
            running: count(&[Status::Running, Status::Stale]),
            not_run: count(&[Status::Created, Status::Queued]),
            runs,
        })
    }

    /// Returns the number of runs that it was created for, if recorded.
    pub(crate) fn planned(&self) -> Option<usize> {
        rundir::batch::Batch::read(self.dir.layout()).ok().and_then(|batch| batch.planned)
    }

    /// Returns the number of runs in each status, in words. If `more_may_come`, the runs that the batch was created
    /// for count, though some may not exist yet.
    pub(crate) fn totals(&mut self, more_may_come: bool, observer: &Observer) -> String {
        let summary = match self.summary(observer) {
            Ok(summary) => summary,
            Err(error) => return error.to_string(),
        };
        let Summary { total, completed, failed, stopped, running, not_run, .. } = summary;
        let to_come = self.planned().filter(|_| more_may_come).unwrap_or_default().saturating_sub(total);
        let (total, not_run) = (total + to_come, not_run + to_come);
        let at_work = if running > 0 { format!("{running} running, ") } else { String::new() };
        format!(
            "{completed} of {total} completed, {failed} failed, {stopped} stopped, {at_work}{not_run} not run"
        )
    }
}

impl Entry {
    fn of(name: &str, run: &Observed) -> Self {
        let recorded = &run.recorded;
        let attempt = recorded.attempts();
        let end =
            recorded.ended().and_then(|_| AttemptEnd::read(run.run.layout(), &recorded.run_id, attempt));
        let last = |(name, figures): (String, Value)| (name, figures["last"].clone());
        Self {
            name: name.to_owned(),
            status: run.status(),
            reason: run.reason().map(str::to_owned),
            attempt,
            start_time: run.start_time(),
            end_time: run.end_time(),
            duration_s: run.total_duration_s(),
            exit_code: recorded.exit_code(),
            signal: recorded.signal(),
            step: recorded.step().map(run_common::json::json_number),
            final_checkpoint: end.and_then(|end| end.final_checkpoint),
            metrics: recorded.metrics().figures().into_iter().map(last).collect(),
        }
    }
}

/// The batches of the controller's runs.
#[derive(Debug, Default)]
pub(crate) struct Batches(Vec<Batch>);

impl Batches {
    /// Returns the number of a run's batch, if it has one. With `overrules`, removes an earlier request to stop the
    /// batch.
    pub(crate) fn of(&mut self, run: &RunDir, overrules: bool) -> Option<usize> {
        let parent: &Path = run.layout().root().parent()?;
        if let Some(known) = self.0.iter().position(|batch| batch.dir.layout().root() == parent) {
            return Some(known);
        }
        let batch = Batch::new(BatchDir::of(run)?);
        if overrules {
            batch.forget_stop();
        }
        self.0.push(batch);
        Some(self.0.len() - 1)
    }

    /// Returns the batch with a number.
    pub(crate) fn get(&mut self, number: Option<usize>) -> Option<&mut Batch> {
        self.0.get_mut(number?)
    }

    /// Writes postponed updates; returns whether none are left.
    pub(crate) fn catch_up(&mut self, observer: &Observer) -> bool {
        let mut is_done = true;
        for batch in &mut self.0 {
            is_done &= batch.catch_up(observer);
        }
        is_done
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Batch> {
        self.0.iter_mut()
    }
}
