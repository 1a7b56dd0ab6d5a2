//! The progress in a document that a trainer keeps rewriting beside its metrics.

use run_common::fsio::open_regular;
use run_common::fsio::stamp::Stamp;
use std::fs::File;
use std::path::PathBuf;
use std::time::SystemTime;

/// The progress in a document.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Said {
    pub(super) step: f64,
    pub(super) total: Option<f64>,
}

/// A document beside the metrics that the trainer keeps rewriting.
#[derive(Debug, Default)]
pub(super) struct Aside {
    pub(super) path: Option<PathBuf>,
    stamp: Option<Stamp>,
    modified: Option<SystemTime>,
    pub(super) said: Option<Said>,
    has_changed: bool,
}

impl Aside {
    /// Reads the document, if it has changed. An unreadable document is being written.
    pub(super) fn look(&mut self, read: impl Fn(&File) -> Option<Said>) {
        let Some(path) = &self.path else { return };
        let Ok(Some(file)) = open_regular(path) else { return };
        let Ok(found) = file.metadata() else { return };
        let stamp = Some(Stamp::of(&found));
        if stamp != self.stamp
            && let Some(said) = read(&file)
        {
            self.has_changed |= self.said.map(|said| said.step) != Some(said.step);
            (self.stamp, self.said, self.modified) = (stamp, Some(said), found.modified().ok());
        }
    }

    /// Returns whether the step has changed since the last call.
    pub(super) fn take_change(&mut self) -> bool {
        std::mem::take(&mut self.has_changed)
    }

    /// Returns whether the document was written since a time.
    pub(super) fn is_newer_than(&self, since: SystemTime) -> bool {
        self.modified.is_some_and(|modified| modified >= since)
    }
}
