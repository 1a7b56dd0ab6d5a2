//! Runs of a list for which its launcher has no room yet. They stay queued, in a file in the record of the last of them.
//! Jobs of the list submit more of them as they end; so do `--wait` and `--unfinished`.

use nix::unistd::getuid;
use run_common::error::{Error, Exit};
use run_common::fsio::atomic::{Durability, replace};
use run_common::fsio::lock::Lock;
use run_common::fsio::read::LIMIT;
use run_common::message::{complain, warn};
use run_common::process::identity::ProcessId;
use run_common::rundir::SCHEMA;
use run_common::rundir::launch::{Launch, Owner};
use run_common::rundir::layout::Layout;
use run_common::rundir::observe::{Observed, Observer};
use run_common::rundir::open::{Document, RunDir, read_document};
use run_common::rundir::record::document;
use run_common::rundir::recorded::{Recorded, State};
use run_launch::contract::{Job, Limits, Submitted};
use run_launch::hand_over::hand_over;
use run_launch::launcher::used;
use run_launch::settle::settle;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::mem;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// Longest wait for another process that submits runs of the list: its launcher may take this long.
const PATIENCE: Duration = Duration::from_secs(150);

/// Time after which the launcher is asked about the jobs of a list, although their records say that enough are open.
const ASKED: Duration = Duration::from_secs(300);

/// How long the last job of a list tries to submit the rest, and the time between two tries.
const LAST: Duration = Duration::from_secs(300);
const PAUSE: Duration = Duration::from_secs(5);

/// Parts in four of the most jobs of a list at the same time, up to which more are submitted: few calls for many jobs.
const FEW: usize = 3;

/// The same for a list of which only some may run at once: each array waits for the one before, so that few are better.
const FEW_AT_ONCE: usize = 1;

/// The file `waiting.json`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Waiting {
    schema: u32,
    launcher: String,
    args: Vec<String>,
    /// The most jobs of the list at the same time for which the launcher had room.
    most: usize,
    /// The last job that was accepted.
    last: Option<String>,
    /// While runs are being submitted: how many of `runs`, from the first.
    sending: usize,
    /// The runs that have jobs, unless they were seen to have ended.
    sent: Vec<PathBuf>,
    runs: Vec<Waits>,
}

/// A run that waits.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Waits {
    run: PathBuf,
    /// Its submission, as in `launch.json`.
    submission: String,
    /// The submission before, which was interrupted: that may still be recorded, and may have a job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    interrupted: Option<String>,
    job: Job,
}

/// The state of a run in the list.
#[derive(PartialEq)]
enum Now {
    /// It still waits.
    Waits,
    /// It has a job, or had one.
    Sent,
    /// It was stopped, submitted by itself, or removed.
    Left,
}

impl Document for Waiting {
    fn schema(&self) -> u32 {
        self.schema
    }
}

impl Waiting {
    /// Writes the list, which has a run; returns the run whose record has the list. `last` is the last job of those of
    /// the list that were `sent`.
    pub(crate) fn keep(
        launch: &Launch,
        sent: Vec<PathBuf>,
        runs: Vec<Waits>,
        last: Option<String>,
    ) -> Result<PathBuf, Error> {
        let list = runs.last().map(|last| last.run.clone()).unwrap_or_default();
        let (launcher, args, most) = (launch.launcher.clone(), launch.args.clone(), sent.len());
        let waiting = Self { schema: SCHEMA, launcher, args, most, last, sending: 0, sent, runs };
        waiting.write(&Layout::new(&list))?;
        Ok(list)
    }

