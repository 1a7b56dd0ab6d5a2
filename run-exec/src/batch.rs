//! The files of a batch that are for people: a line for each event, and what all runs do. The truth
//! is in the runs.

use run_common::error::Error;
use run_common::fsio::atomic::{Durability, replace};
use run_common::fsio::lock::Lock;
use run_common::message::complain;
use run_common::rundir::SCHEMA;
use run_common::rundir::attempts::AttemptEnd;
use run_common::rundir::batch::BatchDir;
use run_common::rundir::observe::{Observed, Observer};
use run_common::rundir::open::RunDir;
use run_common::rundir::record::document;
use run_common::rundir::status::Status;
use run_common::rundir::stop::StopRequest;
use run_common::time::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// A batch that this front has executed a run of.
#[derive(Debug)]
pub(crate) struct Batch {
    dir: BatchDir,
    /// What is known of the runs that have ended, and the stamp of the record that it was read from.
    ended: BTreeMap<String, (Stamp, Entry)>,
    /// Somebody has asked for a stop of all.
    pub(crate) stopped: Option<StopRequest>,
    /// The runs at work were asked, too.
    pub(crate) is_heeded: bool,
    /// No run of it was started so far.
    pub(crate) is_new: bool,
    /// Runs were started that had not begun when the summary was written.
    pub(crate) is_behind: bool,
    /// Its files cannot be written, which was said.
    fails: bool,
}

/// Inode, mtime and size of a file.
type Stamp = (u64, i64, i64, u64);

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

/// What the summary says of a run.
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
    /// The last values.
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
            fails: false,
        }
    }

    /// Returns its name, for people.
    pub(crate) fn name(&self) -> String {
        self.dir.layout().root().display().to_string()
    }

    /// Says whether a stop of all has been asked for.
    pub(crate) fn look_for_stop(&mut self) -> bool {
        if self.stopped.is_none() {
            self.stopped = StopRequest::read(&self.dir.layout().stop());
        }
        self.stopped.is_some()
    }

    /// Takes a request away that a later command overrules.
    fn forget_stop(&self) {
        match fs::remove_file(self.dir.layout().stop()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                complain(&Error::io("remove", &self.dir.layout().stop(), error));
            }
            _ => {}
        }
    }

    /// Writes that something has happened, and what all runs do now.
    pub(crate) fn note(&mut self, event: &str, observer: &Observer) {
        if let Err(error) = self.write(event, observer)
            && self.dir.layout().record().exists()
            && !std::mem::replace(&mut self.fails, true)
        {
            complain(&Error::io("write", &self.dir.layout().master_log(), error));
        }
    }

    /// Writes what all runs do now.
    pub(crate) fn renew(&mut self, observer: &Observer) {
        let layout = self.dir.layout().clone();
        let written = Lock::take(&layout.lock()).and_then(|_lock| {
            replace(&layout.summary(), &document(&self.summary(observer))?, Durability::Process)
        });
        drop(written); // the next event says what is wrong
    }

    fn write(&mut self, event: &str, observer: &Observer) -> io::Result<()> {
        let layout = self.dir.layout().clone();
        let _lock = Lock::take(&layout.lock())?;
        let mut log = OpenOptions::new().append(true).create(true).open(layout.master_log())?;
        log.write_all(format!("{} {}\n", Timestamp::now(), event.replace(['\n', '\r'], " ")).as_bytes())?;
        replace(&layout.summary(), &document(&self.summary(observer))?, Durability::Process)
    }

    fn summary(&mut self, observer: &Observer) -> Summary {
        let mut runs = Vec::new();
        for run in self.dir.runs() {
            let name = run.layout().name();
            let stamp = stamp(&run);
            match self.ended.get(&name) {
                Some((known, entry)) if *known == stamp => runs.push(entry.clone()),
                _ => {
                    let Ok(observed) = observer.observe(&run) else { continue };
                    let entry = Entry::of(&name, &observed);
                    if entry.status.has_ended() {
                        self.ended.insert(name, (stamp, entry.clone()));
                    }
                    runs.push(entry);
                }
            }
        }
        let count = |statuses: &[Status]| runs.iter().filter(|run| statuses.contains(&run.status)).count();
        Summary {
            schema: SCHEMA,
            batch: self.dir.layout().name(),
            updated: Timestamp::now(),
            total: runs.len(),
            completed: count(&[Status::Completed]),
            failed: count(&[Status::Failed, Status::Dead]),
            stopped: count(&[Status::Stopped]),
            running: count(&[Status::Running, Status::Stale]),
            not_run: count(&[Status::Created, Status::Queued]),
            runs,
        }
    }

    /// Says in words what all runs do.
    pub(crate) fn totals(&mut self, observer: &Observer) -> String {
        let Summary { total, completed, failed, stopped, running, not_run, .. } = self.summary(observer);
        let at_work = if running > 0 { format!("{running} running, ") } else { String::new() };
        format!(
            "{completed} of {total} completed, {failed} failed, {stopped} stopped, {at_work}{not_run} not run"
        )
    }
}

fn stamp(run: &RunDir) -> Stamp {
    let record = fs::metadata(run.layout().status());
    record.map_or((0, 0, 0, 0), |file| (file.ino(), file.mtime(), file.mtime_nsec(), file.size()))
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
            duration_s: run.duration_s(),
            exit_code: recorded.exit_code(),
            signal: recorded.signal(),
            step: recorded.step().map(run_common::json::json_number),
            final_checkpoint: end.and_then(|end| end.final_checkpoint),
            metrics: recorded.metrics().figures().into_iter().map(last).collect(),
        }
    }
}

/// The batches that the front has come upon.
#[derive(Debug, Default)]
pub(crate) struct Batches(Vec<Batch>);

impl Batches {
    /// Returns the number of the batch that a run lies in, if it lies in one. A request to stop it
    /// that was made before is overruled when `overrules`.
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

    /// Returns the batch of a number.
    pub(crate) fn get(&mut self, number: Option<usize>) -> Option<&mut Batch> {
        self.0.get_mut(number?)
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Batch> {
        self.0.iter_mut()
    }
}
