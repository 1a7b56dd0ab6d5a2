//! The name of every file in a run directory.

use std::path::{Path, PathBuf};

/// The directory of the suite's own record, below a run.
pub const RECORD_DIR: &str = ".run";

/// The paths of a run. It says nothing of whether they exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    root: PathBuf,
}

macro_rules! files {
    ($($(#[doc = $doc:literal])+ $name:ident = $file:literal;)+) => {
        impl Layout {
            $($(#[doc = $doc])+ pub fn $name(&self) -> PathBuf { self.root.join($file) })+
        }
    };
}

files! {
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

impl Layout {
    /// Names the files of the run at `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Returns the run directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the run's name: the last part of its path.
    pub fn name(&self) -> String {
        match self.root.file_name() {
            Some(name) => name.to_string_lossy().into_owned(),
            None => self.root.to_string_lossy().into_owned(),
        }
    }
}
