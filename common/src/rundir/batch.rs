//! Batch directories: runs that were created together, and what is kept about all of them.

use super::layout::BatchLayout;
use super::open::RunDir;
use super::status::Recorded;
use std::fs;
use std::path::Path;

/// A directory that was seen to be a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchDir {
    layout: BatchLayout,
}

impl BatchDir {
    /// Opens the batch at `path`, if it is one.
    pub fn at(path: &Path) -> Option<Self> {
        let layout = BatchLayout::new(path);
        layout.batch().exists().then_some(Self { layout })
    }

    /// Returns the batch that a run lies in.
    pub fn of(run: &RunDir) -> Option<Self> {
        run.layout().root().parent().and_then(Self::at)
    }

    /// Returns where its files are.
    pub fn layout(&self) -> &BatchLayout {
        &self.layout
    }

    /// Returns its runs by name.
    pub fn runs(&self) -> Vec<RunDir> {
        let entries = fs::read_dir(self.layout.root()).into_iter().flatten().flatten();
        let mut paths: Vec<_> = entries
            .filter(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"."))
            .map(|entry| entry.path())
            .filter(|path| path.to_str().is_some())
            .collect();
        paths.sort();
        paths.into_iter().map(RunDir::seen).filter(|run| run.layout().meta().exists()).collect()
    }

    /// Returns its runs in the order in which they were created.
    pub fn runs_as_created(&self) -> Vec<RunDir> {
        let id = |run: &RunDir| Recorded::read(run.layout()).map(|state| state.run_id).unwrap_or_default();
        let mut runs: Vec<_> = self.runs().into_iter().map(|run| (id(&run), run)).collect();
        runs.sort_by(|(one, _), (other, _)| one.cmp(other));
        runs.into_iter().map(|(_, run)| run).collect()
    }
}
