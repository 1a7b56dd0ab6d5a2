//! What a job does: it claims its run, waits until the previous owner has given it up, executes it, and
//! arranges to be started again where that is wanted.

use crate::batch::Batches;
use crate::held_run::{HeldRun, LOOK, PATIENCE, PREDECESSOR};
use crate::launch::{again, waiting};
use crate::options::{Executed, Options};
use crate::queue::single;
use run_checkpoint::{Program, discover_latest, latest};
use run_common::cli::statuses::{Ended, STATUSES};
use run_common::error::{Error, Exit};
use run_common::message::warn;
use run_common::process::identity::Signal;
use run_common::process::tree::signal_all;
use run_common::rundir::attempts::{Attempts, checkpoint_of};
use run_common::rundir::launch::{Launch, Owner};
use run_common::rundir::meta::Meta;
use run_common::rundir::observe::{Observed, Observer, Recipient, open_supervisor};
use run_common::rundir::open::RunDir;
use run_common::rundir::status::Status;
use run_launch::contract::SLURM;
use run_launch::ending::{NOT_AGAIN, Why, is_of_scheduler};
use run_launch::inside::{Inside, of_launcher};
use std::process;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Longest time for an attempt to write the files of a batch for people.
const VIEWS: Duration = Duration::from_secs(1);

/// Executes the run of a job, as `execute` does with one run; returns how to end.
pub(crate) fn execute(
    options: Options,
    execute: fn(&Options) -> Result<Ended, Error>,
) -> Result<Ended, Error> {
    let run = single(&options)?.ok_or_else(|| Error::usage("--job is for one run"))?;
    let (inside, myself) = (Inside::find(), process::id());
    let ended = execute_run(options, &run, inside.as_ref(), execute);
    // Forked processes return from here, too.
    if process::id() == myself {
        if let Some(inside) = inside {
            inside.clean();
        }
        waiting::at_end(&run);
    }
    ended
}

fn execute_run(
    mut options: Options,
    run: &RunDir,
    inside: Option<&Inside>,
    execute: fn(&Options) -> Result<Ended, Error>,
) -> Result<Ended, Error> {
    let Some(launch) = submission(run, &options)? else { return Ok(Ended::With(0)) };
    let (job, restart) = inside.map(|job| (job.start.id.clone(), job.start.restart)).unzip();
    let owner = Owner::myself(launch.submission.clone(), job.or(launch.job.clone()), restart.unwrap_or(0));
    let observer = Observer::of_many(Some(PREDECESSOR));
    let found = observer.observe(run)?;
    let had_failed = is_started_after_failure(&found, &launch, inside, run);
    if !had_failed && !is_to_be_executed(&found, &launch, inside) {
        return Ok(Ended::With(0));
    }
    owner.claim(run.layout())?;
    let before = await_predecessor(&observer, run, &owner)?;
    // It may have ended by itself meanwhile.
    let is_as_found = had_failed && before.status() == Status::Failed;
    if !is_as_found && !is_to_be_executed(&before, &launch, inside) {
        return Ok(Ended::With(0));
    }
    options.is_again = before.recorded.attempts() > launch.attempts;
    if before.recorded.attempts() > 0 {
        options.executed = Executed::Unfinished;
        options.take_over = true;
    }
    options.begun = launch.time;
    options.kill_wait = launch.kill_wait_s.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    options.job = match inside {
        Some(inside) if launch.launcher == SLURM => Some(inside.start.clone()),
        _ => of_launcher(&launch),
    };
    options.owner = Some(owner);
    if options.is_again && !launch.restart_ok && !has_checkpoint(run) {
        return give_up(run, &options);
    }
    note(run, &format!("run started: {}", run.layout().name()));
    let myself = process::id();
    let ended = execute(&options);
    if process::id() == myself {
        again::after(run, &launch, inside, &options);
        if let Ok(now) = observer.observe(run) {
            let event = if now.status() == Status::Queued { "run waits again" } else { "run ended" };
            let reason = now.reason().map(|reason| format!(": {reason}")).unwrap_or_default();
            note(run, &format!("{event}: {}: {}{reason}", run.layout().name(), now.status()));
        }
    }
    ended
}

/// Returns the submission of this job; `None` if the run was submitted again since.
fn submission(run: &RunDir, options: &Options) -> Result<Option<Launch>, Error> {
    let shown = run.layout().root().display();
    let launch = Launch::read(run.layout())?;
    match launch {
        Some(launch) if Some(&launch.submission) == options.submission.as_ref() => Ok(Some(launch)),
        Some(launch) => {
            let job = launch.job.map(|job| format!(", as job {job}")).unwrap_or_default();
            warn(&format!("'{shown}' was submitted again{job}: there is nothing left for this job to do"));
            Ok(None)
        }
        None => Err(Error::new(Exit::BadRun, format!("cannot start '{shown}'"))
            .because("it was not handed to a launcher")),
    }
}

