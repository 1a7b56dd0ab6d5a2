//! The output: a line of JSON for each evaluation, or the paths of the tables.

use crate::job::Job;
use crate::session::Session;
use run_common::cli::out::Out;
use run_common::error::Error;
use run_common::json::json_number;
use run_common::rundir::evaluation::Measured;
use run_common::rundir::evaluations::Evaluations;
use run_common::rundir::observe::{Observed, Observer};
use run_common::rundir::status::Status;
use serde::Serialize;
use serde_json::{Map, Value};
use std::env;
use std::path::Path;

/// A line of `--json`.
#[derive(Debug, Serialize)]
struct EvaluationLine<'a> {
    /// The run's directory.
    path: &'a Path,
    run_name: &'a str,
    run_id: &'a str,
    label: &'a str,
    step: Option<u64>,
    checkpoint: &'a str,
    /// The directory of the evaluation.
    out: &'a Path,
    status: Status,
    reason: Option<&'a str>,
    /// Whether it is a new evaluation rather than an earlier one.
    evaluated: bool,
    duration_s: Option<f64>,
    rows: Option<u64>,
    /// Means over the rows.
    metrics: Option<Map<String, Value>>,
}

/// Prints to stdout.
pub(crate) struct Reporter {
    out: Out,
    json: bool,
    /// Whether the reader is still there.
    has_reader: bool,
}

impl Reporter {
    /// Creates a report of JSON, or of the paths of tables.
    pub(crate) fn new(json: bool) -> Self {
        Self { out: Out::stdout(), json, has_reader: true }
    }

    /// Returns whether the reader of the output is still there.
    pub(crate) fn has_reader(&self) -> bool {
        self.has_reader
    }

    /// Prints a line about an evaluation, for scripts.
    pub(crate) fn evaluation(
        &mut self,
        session: &Session,
        job: &Job,
        observer: &Observer,
        evaluated: bool,
    ) -> Result<(), Error> {
        if !self.json || !self.has_reader {
            return Ok(());
        }
        let dir = session.evaluations.evaluation(&job.name);
        let observed = observer.observe(&dir).ok();
        let status = observed.as_ref().map_or(Status::Failed, Observed::status);
        let measured = if status == Status::Completed { Measured::read(dir.layout()).ok() } else { None };
        let out = std::path::absolute(dir.layout().root()).unwrap_or_else(|_| dir.layout().root().to_owned());
        let line = EvaluationLine {
            path: session.run.layout().root(),
            run_name: &session.meta.run_name,
            run_id: &session.meta.run_id,
            label: session.evaluations.label(),
            step: job.checkpoint.step,
            checkpoint: &job.shown,
            out: &out,
            status,
            reason: observed.as_ref().and_then(Observed::reason),
            evaluated,
            duration_s: observed.as_ref().and_then(Observed::duration_s),
            rows: measured.as_ref().map(|measured| measured.rows),
            metrics: measured.as_ref().map(|measured| {
                measured.means().map(|(name, mean)| (name.to_owned(), json_number(mean))).collect()
            }),
        };
        match self.out.json(&line).and_then(|()| self.out.flush()) {
            Err(error) if error.is_broken_pipe() => {
                self.has_reader = false;
                Ok(())
            }
            printed => printed,
        }
    }

    /// Prints the path of a run's table, for people.
    pub(crate) fn table(&mut self, evaluations: &Evaluations) -> Result<(), Error> {
        let path = evaluations.consolidated();
        if self.json || !path.exists() {
            return Ok(());
        }
        let here = env::current_dir().unwrap_or_default();
        self.out.line(&path.strip_prefix(&here).unwrap_or(&path).to_string_lossy())
    }

    /// Flushes the output.
    pub(crate) fn finish(&mut self) -> Result<(), Error> {
        self.out.finish()
    }
}
