//! The last backup of a run, from its receipt, and the checkpoints saved since.

use run_checkpoint::Checkpoint;
use run_common::figures::counted;
use run_common::rundir::observe::Observed;
use run_common::rundir::receipts::{Backup, last_backup};
use run_common::time::{Timestamp, human_seconds};
use serde::Serialize;

/// The last backup, as in JSON.
#[derive(Debug, Serialize)]
pub(crate) struct BackupOut {
    time: Timestamp,
    url: String,
    name: String,
    number: u64,
    manifest: String,
    verified: String,
    files: u64,
    bytes: u64,
    checkpoints: u64,
    last_step: Option<u64>,
}

impl BackupOut {
    /// Reads the last receipt of a run.
    pub(crate) fn of(run: &Observed) -> Option<Self> {
        if run.run.layout().foreign().is_some() {
            return None; // there is no record to say so
        }
        let Backup {
            time, url, name, number, manifest, verified, files, bytes, checkpoints, last_step, ..
        } = last_backup(&run.run.layout().record())?;
        Some(Self { time, url, name, number, manifest, verified, files, bytes, checkpoints, last_step })
    }

    /// Returns when and where the run was backed up, and the number of complete checkpoints since.
    pub(crate) fn words(&self, found: &[Checkpoint]) -> String {
        let is_new = |one: &&Checkpoint| {
            one.is_complete()
                && (one.modified() > self.time || one.step > self.last_step && one.step.is_some())
        };
        let since = found.iter().filter(is_new).count();
        let since = counted(since, "checkpoint");
        let Self { number, name, url, .. } = self;
        format!("backed up {}, {since} since (backup {number} of '{name}' in {url})", ago(self.time))
    }
}

/// Says how long ago something was.
fn ago(then: Timestamp) -> String {
    match Timestamp::now().seconds_since(then).round() {
        seconds if seconds < 1.0 => "just now".to_owned(),
        seconds => format!("{} ago", human_seconds(seconds)),
    }
}