/// Says whether there is something to do: the run waits, or was running when the job was ended.
fn is_to_be_executed(observed: &Observed, launch: &Launch, inside: Option<&Inside>) -> bool {
    let answer = match observed.status() {
        Status::Queued | Status::Running | Status::Stale | Status::Dead => true,
        Status::Stopped | Status::Failed => {
            let why = observed.reason().unwrap_or_default();
            launch.requeue && (is_of_scheduler(why) || is_signal(why) && is_restart(observed, inside))
        }
        Status::Created | Status::Completed => false,
    };
    if !answer {
        let (shown, status) = (observed.run.layout().root().display(), observed.status());
        warn(&format!("'{shown}' is {status}: there is nothing left for this job to do"));
    }
    answer
}

/// Says whether Slurm has started the job of a run that had failed once more, as sites have it do after some exit statuses
/// (`RequeueExit`), and the run can go on.
fn is_started_after_failure(
    found: &Observed,
    launch: &Launch,
    inside: Option<&Inside>,
    run: &RunDir,
) -> bool {
    launch.requeue
        && found.status() == Status::Failed
        && is_restart(found, inside)
        && (launch.restart_ok || has_checkpoint(run))
}

/// Says whether a signal from outside has ended an attempt, of which Slurm did not say the cause in time.
fn is_signal(reason: &str) -> bool {
    [Why::Cancelled.words(), "stopped by signal"].iter().any(|words| reason.starts_with(words))
}

/// Says whether Slurm has started this job again after the last attempt.
fn is_restart(observed: &Observed, inside: Option<&Inside>) -> bool {
    let attempts = Attempts::read(observed.run.layout()).unwrap_or_default();
    let last = attempts.get(observed.recorded.attempts()).and_then(|attempt| attempt.start.job.as_ref());
    last.zip(inside).is_some_and(|(last, now)| last.id == now.start.id && last.restart < now.start.restart)
}

/// Waits until the previous owner has given the run up, at its next heartbeat.
fn await_predecessor(observer: &Observer, run: &RunDir, owner: &Owner) -> Result<Observed, Error> {
    let started = Instant::now();
    loop {
        let observed = observer.observe(run)?;
        let is_over = match observed.status() {
            Status::Running => false,
            Status::Stale if !observed.leftovers.is_empty() => {
                signal_all(&observed.leftovers, Signal::KILL); // nobody supervises them
                false
            }
            Status::Stale if observed.is_elsewhere() => true,
            Status::Stale => {
                // It is suspended, and cannot give the run up.
                if let Recipient::Supervisor(process) = open_supervisor(run.layout(), &observed.recorded) {
                    let _ = process.signal(Signal::KILL); // it may have ended meanwhile
                }
                false
            }
            _ => true,
        };
        if is_over {
            return Ok(observed);
        }
        let shown = run.layout().root().display();
        if let Some(successor) = owner.successor(run.layout()) {
            return Err(Error::new(Exit::Busy, format!("cannot start '{shown}'")).because(successor));
        }
        if started.elapsed() > PATIENCE {
            let why = observed.reason().unwrap_or("its supervisor goes on");
            return Err(Error::new(Exit::Busy, format!("cannot start '{shown}'")).because(why.to_owned()));
        }
        sleep(LOOK);
    }
}

fn has_checkpoint(run: &RunDir) -> bool {
    let layout = run.layout();
    let pattern = Meta::read(layout).ok().and_then(|meta| checkpoint_of(&meta, layout));
    let found = discover_latest(layout, pattern.as_ref(), Program::Ended).unwrap_or_default();
    latest(&found).is_some()
}

/// Records that a run is not started again, because it would start over.
fn give_up(run: &RunDir, options: &Options) -> Result<Ended, Error> {
    let held = HeldRun::take(run, options)?;
    // The reason may have said so before Slurm started the job.
    let before = held.recorded.reason().and_then(|reason| reason.split(NOT_AGAIN).next());
    let before = before.map(|reason| reason.trim_end_matches("; ")).filter(|reason| !reason.is_empty());
    let before = before.map(|reason| format!("{reason}; ")).unwrap_or_default();
    let words = format!("{before}{NOT_AGAIN}{}", again::NO_CHECKPOINT);
    held.active.write_stopped(&held.recorded, words.clone())?;
    warn(&format!("'{}': {words}", run.layout().root().display()));
    Ok(Ended::With(STATUSES.failed))
}

/// Writes an event to the files for people of the run's batch.
fn note(run: &RunDir, event: &str) {
    let (mut batches, observer) = (Batches::default(), Observer::of_many(None));
    let number = batches.of(run, false);
    let Some(batch) = batches.get(number) else { return };
    batch.note(event, &observer);
    let started = Instant::now();
    while !batch.catch_up(&observer) && started.elapsed() < VIEWS {
        sleep(LOOK / 10);
    }
    batch.give_up();
}
