//! By which a run is seen to change: the stamps of its files.

use crate::run::Run;
use run_common::fsio::stamp::Stamp as FileStamp;
use run_common::rundir::evaluations::Evaluations;
use run_common::rundir::open::{RunDir, RunStamp};
use std::path::PathBuf;

/// The state of the files of a run.
#[derive(Clone)]
pub(super) struct Stamp {
    files: Vec<Option<FileStamp>>,
    /// All files of a run of another system.
    foreign: Option<RunStamp>,
    /// The tables of its evaluations, if they were looked at.
    evaluations: Option<Vec<(PathBuf, Option<FileStamp>)>>,
}

impl Stamp {
    /// Looks at the files of a run, and at the files `beside` them.
    pub(super) fn of(run: &RunDir, beside: &[PathBuf]) -> Self {
        let layout = run.layout();
        // attempts.jsonl does not change without status.json.
        let own = [layout.status(), layout.notes(), layout.metrics(), layout.scraped()];
        Self {
            files: own.iter().chain(beside).map(|file| FileStamp::at(file)).collect(),
            foreign: layout.foreign().and_then(|_| run.stamp()),
            evaluations: None,
        }
    }

    /// Looks at evaluations of the run, too.
    pub(super) fn with(mut self, evaluations: &[Evaluations]) -> Self {
        let stamp = |one: &Evaluations| {
            let path = one.consolidated();
            let stamp = FileStamp::at(&path);
            (path, stamp)
        };
        self.evaluations = Some(evaluations.iter().map(stamp).collect());
        self
    }

    /// Returns whether nothing has changed, as far as both have looked.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let is_same = |(one, other)| one == other;
        (&self.files, &self.foreign) == (&other.files, &other.foreign)
            && self.evaluations.as_ref().zip(other.evaluations.as_ref()).is_none_or(is_same)
    }
}

/// Returns the files of the trainer that the record of a run names.
pub(super) fn beside(run: &Run) -> Vec<PathBuf> {
    let attempt = run.seen.recorded.attempt();
    let names = attempt.and_then(|attempt| attempt.metrics_from.as_deref()).unwrap_or_default();
    names.iter().map(|name| run.seen.run.layout().root().join(name)).collect()
}