    /// Says whether there is a list. Its commands are executed: it must be the caller's own.
    fn exists(layout: &Layout) -> Result<bool, Error> {
        let path = layout.waiting();
        let found = match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            found => found.map_err(|error| Error::io("read", &path, error))?,
        };
        if found.uid() == getuid().as_raw() {
            return Ok(true);
        }
        Err(Error::new(Exit::System, format!("cannot use '{}'", path.display()))
            .because("another user has written it"))
    }

    fn write(&self, layout: &Layout) -> Result<(), Error> {
        let path = layout.waiting();
        let written = document(self).and_then(|bytes| {
            if bytes.len() as u64 > LIMIT {
                return Err(io::Error::other("these are too many runs to wait: submit fewer at a time"));
            }
            replace(&path, &bytes, Durability::Power)
        });
        written.map_err(|error| Error::io("write", &path, error))
    }

    /// Says whether more runs of the list are open than this number, by their records alone. Those that were submitted
    /// last come first: they end last.
    fn has_more_than(&self, few: usize) -> bool {
        let is_open = |run: &&PathBuf| {
            Recorded::read(&Layout::new(run.as_path())).is_ok_and(|recorded| recorded.ended().is_none())
        };
        self.sent.iter().rev().filter(is_open).nth(few).is_some()
    }

    /// Forgets runs that have ended or were submitted otherwise since, and asks the launcher about those that should
    /// have begun.
    fn count(&mut self, list: &Path) {
        let observer = Observer::of_many(None);
        let open = |run: &PathBuf| {
            let run = RunDir::at(run).ok()?;
            let launch = Launch::read(run.layout()).ok().flatten()?;
            if launch.list.as_deref() == Some(list) { observer.observe(&run).ok() } else { None }
        };
        let mut observed: Vec<Observed> = self.sent.iter().filter_map(open).collect();
        settle(&observer, observed.iter_mut());
        observed.retain(|run| !run.status().has_ended());
        self.sent = observed.into_iter().map(|run| run.run.layout().root().to_owned()).collect();
    }

    /// Submits more runs. `own` jobs of those that the launcher still counts are about to end.
    fn submit(&mut self, layout: &Layout, own: usize) -> Result<(), Error> {
        let launcher = used(&self.launcher, &self.args, None)?;
        let Limits { array_max, submit_max, .. } = launcher.limits()?;
        let open = self.sent.len() + own;
        // First as many as there is room for by experience, then as many again: there may be more room now.
        let size = self.most.saturating_sub(open).clamp(1, array_max.unwrap_or(usize::MAX).max(1));
        let room = submit_max.map_or(usize::MAX, |most| most.saturating_sub(open));
        let count = self.ready(size.saturating_mul(2).min(room));
        if count == 0 {
            return Ok(());
        }
        self.sending = count;
        self.write(layout)?;
        let jobs: Vec<Job> = self.runs.iter().take(count).map(|waits| waits.job.clone()).collect();
        let told = hand_over(launcher.as_ref(), &jobs, size, self.last.clone());
        self.sending = 0;
        let told = match told {
            Ok(told) => told,
            Err(error) => {
                self.write(layout)?;
                return Err(error);
            }
        };
        let mut refused = Vec::new();
        let mut why = None;
        for (waits, told) in self.runs.drain(..count).zip(told) {
            match told {
                Submitted { job: Some(job), .. } => {
                    if let Err(error) = waits.note(&job) {
                        complain(&error); // the job will say so itself
                    }
                    self.sent.push(waits.run);
                    self.last = Some(job);
                }
                Submitted { error, full, .. } => {
                    why = error.filter(|_| !full).or(why);
                    refused.push(waits);
                }
            }
        }
        self.runs.splice(..0, refused);
        self.most = self.sent.len() + own;
        self.write(layout)?;
        why.map_or(Ok(()), |why| Err(Error::new(Exit::System, "cannot submit more runs").because(why)))
    }

    /// Has runs that still wait come first, as many as are needed if there are as many; returns their number.
    fn ready(&mut self, needed: usize) -> usize {
        let mut ready = Vec::new();
        let mut left = mem::take(&mut self.runs).into_iter();
        while ready.len() < needed {
            let Some(waits) = left.next() else { break };
            match waits.look() {
                Ok(Now::Waits) => ready.push(waits),
                Ok(Now::Sent) => self.sent.push(waits.run),
                Ok(Now::Left) => {}
                Err(error) => complain(&error),
            }
        }
        let count = ready.len();
        ready.extend(left);
        self.runs = ready;
        count
    }

    /// Gives other submissions to runs whose submission was interrupted. They may have jobs, which find nothing to do.
    fn recover(&mut self, layout: &Layout) -> Result<(), Error> {
        if self.sending == 0 {
            return Ok(());
        }
        for waits in self.runs.iter_mut().take(mem::take(&mut self.sending)) {
            let submission = Uuid::now_v7().to_string();
            waits.job.command = of_submission(mem::take(&mut waits.job.command), &submission);
            waits.interrupted = Some(mem::replace(&mut waits.submission, submission));
        }
        self.write(layout)
    }
}

impl Waits {
    /// Describes a run that waits with a submission.
    pub(crate) fn new(run: PathBuf, submission: String, job: Job) -> Self {
        Self { run, submission, interrupted: None, job }
    }

    /// Finds out whether the run still waits. The record then has its submission.
    fn look(&self) -> Result<Now, Error> {
        let Ok(run) = RunDir::at(&self.run) else { return Ok(Now::Left) };
        let launch = match self.recorded(run.layout())? {
            (Now::Waits, Some(launch)) if launch.submission != self.submission => launch,
            (now, _) => return Ok(now),
        };
        let active = match run.activate() {
            Ok(active) => active,
            Err(error) if error.exit() == Exit::Busy => return Ok(Now::Sent), // its job has it
            Err(error) => return Err(error),
        };
        let (now, _) = self.recorded(active.layout())?;
        if now == Now::Waits {
            let (submission, submitter) = (self.submission.clone(), ProcessId::myself());
            Launch { submission, submitter, ..launch }.write(active.layout())?;
        }
        Ok(now)
    }

