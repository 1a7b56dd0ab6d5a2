//! A job whose attempt has ended before the run is complete has itself started again.

use crate::held_run::HeldRun;
use crate::launch::submit::{JOB_LOG, here, text};
use crate::launch::waiting::of_submission;
use crate::options::{Executed, Options};
use crate::settings::Settings;
use run_common::error::{Error, Exit};
use run_common::fsio::atomic::Durability;
use run_common::message::{complain, warn};
use run_common::process::identity::ProcessId;
use run_common::rundir::attempts::{AttemptEnd, Attempts};
use run_common::rundir::launch::Launch;
use run_common::rundir::layout::Layout;
use run_common::rundir::open::RunDir;
use run_common::rundir::recorded::{Recorded, State};
use run_common::time::Timestamp;
use run_launch::contract::{Job, SLURM};
use run_launch::ending::{NOT_AGAIN, Why, is_of_scheduler};
use run_launch::inside::Inside;
use run_launch::launcher::launcher;
use std::env;
use std::fs;
use std::path::Path;
use uuid::Uuid;

/// How often a job submits its run again, at most.
const RESUBMISSIONS: u32 = 20;

/// Why a run is not started again.
pub(crate) const NO_CHECKPOINT: &str = "there is no complete checkpoint to resume from, and no --restart-ok";

/// How a job is started again.
enum Way {
    /// The job asks Slurm for that.
    Requeue,
    /// Slurm does that by itself.
    Itself,
    /// The job, which Slurm has cancelled, submits another.
    Resubmit,
    /// The job, a task that Slurm has cancelled, asks Slurm for that: another job would not count in the limit of its
    /// array.
    Return,
}

/// Has the job started again after the end of its attempt, if that is wanted. Where that cannot be, says why, here
/// and in the record.
pub(crate) fn after(run: &RunDir, launch: &Launch, inside: Option<&Inside>, options: &Options) {
    if let Some(inside) = inside
        && launch.requeue
        && launch.launcher == SLURM
        && options.owner.as_ref().is_none_or(|owner| owner.successor(run.layout()).is_none())
        && let Err(error) = try_after(run, launch, inside, options)
    {
        complain(&error);
    }
}

fn try_after(run: &RunDir, launch: &Launch, inside: &Inside, options: &Options) -> Result<(), Error> {
    let layout = run.layout();
    let recorded = Recorded::read(layout)?;
    let ended =
        recorded.ended().and_then(|_| AttemptEnd::read(layout, &recorded.run_id, recorded.attempts()));
    let Some(end) = ended.filter(|end| recorded.reason() == end.reason.as_deref()) else { return Ok(()) };
    let reason = end.reason.clone().unwrap_or_default();
    if !is_of_scheduler(&reason) || layout.stop().symlink_metadata().is_ok() {
        return Ok(());
    }
    let way = match way(layout, launch, inside, &end) {
        Ok(way) => way,
        Err(why) => return give_up(run, options, &end, &why),
    };
    let what = match way {
        Way::Resubmit => "submitted again".to_owned(),
        Way::Requeue | Way::Return | Way::Itself => format!("job {} is to be started again", inside.start.id),
    };
    let held = take(run, options, &end)?;
    held.active.queue(&held.recorded, None, Some(format!("{reason}; {what}")), Durability::Power)?;
    // A stop that is requested from here on finds a waiting run.
    let done = match way {
        Way::Itself => Ok(()),
        Way::Requeue => {
            drop(held);
            inside.requeue()
        }
        Way::Return => {
            let again = Launch { resubmitted: launch.resubmitted + 1, ..launch.clone() };
            again.write(layout)?;
            drop(held);
            // A task that must not be requeued is submitted as a job of its own.
            inside.requeue().or_else(|_| {
                let held = take(run, options, &end).map_err(|error| error.to_string())?;
                resubmit(held, launch, options).map_err(|error| error.to_string())
            })
        }
        Way::Resubmit => resubmit(held, launch, options).map_err(|error| error.to_string()),
    };
    done.or_else(|why| give_up(run, options, &end, &why))
}

