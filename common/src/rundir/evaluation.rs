//! The record of one evaluation: what is evaluated, and what was measured. Written by run-eval, read by
//! whoever shows a run.

use super::layout::Layout;
use super::open::{Document, read_document};
use crate::error::Error;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// `.eval/meta.json`: what is evaluated, and how. Written before the evaluation starts.
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
    /// What the evaluations of this kind are called.
    pub label: String,
    /// The checkpoint's step, if it has one.
    pub step: Option<u64>,
    /// The epoch that its step is counted in, where the steps of the run begin again with each.
    #[serde(default)]
    pub epoch: Option<u64>,
    /// The checkpoint's path, below the run where it lies there.
    pub checkpoint: String,
    /// What was evaluated, so that a checkpoint which has changed is told from it.
    pub content: Content,
    /// The command with its placeholders, secrets redacted.
    pub command: Vec<String>,
    /// When it was decided to evaluate it.
    pub created: Timestamp,
    /// Version of the suite.
    pub tool_version: String,
}

/// A checkpoint's content, as far as a look at its files tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// Lengths of all its files together.
    pub bytes: u64,
    /// How many files it has.
    pub files: u64,
    /// Newest time of modification, in nanoseconds since 1970.
    pub modified_ns: i64,
}

/// `.eval/metrics.json`: figures of what an evaluation has measured, so that nobody needs to read tables to
/// tell how it went. It is written when the command has ended well, before that end is recorded: it is there
/// for each that has completed, and may be for one that died.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Measured {
    /// Version of the record.
    pub schema: u32,
    /// The checkpoint's step, if it has one.
    pub step: Option<u64>,
    /// Number of rows.
    pub rows: u64,
    /// Figures over the rows of each column that holds numbers and nothing else and does not count the rows,
    /// as status.json of a run has them, in the order of the columns.
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

    /// Returns the mean of each metric over the rows, NaN where none is finite.
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
