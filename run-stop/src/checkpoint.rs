//! `--after-checkpoint`: runs are asked after their next checkpoint.

use run_checkpoint::{AGAIN, Checkpoint, Program, Schedule, Size, UNNOTICED, Watcher, discover};
use run_common::error::Error;
use run_common::rundir::attempts::checkpoint_of;
use run_common::rundir::meta::{self, Meta};
use run_common::rundir::observe::Observer;
use run_common::rundir::open::RunDir;
use run_common::rundir::status::Status;
use std::collections::HashMap;
use std::mem;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How often to check whether a run has ended.
const OBSERVE: Duration = Duration::from_secs(1);

/// Calls `ask` for each run as soon as the run has a new complete checkpoint, or has ended.
pub(crate) fn after_checkpoint(
    runs: Vec<Result<RunDir, Error>>,
    observer: &Observer,
    ask: &mut impl FnMut(Result<RunDir, Error>),
) {
    let mut watcher = Watcher::new();
    let mut waiting = Vec::new();
    for (number, run) in runs.into_iter().enumerate() {
        match run.and_then(|run| Waiting::new(run, number)) {
            Ok(run) => waiting.push(run),
            Err(error) => ask(Err(error)),
        }
    }
    loop {
        for mut run in mem::take(&mut waiting) {
            match run.is_due(observer, &mut watcher) {
                Ok(false) => waiting.push(run),
                Ok(true) => ask(Ok(run.run)),
                Err(error) => ask(Err(error)),
            }
        }
        let Some(next) = waiting.iter().map(|run| run.schedule.next()).min() else { return };
        let changed = watcher.wait(OBSERVE.min(next.saturating_duration_since(Instant::now())));
        for run in waiting.iter_mut().filter(|run| changed.contains(&run.number)) {
            run.schedule.hasten();
        }
    }
}

/// A run that has not yet written its next checkpoint.
struct Waiting {
    run: RunDir,
    /// Its number for the watcher.
    number: usize,
    recorded: Option<meta::Checkpoint>,
    /// The complete checkpoints at the beginning, and their sizes.
    first: HashMap<PathBuf, Size>,
    /// The complete checkpoints at the last look.
    last: HashMap<PathBuf, Size>,
    schedule: Schedule,
}

impl Waiting {
    fn new(run: RunDir, number: usize) -> Result<Self, Error> {
        let recorded = checkpoint_of(&Meta::read(run.layout())?, run.layout());
        let found = discover(run.layout(), recorded.as_ref(), Program::Lives)?;
        let schedule = Schedule::new(Instant::now());
        Ok(Self { run, number, recorded, first: complete(&found), last: HashMap::new(), schedule })
    }

    /// Returns whether to ask the run: it has a new checkpoint that no longer grows, or it has ended.
    fn is_due(&mut self, observer: &Observer, watcher: &mut Watcher) -> Result<bool, Error> {
        if observer.observe(&self.run)?.status() != Status::Running {
            return Ok(true);
        }
        let start = Instant::now();
        if !self.schedule.is_due(start) {
            return Ok(false);
        }
        let found = discover(self.run.layout(), self.recorded.as_ref(), Program::Lives)?;
        let is_new_place = watcher.watch(self.number, self.run.layout(), self.recorded.as_ref(), &found);
        let now = complete(&found);
        let new = |(path, size): &(&PathBuf, &Size)| self.first.get(*path) != Some(*size);
        let is_due = now.iter().filter(new).any(|(path, size)| self.last.get(path) == Some(size));
        let is_unsure = is_new_place || now.iter().any(|one| new(&one));
        self.last = now;
        self.schedule.looked(start, Instant::now(), if is_unsure { AGAIN } else { UNNOTICED });
        Ok(is_due)
    }
}

/// Returns the complete checkpoints.
fn complete(found: &[Checkpoint]) -> HashMap<PathBuf, Size> {
    found.iter().filter(|one| one.is_complete()).map(|one| (one.path.clone(), one.size)).collect()
}