/// Returns how the job is started again, or why it is not.
fn way(layout: &Layout, launch: &Launch, inside: &Inside, end: &AttemptEnd) -> Result<Way, String> {
    if end.final_checkpoint.is_none() && !launch.restart_ok {
        return Err(NO_CHECKPOINT.to_owned());
    }
    if end.reason.as_deref().is_some_and(|reason| reason.starts_with(Why::TimeLimit.words())) {
        return if is_without_progress(layout, end) {
            Err("the attempt has written no checkpoint within its time limit".to_owned())
        } else {
            Ok(Way::Requeue)
        };
    }
    match inside.returns() {
        Some(true) => Ok(Way::Itself),
        Some(false) if launch.resubmitted < RESUBMISSIONS => {
            Ok(if inside.is_task() { Way::Return } else { Way::Resubmit })
        }
        Some(false) => Err(format!("that was done {RESUBMISSIONS} times")),
        None => Err("Slurm does not say whether it starts the job again".to_owned()),
    }
}

/// Says whether an attempt has left just the checkpoint with which it began.
fn is_without_progress(layout: &Layout, end: &AttemptEnd) -> bool {
    let attempts = Attempts::read(layout).unwrap_or_default();
    let (Some(attempt), Some(last)) = (attempts.get(end.attempt), &end.final_checkpoint) else {
        return false;
    };
    let last = layout.root().join(last);
    let began_with = attempt.start.resume_from.as_deref().map(Path::new);
    let is_the_same = began_with.is_some_and(|first| first == last || first.ends_with(&last));
    let written = fs::metadata(&last).and_then(|found| found.modified()).ok().and_then(Timestamp::of_system);
    let is_older = written.is_some_and(|time| time < attempt.start.start_time);
    is_the_same && is_older
}

/// Takes the run, which nobody may have executed since the end of an attempt.
fn take(run: &RunDir, options: &Options, end: &AttemptEnd) -> Result<HeldRun, Error> {
    let options = Options { executed: Executed::Unfinished, ..options.clone() };
    let held = HeldRun::take(run, &options)?;
    if held.recorded.attempts() == end.attempt {
        Ok(held)
    } else {
        let shown = run.layout().root().display();
        Err(Error::new(Exit::Busy, format!("'{shown}' is not started again"))
            .because("another process has executed it since"))
    }
}

/// Records that the run is not started again.
fn give_up(run: &RunDir, options: &Options, end: &AttemptEnd, why: &str) -> Result<(), Error> {
    warn(&format!("'{}' is {NOT_AGAIN}{why}", run.layout().root().display()));
    let held = take(run, options, end)?;
    let is_stopped =
        !matches!(held.recorded.state, State::Queued(_)) && held.recorded.reason() != end.reason.as_deref();
    if is_stopped { Ok(()) } else { held.give_up(&format!("{NOT_AGAIN}{why}")) }
}

/// Submits the run again, as a submission of its own: the old job may be started once more, and finds nothing to do.
fn resubmit(held: HeldRun, launch: &Launch, options: &Options) -> Result<(), Error> {
    let layout = held.layout().clone();
    let submission = Uuid::now_v7().to_string();
    let again = Launch {
        submission: submission.clone(),
        resubmitted: launch.resubmitted + 1,
        resubmit_time: Some(Timestamp::now()),
        submitter: ProcessId::myself(),
        job: None,
        ..launch.clone()
    };
    let grace = Settings::of(options, held.active.run()).warning();
    again.write(&layout)?;
    drop(held);
    let submit = || {
        let job = Job {
            run_id: launch.run_id.clone(),
            name: layout.name(),
            command: command(&submission)?,
            cwd: text(&here()?)?,
            output: text(&layout.record().join(JOB_LOG))?,
            grace_s: grace.as_secs_f64(),
            requeue: true,
            list: layout.name(),
            at_once: None,
            list_output: None,
            after: None,
        };
        let told = launcher(SLURM, &launch.args).submit(&[job])?;
        Ok(told.into_iter().next().and_then(|told| told.job))
    };
    match submit() {
        Ok(job) => Launch { job, ..again }.write(&layout),
        Err(error) => {
            launch.write(&layout)?;
            Err(error)
        }
    }
}

/// Returns the command line of this process, for another submission.
fn command(submission: &str) -> Result<Vec<String>, Error> {
    let words = env::args_os().map(|word| text(Path::new(&word))).collect::<Result<_, _>>()?;
    Ok(of_submission(words, submission))
}
