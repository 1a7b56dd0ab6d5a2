//! Records the steps of checkpoints that programs overwrite in place, as run-exec determined them after each
//! change. Later, nothing may show which rows were logged before a checkpoint.

use crate::checkpoint::{Checkpoint, Label, Size};
use run_common::fsio::atomic::{Durability, replace};
use run_common::fsio::read_small;
use run_common::rundir::layout::Layout;
use run_common::rundir::record::document;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

/// Recorded checkpoints, by their paths below the run.
#[derive(Debug, Default)]
pub struct Overwritten {
    saved: BTreeMap<String, Saved>,
    is_changed: bool,
}

/// A recorded checkpoint: its step, and the size and modification time of its files.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Saved {
    step: u64,
    bytes: u64,
    modified_ns: i64,
}

impl Overwritten {
    /// Reads the record of a run; empty if it cannot be read.
    pub fn read(layout: &Layout) -> Self {
        let bytes = read_small(&layout.overwritten()).unwrap_or_default();
        Self { saved: serde_json::from_slice(&bytes).unwrap_or_default(), is_changed: false }
    }

    /// Adds those of the checkpoints that may be overwritten.
    pub fn note(&mut self, found: &[Checkpoint]) {
        for one in found.iter().filter(|one| one.is_complete() && !one.is_named) {
            if let Some(step) = one.step
                && one.labels.contains(&Label::Last)
                && let Some(path) = one.path.to_str()
                && let Ok(modified_ns) = i64::try_from(one.size.modified_ns)
            {
                let saved = Saved { step, bytes: one.size.bytes, modified_ns };
                self.is_changed |= self.saved.insert(path.to_owned(), saved) != Some(saved);
            }
        }
    }

    /// Writes the record if it changed since the last call.
    pub fn write(&mut self, layout: &Layout) -> io::Result<()> {
        if std::mem::take(&mut self.is_changed) {
            replace(&layout.overwritten(), &document(&self.saved)?, Durability::Process)?;
        }
        Ok(())
    }

    /// Returns the recorded step of a checkpoint, if the checkpoint has not changed since.
    pub(crate) fn step(&self, path: &Path, size: Size) -> Option<u64> {
        let saved = self.saved.get(path.to_str()?)?;
        let is_same = saved.bytes == size.bytes && i128::from(saved.modified_ns) == size.modified_ns;
        is_same.then_some(saved.step)
    }
}
