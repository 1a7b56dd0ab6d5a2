//! What run-exec adds to the end of an attempt: the checkpoint to resume from, the cost, and `--on-end`.

use run_checkpoint::{Program, discover_latest, latest};
use run_common::cost::of_ended_attempt;
use run_common::process::identity::Signal;
use run_common::rundir::attempts::{AttemptEnd, AttemptStart};
use run_common::rundir::environment::Variable;
use run_common::rundir::layout::Layout;
use run_common::rundir::meta::Checkpoint;
use run_common::rundir::status::Status;
use run_launch::ending;
use run_launch::inside::Inside;
use run_launch::slurm::step::signal_step;
use run_supervise::{Additions, Asked, Noticed, Script};
use std::ffi::OsString;
use std::time::Duration;

/// The end of an attempt of a run.
#[derive(Debug)]
pub(crate) struct Ending {
    pub(crate) layout: Layout,
    /// The checkpoint pattern of the run.
    pub(crate) checkpoint: Option<Checkpoint>,
    /// Shell command to execute.
    pub(crate) on_end: Option<String>,
    /// The job that makes the attempt, if one does.
    pub(crate) job: Option<Inside>,
    /// Time between SIGTERM and SIGKILL when that is ended, where it is known.
    pub(crate) kill_wait: Option<Duration>,
    /// Time before its limit at which it is signalled.
    pub(crate) warning: Duration,
}

impl run_supervise::Ending for Ending {
    fn asked(&self, noticed: Noticed) -> Option<Asked> {
        let noticed = match noticed {
            Noticed::Request => ending::Noticed::Request,
            Noticed::Signal => ending::Noticed::Signal,
            Noticed::End => ending::Noticed::End,
        };
        let ending = self.job.as_ref()?.ending(noticed, self.warning, self.kill_wait)?;
        Some(Asked { words: ending.words(), left: ending.left })
    }

    fn signal_elsewhere(&self, pid: i32, signal: Signal) -> bool {
        signal_step(pid, signal)
    }

    fn additions(&self, start: &AttemptStart, duration_s: f64) -> Additions {
        let found = discover_latest(&self.layout, self.checkpoint.as_ref(), Program::Ended);
        let found = found.unwrap_or_default();
        let latest = latest(&found).map(|checkpoint| checkpoint.path.to_string_lossy().into_owned());
        Additions { final_checkpoint: latest, cost_usd: of_ended_attempt(start, duration_s) }
    }

    fn script(&self, end: &AttemptEnd) -> Option<Script> {
        let command = self.on_end.clone()?;
        Some(Script { name: "--on-end", command, env: variables(end) })
    }
}

/// Returns the variables that describe the end.
fn variables(end: &AttemptEnd) -> Vec<Variable> {
    let told: [(&str, OsString); 4] = [
        ("RUN_STATUS", Status::from(end.status).word().into()),
        ("RUN_REASON", end.reason.clone().unwrap_or_default().into()),
        ("RUN_EXIT_CODE", end.exit_code.map_or(String::new(), |code| code.to_string()).into()),
        ("RUN_DURATION", format!("{:.0}", end.duration_s).into()),
    ];
    told.map(|(name, value)| (name.into(), Some(value))).into()
}
