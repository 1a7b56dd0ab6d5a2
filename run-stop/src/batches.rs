//! The active runs of a batch, or of all batches below a directory, and the request that no other runs start.

use run_common::cli::operands::Operand;
use run_common::error::Error;
use run_common::message::{complain, warn};
use run_common::rundir::batch::BatchDir;
use run_common::rundir::find::{Found, find};
use run_common::rundir::observe::Observer;
use run_common::rundir::open::RunDir;
use run_common::rundir::status::Status;
use run_common::rundir::stop::StopRequest;
use std::path::Path;

/// Closes batches: their other runs do not start.
pub(crate) struct Batches<'a> {
    pub(crate) observer: &'a Observer,
    /// The request to each batch.
    pub(crate) request: StopRequest,
}

impl Batches<'_> {
    /// Returns the run that an operand names. For a batch, closes the batch and returns its active runs.
    pub(crate) fn expand(&self, operand: Result<Operand, Error>) -> Vec<Result<RunDir, Error>> {
        let batch = match operand {
            Ok(Operand::Run(run)) => return vec![Ok(run)],
            Ok(Operand::Batch(batch)) => batch,
            Ok(Operand::Others(_, runs)) => return self.active(runs),
            Err(error) => return vec![Err(error)],
        };
        let shown = batch.layout().root().display();
        let runs = match batch.runs() {
            Ok(runs) => runs,
            Err(error) => return vec![Err(error)],
        };
        let has_ended =
            |run: &RunDir| self.observer.observe(run).is_ok_and(|observed| observed.status().has_ended());
        if runs.iter().all(has_ended) {
            warn(&format!("all runs of '{shown}' have already ended"));
            return Vec::new();
        }
        if let Err(error) = self.close(&batch) {
            return vec![Err(error)];
        }
        let active = self.active(runs);
        if active.is_empty() {
            warn(&format!("no run of '{shown}' is active, and none will start"));
        }
        active
    }

    /// Returns the active runs below a directory, and closes their batches.
    pub(crate) fn active_below(&self, runs_dir: &Path) -> Vec<Result<RunDir, Error>> {
        let mut runs = Vec::new();
        let mut faults = Vec::new();
        for found in find(runs_dir) {
            match found {
                Found::Run(run, ()) => runs.push(run),
                found => faults.extend(found.fault(runs_dir).map(Err)),
            }
        }
        let mut active = self.active(runs);
        let mut closed: Vec<BatchDir> = Vec::new();
        for run in active.iter().flatten() {
            let Some(batch) = BatchDir::of(run).filter(|batch| !closed.contains(batch)) else { continue };
            if let Err(error) = self.close(&batch) {
                complain(&error);
            }
            closed.push(batch);
        }
        active.extend(faults);
        active
    }

    /// Returns the runs that are or may be active.
    fn active(&self, runs: impl IntoIterator<Item = RunDir>) -> Vec<Result<RunDir, Error>> {
        let is_active = |status| matches!(status, Status::Running | Status::Queued | Status::Stale);
        runs.into_iter()
            .filter_map(|run| match self.observer.observe(&run) {
                Ok(observed) => is_active(observed.status()).then_some(Ok(run)),
                Err(error) => Some(Err(error)),
            })
            .collect()
    }

    fn close(&self, batch: &BatchDir) -> Result<(), Error> {
        let stop = batch.layout().stop();
        self.request.write(&stop).map_err(|error| Error::io("write", &stop, error))
    }
}
