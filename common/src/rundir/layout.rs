//! The name of every file in a run directory, and in the directory of a batch.

use std::path::{Path, PathBuf};

/// The directory of the suite's own record, below a run.
pub const RECORD_DIR: &str = ".run";

/// The paths of a run. It says nothing of whether they exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    root: PathBuf,
}

/// The paths of a batch. It says nothing of whether they exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchLayout {
    root: PathBuf,
}

macro_rules! files {
    ($layout:ident: $($(#[doc = $doc:literal])+ $name:ident = $file:literal;)+) => {
        impl $layout {
            /// Names the files below `root`.
            pub fn new(root: impl Into<PathBuf>) -> Self {
                Self { root: root.into() }
            }

            /// Returns the directory itself.
            pub fn root(&self) -> &Path {
                &self.root
            }

            /// Returns its name: the last part of its path.
            pub fn name(&self) -> String {
                match self.root.file_name() {
                    Some(name) => name.to_string_lossy().into_owned(),
                    None => self.root.to_string_lossy().into_owned(),
                }
            }

            $($(#[doc = $doc])+ pub fn $name(&self) -> PathBuf { self.root.join($file) })+
        }
    };
}

files! { Layout:
    /// The directory of the record.
    record = ".run";
    /// Identity and provenance, written once.
    meta = ".run/meta.json";
    /// The difference between the working tree and its commit at creation.
    patch = ".run/git.patch";
    /// Held for the life of an attempt.
    lock = ".run/lock";
    /// The supervisor's pid, for people.
    pid = ".run/pid";
    /// The state of the current attempt.
    status = ".run/status.json";
    /// A start line and an end line for every attempt.
    attempts = ".run/attempts.jsonl";
    /// How the last attempt ended.
    result = ".run/result.json";
    /// Metric rows read off the command's output.
    scraped = ".run/scraped.jsonl";
    /// CPU, memory and GPU use over time.
    resources = ".run/resources.jsonl";
    /// The command's stdout, byte for byte.
    stdout = "stdout.log";
    /// The command's stderr, byte for byte.
    stderr = "stderr.log";
    /// Both, line by line, with the time of each.
    combined = "combined.log";
    /// Metric rows that the command writes.
    metrics = "metrics.jsonl";
    /// Exists when a stop has been asked for.
    stop = "stop";
}

files! { BatchLayout:
    /// The directory of the record.
    record = ".batch";
    /// What the batch is, written once.
    batch = ".batch/batch.json";
    /// Held while the views below are rewritten.
    lock = ".batch/lock";
    /// What happened, a line an event, for people.
    master_log = "master_log.txt";
    /// What became of the runs, for people.
    summary = "experiment_summary.json";
    /// Exists when a stop of the whole batch has been asked for.
    stop = "stop";
}

/// Names that no run of a batch may have: its own files lie there.
pub const BATCH_FILES: [&str; 3] = ["master_log.txt", "experiment_summary.json", "stop"];