    /// Returns what is recorded of the run, and its submission.
    fn recorded(&self, layout: &Layout) -> Result<(Now, Option<Launch>), Error> {
        let is_its_own = |submission: &String| {
            *submission == self.submission || Some(submission) == self.interrupted.as_ref()
        };
        let Some(launch) = Launch::read(layout)?.filter(|launch| is_its_own(&launch.submission)) else {
            return Ok((Now::Left, None));
        };
        let is_queued = matches!(Recorded::read(layout)?.state, State::Queued(_));
        let is_claimed = Owner::read(layout)?.is_some_and(|owner| is_its_own(&owner.submission));
        let waits = launch.job.is_none() && is_queued && !is_claimed;
        Ok((if waits { Now::Waits } else { Now::Sent }, Some(launch)))
    }

    /// Records the job of the run, unless the run was stopped or submitted otherwise meanwhile.
    fn note(&self, job: &str) -> Result<(), Error> {
        let layout = Layout::new(&self.run);
        match Launch::read(&layout)? {
            Some(launch) if launch.submission == self.submission => {
                Launch { job: Some(job.to_owned()), ..launch }.write(&layout)
            }
            _ => Ok(()),
        }
    }
}

/// Who has runs of a list submitted.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Caller {
    /// A job of the list, which the launcher still counts although it is about to end.
    Job,
    /// A process that has just submitted runs of the list, or waits for them.
    Submitter,
    /// A user, by `--unfinished`.
    User,
}

/// Submits more runs of a list, whose file a run has, if enough of its jobs have ended. Says whether runs are left that no
/// other job of the list can submit.
pub(crate) fn top_up(list: &Path, caller: Caller) -> Result<bool, Error> {
    let layout = Layout::new(list);
    if !Waiting::exists(&layout)? {
        return Ok(false);
    }
    let lock = layout.waiting_lock();
    let held = Lock::take_within(&lock, PATIENCE).map_err(|error| Error::io("lock", &lock, error))?;
    if !Waiting::exists(&layout)? {
        return Ok(false); // all were submitted meanwhile
    }
    let mut waiting: Waiting = read_document(&layout.waiting())?;
    waiting.recover(&layout)?;
    let is_limited = waiting.runs.iter().any(|waits| waits.job.at_once.is_some());
    let few = waiting.most * if is_limited { FEW_AT_ONCE } else { FEW } / 4;
    let few = few.max(1);
    if caller != Caller::User && !is_old(&layout.waiting()) && waiting.has_more_than(few) {
        return Ok(false);
    }
    waiting.count(list);
    if waiting.sent.len() > few {
        return waiting.write(&layout).map(|()| false);
    }
    let submitted = waiting.submit(&layout, usize::from(caller == Caller::Job));
    if waiting.runs.is_empty() {
        for path in [layout.waiting(), lock] {
            fs::remove_file(&path).map_err(|error| Error::io("remove", &path, error))?;
        }
    }
    held.release();
    submitted.map(|()| waiting.sent.is_empty() && !waiting.runs.is_empty())
}

/// Says whether a file was not written for so long that the launcher is asked about jobs of the list: some may be lost.
fn is_old(path: &Path) -> bool {
    let written = fs::metadata(path).and_then(|found| found.modified());
    written.is_ok_and(|time| time.elapsed().is_ok_and(|age| age > ASKED))
}

/// Submits more runs of the list of a run whose job ends. The last job of the list tries for some time.
pub(crate) fn at_end(run: &RunDir) {
    let list = match Launch::read(run.layout()) {
        Ok(launch) => launch.and_then(|launch| launch.list),
        Err(error) => return complain(&error),
    };
    let Some(list) = list else { return };
    let started = Instant::now();
    loop {
        match top_up(&list, Caller::Job) {
            Ok(true) if started.elapsed() < LAST => sleep(PAUSE),
            Ok(true) => {
                let shown = Layout::new(list).waiting();
                return warn(&format!(
                    "runs in '{}' still wait: the launcher takes no more jobs, and this was the last; \
                     run-exec --unfinished submits them",
                    shown.display()
                ));
            }
            Ok(false) => return,
            Err(error) => return complain(&error),
        }
    }
}

/// Returns the command line of a job for another submission.
pub(crate) fn of_submission(command: Vec<String>, submission: &str) -> Vec<String> {
    let mut is_option = true;
    let word = |word: String| {
        is_option &= word != "--";
        if is_option && word.starts_with("--job=") { format!("--job={submission}") } else { word }
    };
    command.into_iter().map(word).collect()
}
