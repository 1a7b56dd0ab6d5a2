//! A run in a report, with its records.

use crate::fault::Fault;
use run_common::error::Error;
use run_common::fsio::open_regular;
use run_common::rundir::attempts::Attempts;
use run_common::rundir::evaluations::{Evaluations, Finder};
use run_common::rundir::foreign::{Foreign, ForeignEvaluations};
use run_common::rundir::meta::Meta;
use run_common::rundir::observe::{Observed, Observer};
use run_common::rundir::open::RunDir;
use run_metrics::evaluated::measure;
use run_metrics::names::is_metric;
use run_metrics::read::RowCounts;
use serde_json::{Map, Value};
use std::io;
use std::path::PathBuf;

/// A run in a report.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    /// Its name: that of its directory, preceded by the batch; its path if two runs have the same name.
    pub(crate) name: String,
    pub(crate) seen: Observed,
    pub(crate) meta: Meta,
    /// Its attempts, from attempts.jsonl.
    pub(crate) attempts: Attempts,
    /// The evaluations of its checkpoints.
    pub(crate) evaluations: Vec<Evaluations>,
    /// What another system evaluated them for.
    pub(crate) foreign_evaluations: Vec<ForeignEvaluations>,
}

impl Run {
    /// Reads the records of a run, without secrets.
    pub(crate) fn read(
        run: &RunDir,
        name: String,
        observer: &Observer,
        finder: &Finder,
    ) -> Result<Self, Error> {
        let (layout, seen) = (run.layout(), observer.observe(run)?);
        let (meta, attempts) = (seen.meta()?, seen.attempts()?);
        Ok(Self {
            name,
            evaluations: finder.of_run(run, &meta.run_id),
            foreign_evaluations: Foreign::origin(layout, &meta)
                .map(|foreign| foreign.evaluations(layout.root()))
                .unwrap_or_default(),
            seen,
            meta,
            attempts,
        })
    }

    /// Returns its absolute path.
    pub(crate) fn path(&self) -> String {
        self.seen.run.absolute().to_string_lossy().into_owned()
    }

    /// Visits the results of its evaluations, by label and in the order of steps, like metrics of the run: a
    /// name such as `gsm8k/accuracy`, the step, and the mean over the rows.
    pub(crate) fn measured(&self, each: &mut dyn FnMut(&str, f64, f64)) {
        for evaluations in &self.evaluations {
            for (step, measured) in evaluations.measured() {
                for (name, mean) in measured.means().filter(|(name, _)| is_metric(name)) {
                    #[expect(clippy::cast_precision_loss, reason = "steps are far below 2^53")]
                    each(&format!("{}/{name}", evaluations.label()), step as f64, mean);
                }
            }
        }
        for evaluations in &self.foreign_evaluations {
            for (step, metrics) in measured(evaluations, self.seen.recorded.step()) {
                for (name, figures) in metrics.iter().filter(|(name, _)| is_metric(name)) {
                    let mean = figures["mean"].as_f64().unwrap_or(f64::NAN);
                    each(&format!("{}/{name}", evaluations.label), step, mean);
                }
            }
        }
    }

    /// Returns the faults found while reading the metrics of the run, including what was left out.
    pub(crate) fn faults(&self, read: io::Result<RowCounts>) -> Vec<Fault> {
        Fault::of(self.seen.run.layout().root(), read.map(RowCounts::into))
    }
}

/// Returns what was measured of the checkpoints, in the order of the steps; the final checkpoint has the last step of
/// the run. Damaged tables are left out.
fn measured(evaluations: &ForeignEvaluations, last: Option<f64>) -> Vec<(f64, Map<String, Value>)> {
    let measured = |(step, path): &(Option<u64>, PathBuf)| {
        #[expect(clippy::cast_precision_loss, reason = "steps are far below 2^53")]
        let step = step.map(|step| step as f64).or(last)?;
        let (_, metrics) = measure(open_regular(path).ok()??).ok()?;
        Some((step, metrics))
    };
    let mut all: Vec<_> = evaluations.tables.iter().filter_map(measured).collect();
    all.sort_by(|(one, _), (other, _)| one.total_cmp(other));
    all
}
