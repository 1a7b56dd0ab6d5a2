//! Evaluations of the checkpoints of a run that another system made.

use std::path::PathBuf;

/// The evaluations of one run under one label: a table each, one row a question or so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignEvaluations {
    /// What they are called, such as the data set.
    pub label: String,
    /// The tables (CSV), by step; the last have `None`, for `final` and the like.
    pub tables: Vec<(Option<u64>, PathBuf)>,
    /// There are too many files: some tables may be missing.
    pub is_cut: bool,
}
