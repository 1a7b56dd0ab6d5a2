//! Evaluations that another system made of a run's checkpoints.

use std::path::PathBuf;

/// The evaluations of a run under one label: tables, usually with a row per question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignEvaluations {
    /// The label, such as the name of the data set.
    pub label: String,
    /// The tables (CSV), by step; those of `final` and the like come last, with `None`.
    pub tables: Vec<(Option<u64>, PathBuf)>,
    /// Whether there were too many files, so that tables may be missing.
    pub is_cut: bool,
    /// What cannot be read and why, a line each; tables may be missing then, too.
    pub unread: Vec<String>,
}
