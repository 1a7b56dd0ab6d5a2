//! The names of all files in a run directory, and in the directory of a batch.

use super::foreign::Foreign;
use crate::fsio::join;
use std::path::{Path, PathBuf};

/// The directory of the suite's own record, below a run.
pub const RECORD_DIR: &str = ".run";

/// The directory of the record of a batch, below the batch.
pub(super) const BATCH_DIR: &str = ".batch";

/// The directory of the record of an evaluation, which has the structure of a run's record.
pub(crate) const EVAL_RECORD_DIR: &str = ".eval";

/// The paths of a run or an evaluation; the files need not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    root: PathBuf,
    record: &'static str,
    /// A file of metric rows that is read instead of the run's own metrics.
    rows: Option<MadeRows>,
    /// The layout of a run that another system made.
    foreign: Option<Foreign>,
}

/// A file of JSON lines that is read instead of the metrics of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MadeRows {
    /// The file.
    pub path: PathBuf,
    /// Offsets at which the attempts after the first begin.
    pub begun: Vec<u64>,
}

/// The paths of a batch; the files need not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchLayout {
    root: PathBuf,
}

impl Layout {
    /// Returns the paths of the run `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), record: RECORD_DIR, rows: None, foreign: None }
    }

    /// Returns the paths of the evaluation `root`.
    pub fn of_evaluation(root: impl Into<PathBuf>) -> Self {
        Self { record: EVAL_RECORD_DIR, ..Self::new(root) }
    }

    /// Returns the paths of the run `root` of another system.
    pub(super) fn of_foreign(root: impl Into<PathBuf>, foreign: Foreign) -> Self {
        Self { foreign: Some(foreign), ..Self::new(root) }
    }

    /// Returns the layout of a run that another system made; `None` for a run of the suite.
    pub fn foreign(&self) -> Option<Foreign> {
        self.foreign
    }

    /// Returns the same paths for another path of the run.
    pub(super) fn moved(&self, root: PathBuf) -> Self {
        Self { root, ..self.clone() }
    }

    /// Makes readers use a file of JSON lines instead of the metrics of the run.
    #[must_use]
    pub fn with_rows(self, rows: MadeRows) -> Self {
        Self { rows: Some(rows), ..self }
    }

    /// Returns the file that is read instead of the metrics of the run, if there is one.
    pub fn rows(&self) -> Option<&MadeRows> {
        self.rows.as_ref()
    }

    /// The directory of the record.
    pub fn record(&self) -> PathBuf {
        self.below_root(self.record)
    }

    fn below_record(&self, file: &str) -> PathBuf {
        join([&self.root, Path::new(self.record), Path::new(file)])
    }
}

impl BatchLayout {
    /// Returns the paths of the batch `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }
}

macro_rules! root {
    ($layout:ident) => {
        impl $layout {
            /// Returns the directory itself.
            pub fn root(&self) -> &Path {
                &self.root
            }

            /// Returns the name, which is the last part of the path.
            pub fn name(&self) -> String {
                match self.root.file_name() {
                    Some(name) => name.to_string_lossy().into_owned(),
                    None => self.root.to_string_lossy().into_owned(),
                }
            }

            fn below_root(&self, file: &str) -> PathBuf {
                join([&self.root, Path::new(file)])
            }
        }
    };
}

root!(Layout);
root!(BatchLayout);

macro_rules! files {
    ($layout:ident, $below:ident: $($(#[doc = $doc:literal])+ $name:ident = $file:literal;)+) => {
        impl $layout {
            $($(#[doc = $doc])+ pub fn $name(&self) -> PathBuf { self.$below($file) })+
        }
    };
}

files! { Layout, below_record:
    /// Identity and provenance, written once.
    meta = "meta.json";
    /// The difference between the working tree and its commit at creation.
    patch = "git.patch";
    /// Small source files that git does not track, as a patch, at creation.
    untracked = "untracked.patch";
    /// The packages and the machine of the last attempt.
    environment = "environment.json";
    /// Held for the life of an attempt.
    lock = "lock";
    /// The supervisor's pid, for people.
    pid = "pid";
    /// The state of the current attempt.
    status = "status.json";
    /// A start line and an end line for every attempt.
    attempts = "attempts.jsonl";
    /// The end of the last attempt.
    result = "result.json";
    /// Metric rows read from the command's output.
    scraped = "scraped.jsonl";
    /// The steps of checkpoints that programs overwrite in place.
    overwritten = "overwritten.json";
    /// The job that is to execute the run, if it was submitted to a launcher.
    launch = "launch.json";
    /// Runs of a list for which its launcher had no room, in the record of the last of them.
    waiting = "waiting.json";
    /// Held while some of these runs are submitted.
    waiting_lock = "waiting.lock";
    /// The process of a job that may write to the run.
    owner = "owner.json";
    /// Changes of the note and the tags after the creation.
    notes = "notes.jsonl";
    /// CPU, memory and GPU use over time.
    resources = "resources.jsonl";
    /// Figures of an evaluation's results.
    measured = "metrics.json";
}

files! { Layout, below_root:
    /// The command's stdout, byte for byte.
    stdout = "stdout.log";
    /// The command's stderr, byte for byte.
    stderr = "stderr.log";
    /// Both streams, line by line, each with its time.
    combined = "combined.log";
    /// Metric rows that the command writes.
    metrics = "metrics.jsonl";
    /// Exists if a stop was requested.
    stop = "stop";
}

files! { BatchLayout, below_root:
    /// The directory of the record.
    record = ".batch";
    /// Identity and provenance of the batch, written once.
    batch = ".batch/batch.json";
    /// Held while the views below are rewritten.
    lock = ".batch/lock";
    /// Events, one per line, for people.
    master_log = "master_log.txt";
    /// The state of all runs, for people.
    summary = "experiment_summary.json";
    /// Exists if a stop of the whole batch was requested.
    stop = "stop";
}

/// Names that runs of a batch cannot have, because the batch uses them.
pub const BATCH_FILES: [&str; 3] = ["master_log.txt", "experiment_summary.json", "stop"];
