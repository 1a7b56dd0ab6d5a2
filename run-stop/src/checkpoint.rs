//! `--after-checkpoint`: runs are asked when they have written one more.

use run_checkpoint::{Checkpoint, Program, Size, discover};
use run_common::error::Error;
use run_common::rundir::meta::{self, Meta};
use run_common::rundir::observe::Observer;
use run_common::rundir::open::RunDir;
use run_common::rundir::status::Status;
use std::mem;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

/// How often checkpoints are looked for.
const PAUSE: Duration = Duration::from_millis(500);

/// Hands each run on as soon as it has a complete checkpoint more than now, or has ended.
pub(crate) fn after_checkpoint(
    runs: Vec<Result<RunDir, Error>>,
    observer: &Observer,
    ask: &mut impl FnMut(Result<RunDir, Error>),
) {
    let mut waiting = Vec::new();
    for run in runs {
        match run.and_then(Waiting::new) {
            Ok(run) => waiting.push(run),
            Err(error) => ask(Err(error)),
        }
    }
    loop {
        for mut run in mem::take(&mut waiting) {
            match run.is_due(observer) {
                Ok(false) => waiting.push(run),
                Ok(true) => ask(Ok(run.run)),
                Err(error) => ask(Err(error)),
            }
        }
        if waiting.is_empty() {
            return;
        }
        thread::sleep(PAUSE);
    }
}

/// A checkpoint as it was looked at.
type Look = (PathBuf, Size);

/// A run whose next checkpoint is waited for.
struct Waiting {
    run: RunDir,
    recorded: Option<meta::Checkpoint>,
    /// The complete ones at the beginning.
    first: Vec<Look>,
    /// The complete ones at the last look.
    last: Vec<Look>,
}

impl Waiting {
    fn new(run: RunDir) -> Result<Self, Error> {
        let recorded = Meta::read(run.layout())?.checkpoint;
        let mut waiting = Self { run, recorded, first: Vec::new(), last: Vec::new() };
        waiting.first = waiting.complete()?;
        Ok(waiting)
    }

    fn complete(&self) -> Result<Vec<Look>, Error> {
        let all = discover(self.run.layout(), self.recorded.as_ref(), Program::Lives)?;
        Ok(all.into_iter().filter(Checkpoint::is_complete).map(|found| (found.path, found.size)).collect())
    }

    /// Says whether there is a checkpoint that was not there before, and does not grow; or nothing
    /// more to wait for.
    fn is_due(&mut self, observer: &Observer) -> Result<bool, Error> {
        if observer.observe(&self.run)?.status() != Status::Running {
            return Ok(true);
        }
        let now = self.complete()?;
        let is_due = now.iter().any(|look| !self.first.contains(look) && self.last.contains(look));
        self.last = now;
        Ok(is_due)
    }
}
