//! A job whose attempt has ended before the run is complete has itself started again.

use crate::held_run::HeldRun;
use crate::launch::submit::JOB_LOG;
use crate::options::{Executed, Options};
use crate::settings::Settings;
use run_common::error::{Error, Exit};
use run_common::message::{complain, warn};
use run_common::rundir::attempts::AttemptEnd;
use run_common::rundir::launch::Launch;
use run_common::rundir::open::RunDir;
use run_common::rundir::recorded::{Recorded, State};
use run_launch::contract::{Job, SLURM};
use run_launch::ending::Why;
use run_launch::inside::Inside;
use run_launch::launcher::launcher;
use std::env;
use std::fmt::Display;
use std::path::Path;

/// How often a job submits its run again, at most.
const MOST: u32 = 20;

/// Why a run is not started again.
pub(crate) const NO_CHECKPOINT: &str = "there is no complete checkpoint to resume from, and no --restart-ok";

/// Returns whether a reason is one of the scheduler's.
pub(crate) fn is_of_scheduler(reason: &str) -> bool {
    [Why::TimeLimit, Why::Preempted, Why::Requeued, Why::Node]
        .iter()
        .any(|why| reason.starts_with(why.words()))
}

/// Has the job started again after the end of its attempt, if that is wanted. Where that cannot be, says why, and
/// records the outcome of the attempt.
pub(crate) fn after(run: &RunDir, launch: &Launch, inside: Option<&Inside>, options: &Options) {
    let Some(inside) = inside else { return };
    if launch.requeue
        && launch.launcher == SLURM
        && let Ok(ended) = Recorded::read(run.layout())
        && let Err(error) = try_after(run, launch, inside, options)
    {
        complain(&error);
        let options = Options { executed: Executed::Unfinished, ..options.clone() };
        if let Ok(held) = HeldRun::take(run, &options)
            && matches!(held.recorded.state, State::Queued(_))
            && let Err(error) = held.active.write(&ended)
        {
            complain(&error);
        }
    }
    inside.clean();
}

fn try_after(run: &RunDir, launch: &Launch, inside: &Inside, options: &Options) -> Result<(), Error> {
    let layout = run.layout();
    let recorded = Recorded::read(layout)?;
    let ended =
        recorded.ended().and_then(|_| AttemptEnd::read(layout, &recorded.run_id, recorded.attempts()));
    let Some(end) = ended else { return Ok(()) };
    let reason = end.reason.unwrap_or_default();
    if !is_of_scheduler(&reason) {
        return Ok(());
    }
    let shown = layout.root().display();
    if end.final_checkpoint.is_none() && !launch.restart_ok {
        warn(&format!("'{shown}' is not started again: {NO_CHECKPOINT}"));
        return Ok(());
    }
    let queue = |words: String| {
        // A stop that is requested now finds a waiting run.
        let options = Options { executed: Executed::Unfinished, ..options.clone() };
        let held = HeldRun::take(run, &options)?;
        held.active.queue(&held.recorded, None, Some(words))
    };
    let started_again = format!("{reason}; job {} is to be started again", inside.start.id);
    if reason.starts_with(Why::TimeLimit.words()) {
        queue(started_again)?;
        inside.requeue().map_err(|why| why_not(&shown, why))
    } else if inside.returns() {
        queue(started_again)
    } else if launch.resubmitted < MOST {
        let resubmitted = Launch { resubmitted: launch.resubmitted + 1, job: None, ..launch.clone() };
        resubmitted.write(layout)?;
        queue(format!("{reason}; submitted again"))?;
        let job = Job {
            run_id: launch.run_id.clone(),
            name: layout.name(),
            command: env::args().collect(),
            cwd: text(&env::current_dir().unwrap_or_default()),
            output: text(&layout.record().join(JOB_LOG)),
            grace_s: Settings::of(options, run).warning().as_secs_f64(),
            requeue: true,
            list: layout.name(),
            at_once: None,
        };
        let told = launcher(SLURM, &launch.args).submit(&[job])?;
        let job = told.into_iter().next().and_then(|told| told.job);
        Launch { job, ..resubmitted }.write(layout)
    } else {
        Err(why_not(&shown, format!("that was done {MOST} times")))
    }
}

fn why_not(shown: &impl Display, why: String) -> Error {
    Error::new(Exit::System, format!("'{shown}' cannot be started again")).because(why)
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
