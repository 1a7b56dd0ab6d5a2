//! The job that this process is part of, as Slurm tells it by the environment, and why it is being ended.

use crate::contract::SLURM;
use crate::ending::Ending;
use crate::slurm::control::Control;
use run_common::rundir::attempts::JobStart;
use std::env;
use std::time::Duration;

/// A job, from within.
#[derive(Clone, Debug)]
pub struct Inside {
    /// What is recorded of it.
    pub start: JobStart,
    /// The id by which scontrol knows it alone.
    id: String,
}

impl Inside {
    /// Finds the job of this process, if it is in one.
    pub fn find() -> Option<Self> {
        let value = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        let id = value("SLURM_JOB_ID")?;
        let job = match (value("SLURM_ARRAY_JOB_ID"), value("SLURM_ARRAY_TASK_ID")) {
            (Some(array), Some(task)) => format!("{array}_{task}"),
            _ => id.clone(),
        };
        let restart = value("SLURM_RESTART_COUNT").and_then(|count| count.parse().ok()).unwrap_or(0);
        let node = value("SLURMD_NODENAME");
        Some(Self { start: JobStart { launcher: SLURM.to_owned(), id: job, restart, node }, id })
    }

    /// Asks Slurm why the job is being ended, which it is by SIGTERM; `None` where nothing ends it, or Slurm does not
    /// say. `warning` is the time before its limit at which the job is signalled, and `kill_wait` the time until
    /// processes are killed that were asked to end.
    pub fn ending(&self, warning: Duration, kill_wait: Option<Duration>) -> Option<Ending> {
        Control::show(&self.id)?.ending(warning, kill_wait)
    }

    /// Has Slurm start the job again, once this process has ended; says why not, if so.
    pub fn requeue(&self) -> Result<(), String> {
        Control::requeue(&self.id)
    }
}
