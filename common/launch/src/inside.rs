//! The job that this process is part of, which Slurm describes in the environment, and why the job is being ended.

use crate::contract::SLURM;
use crate::ending::{Ending, Noticed, Why};
pub use crate::slurm::control::NOTES;
use crate::slurm::control::{Control, Note, cancelled_by, noted};
use run_common::rundir::attempts::JobStart;
use run_common::rundir::launch::Launch;
use std::env;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

/// The variable by which a launcher may tell a job its id.
pub const JOB: &str = "RUN_LAUNCH_JOB";

/// Returns the job that another launcher than Slurm has started. The launcher may tell the id before it has reported it.
pub fn of_launcher(launch: &Launch) -> Option<JobStart> {
    let id = env::var(JOB).ok().filter(|id| !id.is_empty()).or_else(|| launch.job.clone())?;
    Some(JobStart { launcher: launch.launcher.clone(), id, restart: 0, node: None, gpus: None })
}

/// Number of times that Slurm is asked whether it starts the job again.
const LOOKS: u32 = 3;

/// The job of this process.
#[derive(Clone, Debug)]
pub struct Inside {
    /// The record of the job. Its id is `ARRAY_TASK` for a task of an array: the task that starts last has the array's
    /// own id in `SLURM_JOB_ID`, by which Slurm's commands mean all tasks.
    pub start: JobStart,
    /// The file in which Slurm notes why it ends the job, and the file's length before.
    notes: Option<(PathBuf, u64)>,
}

impl Inside {
    /// Finds the job of this process, if it is in one.
    pub fn find() -> Option<Self> {
        let value = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        let id = value("SLURM_JOB_ID")?;
        let job = match (value("SLURM_ARRAY_JOB_ID"), value("SLURM_ARRAY_TASK_ID")) {
            (Some(array), Some(task)) => format!("{array}_{task}"),
            _ => id,
        };
        let restart = value("SLURM_RESTART_COUNT").and_then(|count| count.parse().ok()).unwrap_or(0);
        let node = value("SLURMD_NODENAME");
        let gpus = value("SLURM_JOB_GPUS");
        let notes = env::var_os(NOTES).map(PathBuf::from).map(|path| {
            let length = fs::metadata(&path).map_or(0, |file| file.len());
            (path, length)
        });
        Some(Self { start: JobStart { launcher: SLURM.to_owned(), id: job, restart, node, gpus }, notes })
    }

    /// Finds out why the job is being ended; `None` if nothing ends it, or if Slurm does not say. `warning` is the
    /// time between the signal to the job and its time limit, and `kill_wait` the time between SIGTERM and SIGKILL.
    pub fn ending(&self, noticed: Noticed, warning: Duration, kill_wait: Option<Duration>) -> Option<Ending> {
        let note = self.notes.as_ref().and_then(|(path, from)| noted(path, *from));
        let ends = |why| {
            let user = (why == Why::Cancelled).then(|| cancelled_by(&self.start.id)).flatten();
            Some(Ending { why, user, left: kill_wait })
        };
        match (note, noticed) {
            (Some(Note::Why(why)), _) => return ends(why),
            (None, Noticed::End) => return None,
            (Some(Note::Signal) | None, _) => {}
        }
        let shown = Control::show(&self.start.id)?;
        if shown.is_near_its_limit(warning) && (note.is_some() || noticed == Noticed::Request) {
            return Some(Ending { why: Why::TimeLimit, user: None, left: shown.left() });
        }
        let cancelled = note.map(|_| Why::Cancelled);
        shown.why(self.start.restart).or(cancelled).and_then(ends)
    }

    /// Returns whether Slurm will start the job again by itself; `None` if it does not say.
    pub fn returns(&self) -> Option<bool> {
        let shown = (0..LOOKS).find_map(|_| Control::show(&self.start.id))?;
        Some(shown.returns(self.start.restart))
    }

    /// Makes Slurm end the job and start it again; returns why this is impossible, if it is.
    pub fn requeue(&self) -> Result<(), String> {
        Control::requeue(&self.start.id)
    }

    /// Returns whether the job is a task of an array.
    pub fn is_task(&self) -> bool {
        self.start.id.contains('_')
    }

    /// Removes Slurm's file besides the job's output, when the job ends.
    pub fn clean(&self) {
        if let Some((path, _)) = &self.notes
            && self.is_task()
        {
            let _ = fs::remove_file(path); // it is not needed any more
        }
    }
}
