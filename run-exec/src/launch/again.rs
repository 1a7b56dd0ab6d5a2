//! What a job does when its attempt has ended before the run is complete: it has itself started again.

use crate::held_run::HeldRun;
use crate::options::{Executed, Options};
use run_common::error::Error;
use run_common::message::{complain, warn};
use run_common::rundir::attempts::AttemptEnd;
use run_common::rundir::launch::Launch;
use run_common::rundir::open::RunDir;
use run_common::rundir::recorded::Recorded;
use run_launch::ending::Why;
use run_launch::inside::Inside;

/// Why a run is not started again.
pub(crate) const NO_CHECKPOINT: &str = "there is no complete checkpoint to resume from, and no --restart-ok";

/// Says whether a reason is one of the scheduler's.
pub(crate) fn is_of_scheduler(reason: &str) -> bool {
    [Why::TimeLimit, Why::Preempted, Why::Node].iter().any(|why| reason.starts_with(why.words()))
}

/// Has the job started again after the end of its attempt, if that is wanted. Says what stands in the way.
pub(crate) fn after(run: &RunDir, launch: &Launch, inside: Option<&Inside>, options: &Options) {
    if let (true, Some(inside)) = (launch.requeue, inside)
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
    // Whoever asks for a stop now finds a run that waits.
    let options = Options { executed: Executed::Unfinished, ..options.clone() };
    let held = HeldRun::take(run, &options)?;
    let words = format!("{reason}; job {} is to be started again", inside.start.id);
    held.active.queue(&held.recorded, None, Some(words))?;
    drop(held);
    if reason.starts_with(Why::TimeLimit.words())
        && let Err(why) = inside.requeue()
    {
        warn(&format!("'{shown}' cannot be started again: {why}"));
        let held = HeldRun::take(run, &options)?;
        held.active.write(&recorded)?;
    }
    Ok(())
}
