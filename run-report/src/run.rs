//! A run in a report, with its records.

use crate::fault::Fault;
use run_common::error::Error;
use run_common::rundir::attempts::Attempts;
use run_common::rundir::evaluations::{Evaluations, Finder};
use run_common::rundir::meta::Meta;
use run_common::rundir::observe::{Observed, Observer};
use run_common::rundir::open::RunDir;
use run_metrics::names::is_metric;
use run_metrics::read::RowCounts;
use std::io;

/// A run in a report.
#[derive(Debug)]
pub(crate) struct Run {
    /// Its name: that of its directory, preceded by the batch; its path if two runs have the same name.
    pub(crate) name: String,
    pub(crate) seen: Observed,
    pub(crate) meta: Meta,
    /// Its attempts, from attempts.jsonl.
    pub(crate) attempts: Attempts,
    /// The evaluations of its checkpoints.
    pub(crate) evaluations: Vec<Evaluations>,
}

impl Run {
    /// Reads the records of a run, without secrets.
    pub(crate) fn read(
        run: &RunDir,
        name: String,
        observer: &Observer,
        finder: &Finder,
    ) -> Result<Self, Error> {
        let layout = run.layout();
        let meta = Meta::shown(layout)?;
        let attempts =
            Attempts::shown(layout).map_err(|error| Error::io("read", &layout.attempts(), error))?;
        Ok(Self {
            name,
            seen: observer.observe(run)?,
            evaluations: finder.of_run(run, &meta.run_id),
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
    }

    /// Returns the faults found while reading the metrics of the run, including what was left out.
    pub(crate) fn faults(&self, read: io::Result<RowCounts>) -> Vec<Fault> {
        Fault::of(self.seen.run.layout().root(), read.map(RowCounts::into))
    }
}
