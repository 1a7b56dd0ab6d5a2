//! A run whose checkpoints are evaluated, while this process holds the directory of its evaluations.

use crate::claim::{claim, take_label};
use crate::job::Job;
use crate::options::Options;
use crate::pin::RunPins;
use run_checkpoint::Schedule;
use run_common::error::Error;
use run_common::fsio::lock::Lock;
use run_common::rundir::attempts::checkpoint_of;
use run_common::rundir::evaluations::{Evaluations, directory};
use run_common::rundir::meta::{Checkpoint, Meta};
use run_common::rundir::open::RunDir;
use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Instant;

/// A run whose checkpoints are evaluated.
#[derive(Debug)]
pub(crate) struct Session {
    /// The run, by its absolute path.
    pub(crate) run: RunDir,
    pub(crate) meta: Meta,
    pub(crate) evaluations: Evaluations,
    /// Keeps other run-evals out of the directory of the evaluations, as long as one of our processes lives.
    _lock: Lock,
    pub(crate) pins: RunPins,
    /// Whether more checkpoints may appear.
    pub(crate) is_followed: bool,
    /// When to look for them.
    pub(crate) schedule: Schedule,
    /// Checkpoints that were handled, with their steps: a checkpoint that is overwritten in place counts as a
    /// new one.
    pub(crate) seen: HashSet<(PathBuf, Option<u64>)>,
    /// Checkpoints that are overwritten in place and still being evaluated: new versions have to wait.
    pub(crate) pending: HashSet<PathBuf>,
    /// Warnings that were printed, to print each once.
    pub(crate) said: HashSet<String>,
}

impl Session {
    /// Claims and prepares the directory of a run's evaluations.
    pub(crate) fn open(options: &Options, run: &RunDir) -> Result<Self, Error> {
        let run = run.by_absolute();
        let root = run.layout().root();
        let mut meta = Meta::read(run.layout())?;
        meta.checkpoint = checkpoint_of(&meta, run.layout());
        if let Some(pattern) = &options.pattern {
            meta.checkpoint = Some(Checkpoint::with_pattern(meta.checkpoint, pattern));
        }
        let directory = directory(&run, options.eval_dir.as_deref());
        let evaluations = Evaluations::of(&run, &options.label, &directory);
        let lock = claim(&meta, &evaluations)?;
        // Nothing is written into a run of another system: its checkpoints are evaluated where they lie.
        let pins = if run.layout().foreign().is_some() { RunPins::none() } else { RunPins::open(root) };
        let (is_followed, schedule) = (options.follow, Schedule::new(Instant::now()));
        let (seen, pending, said) = (HashSet::new(), HashSet::new(), HashSet::new());
        Ok(Self { run, meta, evaluations, _lock: lock, pins, is_followed, schedule, seen, pending, said })
    }

    /// Records how the run is evaluated from now on.
    pub(crate) fn take_label(&self, options: &Options) -> Result<(), Error> {
        take_label(options, self.run.layout().root(), &self.meta, &self.evaluations)
    }

    /// Releases the checkpoint of a finished job.
    pub(crate) fn release(&mut self, job: &Job) {
        if job.is_pinned {
            self.pins.release(&job.root, &job.checkpoint);
        }
        if self.pending.remove(&job.checkpoint.path) {
            self.schedule.hasten();
        }
    }
}
