//! The record of an evaluation: its subject and its results. Written by run-eval, read by every tool that
//! shows a run.

use super::layout::Layout;
use super::open::{Document, read_document};
use crate::error::Error;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// `.eval/meta.json`: the subject of the evaluation. Written before the evaluation starts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Evaluation {
    /// Version of the record.
    pub schema: u32,
    /// `UUIDv7` of the evaluation, which its processes carry as `RUN_ID`.
    pub eval_id: String,
    /// The run's id, as in its meta.json.
    pub run_id: String,
    /// The run's name.
    pub run_name: String,
    /// The label of the evaluations.
    pub label: String,
    /// The checkpoint's step, if it has one.
    pub step: Option<u64>,
    /// The epoch of its step, if the steps of the run restart in each epoch.
    #[serde(default)]
    pub epoch: Option<u64>,
    /// The checkpoint's path, relative to the run if it is below the run.
    pub checkpoint: String,
    /// The fingerprint of the evaluated content, to notice a changed checkpoint.
    pub content: Content,
    /// The command with its placeholders, secrets redacted.
    pub command: Vec<String>,
    /// Time of the decision to evaluate it.
    pub created: Timestamp,
    /// Version of the suite.
    pub tool_version: String,
}

/// The fingerprint of a checkpoint's content, from the metadata of its files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// Total size of its files, in bytes.
    pub bytes: u64,
    /// Number of its files.
    pub files: u64,
    /// Newest modification time, in nanoseconds since 1970.
    pub modified_ns: i64,
}

/// `.eval/metrics.json`: figures of an evaluation, so that readers need not read tables. Written after the
/// command has succeeded, before this end is recorded: it exists for each completed evaluation, and may exist
/// for one that died.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Measured {
    /// Version of the record.
    pub schema: u32,
    /// The checkpoint's step, if it has one.
    pub step: Option<u64>,
    /// Number of rows.
    pub rows: u64,
    /// Figures over the rows of each column that contains only numbers and does not number the rows, as in
    /// the status.json of a run, in the order of the columns.
    pub metrics: Map<String, Value>,
}

impl Document for Measured {
    fn schema(&self) -> u32 {
        self.schema
    }
}

impl Measured {
    /// Reads the figures of an evaluation.
    pub fn read(layout: &Layout) -> Result<Self, Error> {
        read_document(&layout.measured())
    }

    /// Returns the mean of each metric over the rows, NaN if no value is finite.
    pub fn means(&self) -> impl Iterator<Item = (&str, f64)> {
        self.metrics
            .iter()
            .map(|(name, figures)| (name.as_str(), figures["mean"].as_f64().unwrap_or(f64::NAN)))
    }
}

impl Document for Evaluation {
    fn schema(&self) -> u32 {
        self.schema
    }
}

impl Evaluation {
    /// Reads the meta.json of an evaluation.
    pub fn read(layout: &Layout) -> Result<Self, Error> {
        read_document(&layout.meta())
    }
}
