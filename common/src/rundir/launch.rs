//! A run that a launcher starts on another machine: `launch.json` names the job, and `owner.json` the process
//! of a job that may write to the run. A job that submits its run again writes both files.

use super::SCHEMA;
use super::layout::Layout;
use super::open::{Document, is_missing, read_document};
use super::record::document;
use crate::error::{Error, Exit};
use crate::fsio::atomic::{Durability, replace};
use crate::process::identity::ProcessId;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The launcher of a run that waits for free GPUs of the submitter's machine, without a job. No launcher has this name.
pub const FREE_GPUS: &str = "free GPUs";

/// The last submission of a run to a launcher.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Launch {
    /// Version of the record.
    pub schema: u32,
    /// The run's id.
    pub run_id: String,
    /// Distinguishes this submission from other submissions of the run.
    pub submission: String,
    /// `slurm`, the NAME of an executable `run-launch-NAME`, or [`FREE_GPUS`].
    pub launcher: String,
    /// Arguments of the launcher.
    pub args: Vec<String>,
    /// The launcher's id of the job; null until the launcher has reported it.
    pub job: Option<String>,
    /// The run whose record has the list of runs for which the launcher had no room, if there were any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub list: Option<PathBuf>,
    /// When the run was handed over.
    pub time: Timestamp,
    /// The process that handed the run over.
    pub submitter: ProcessId,
    /// Seconds between the launcher's SIGTERM and SIGKILL when it ends a job, if known.
    #[serde(default)]
    pub kill_wait_s: Option<f64>,
    /// Whether to start a job again if it is ended before its run is complete.
    #[serde(default)]
    pub requeue: bool,
    /// Whether the run may start over if there is no checkpoint to resume from.
    #[serde(default)]
    pub restart_ok: bool,
    /// Number of times that the job itself has submitted its run again.
    #[serde(default)]
    pub resubmitted: u32,
    /// Time of the last such submission.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resubmit_time: Option<Timestamp>,
    /// Number of attempts before the submission.
    #[serde(default)]
    pub attempts: u32,
}

/// The process that may write to a submitted run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Owner {
    /// Version of the record.
    pub schema: u32,
    /// The submission that the process was started for.
    pub submission: String,
    /// The launcher's id of the job.
    pub job: Option<String>,
    /// Number of earlier starts of the job by the launcher.
    pub restart: u32,
    /// Time of the claim.
    pub time: Timestamp,
    /// The process.
    #[serde(flatten)]
    pub process: ProcessId,
}

impl Document for Launch {
    fn schema(&self) -> u32 {
        self.schema
    }
}

impl Document for Owner {
    fn schema(&self) -> u32 {
        self.schema
    }
}

impl Launch {
    /// Reads the last submission of a run, if there was one.
    pub fn read(layout: &Layout) -> Result<Option<Self>, Error> {
        read_if_there(&layout.launch())
    }

    /// Returns the id of the user who wrote the submission.
    pub fn writer(layout: &Layout) -> Option<u32> {
        fs::symlink_metadata(layout.launch()).ok().map(|file| file.uid())
    }

    /// Removes the submission if it has not led to a job.
    pub fn remove(layout: &Layout) -> Result<(), Error> {
        let path = layout.launch();
        fs::remove_file(&path).map_err(|error| Error::io("remove", &path, error))
    }

    /// Writes the submission, which then survives a power cut. Called by the submitting process.
    pub fn write(&self, layout: &Layout) -> Result<(), Error> {
        self.write_as(layout, Durability::Power)
    }

    /// Writes the submission with this durability; the caller may sync the file system later.
    pub fn write_as(&self, layout: &Layout, durability: Durability) -> Result<(), Error> {
        let path = layout.launch();
        let written = document(self).and_then(|bytes| replace(&path, &bytes, durability));
        written.map_err(|error| Error::io("write", &path, error))
    }
}

impl Owner {
    /// Creates the claim of the calling process.
    pub fn myself(submission: String, job: Option<String>, restart: u32) -> Self {
        let (time, process) = (Timestamp::now(), ProcessId::myself());
        Self { schema: SCHEMA, submission, job, restart, time, process }
    }

    /// Reads the last claim of a run, if there is one.
    pub fn read(layout: &Layout) -> Result<Option<Self>, Error> {
        // A network file system may answer from its cache; listing the directory refreshes the cache.
        let _ = fs::read_dir(layout.record()).map(Iterator::count);
        read_if_there(&layout.owner())
    }

    /// Claims the run: its previous owner notices this at its next heartbeat and gives the run up. Fails for a
    /// process whose job was started again meanwhile.
    pub fn claim(&self, layout: &Layout) -> Result<(), Error> {
        let path = layout.owner();
        let is_later = |now: &Self| {
            now.submission == self.submission && now.job == self.job && now.restart > self.restart
        };
        if let Some(now) = Self::read(layout)?.filter(is_later) {
            let shown = layout.root().display();
            return Err(Error::new(Exit::Busy, format!("cannot start '{shown}'")).because(now.has_it()));
        }
        let written = document(self).and_then(|bytes| replace(&path, &bytes, Durability::Power));
        written.map_err(|error| Error::io("write", &path, error))
    }

    /// Returns who has claimed the run since, if another process has.
    pub fn successor(&self, layout: &Layout) -> Option<String> {
        let is_other = |now: &Self| now.submission != self.submission || now.process != self.process;
        Some(Self::read(layout).ok().flatten().filter(is_other)?.has_it())
    }

    fn has_it(&self) -> String {
        let job = self.job.as_ref().map_or_else(|| "another job".to_owned(), |job| format!("job {job}"));
        let again = if self.restart > 0 { format!(", restart {}", self.restart) } else { String::new() };
        format!("{job}{again} on {} has the run now", self.process.host)
    }
}

/// Reads a file of the record that few runs have.
fn read_if_there<T: Document>(path: &Path) -> Result<Option<T>, Error> {
    match fs::symlink_metadata(path) {
        Err(error) if is_missing(&error) => Ok(None),
        _ => read_document(path).map(Some),
    }
}
