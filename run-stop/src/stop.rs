//! Asks runs to stop, ends what is left of dead ones, and waits.

use crate::checkpoint::after_checkpoint;
use crate::cli::Args;
use run_common::cli::operands::{Operand, open_all};
use run_common::cli::out::Out;
use run_common::error::{Error, Exit, plain};
use run_common::message::{complain, warn};
use run_common::process::identity::{Place, Process, Signal};
use run_common::process::stat::Stat;
use run_common::process::tree::signal_all;
use run_common::process::user::user_name;
use run_common::rundir::batch::BatchDir;
use run_common::rundir::find::{Found, find};
use run_common::rundir::observe::{Observed, Observer, open_supervisor};
use run_common::rundir::open::RunDir;
use run_common::rundir::status::Status;
use run_common::rundir::stop::StopRequest;
use run_common::rundir::wait::Waiter;
use run_common::time::Timestamp;
use std::thread;
use std::time::{Duration, Instant};

/// How long what is left of a dead run has, unless `--grace` says otherwise.
const GRACE: Duration = Duration::from_secs(120);

/// How long what has been killed may take to be gone, and a supervisor to kill.
const LAST: Duration = Duration::from_secs(10);

/// How often what is being ended is looked for again: it may have forked.
const AGAIN: Duration = Duration::from_millis(10);

/// Stops runs: all are asked first, then all are waited for.
pub(crate) fn run(args: &Args, out: &mut Out) -> Result<Exit, Error> {
    let stopper = Stopper {
        observer: Observer::default(),
        request: StopRequest {
            by: Some(who()),
            why: args.why.clone(),
            time: Some(Timestamp::now()),
            grace_s: args.grace.map(|grace| grace.as_secs_f64()),
            kill: args.kill,
            leaves_running: false,
        },
        grace: if args.kill { Duration::ZERO } else { args.grace.unwrap_or(GRACE) },
        waits: !args.no_wait,
    };
    let runs_dir = args.runs_dir.path();
    let mut exit = Exit::Ok;
    let mut fail = |error: &Error| {
        exit = exit.max(error.exit());
        complain(error);
    };
    let given: Vec<Result<RunDir, Error>> = if args.all {
        let runs = find(&runs_dir).into_iter().filter_map(|found| match found {
            Found::Run(path, ()) => Some(RunDir::seen(path)),
            Found::NotUtf8(_) | Found::Other(_) | Found::Unreadable(..) => None,
        });
        let active = active(runs, &stopper.observer);
        stopper.close_batches(&active, args.after_checkpoint);
        active
    } else {
        let operands = open_all(&args.runs, &runs_dir, args.null);
        operands.flat_map(|operand| stopper.expand(operand, args.after_checkpoint)).collect()
    };
    let mut asked = Vec::new();
    let mut ask = |run: Result<RunDir, Error>| match run.and_then(|run| stopper.ask(&run)) {
        Ok(stopping) => asked.push(stopping),
        Err(error) => fail(&error),
    };
    if args.after_checkpoint {
        after_checkpoint(given, &stopper.observer, &mut ask);
    } else {
        given.into_iter().for_each(&mut ask);
    }
    for stopping in asked {
        let shown = stopping.run.layout().root().display().to_string();
        match stopper.finish(stopping) {
            Ok(observed) => {
                out.text(&format!("{shown}: {}", observed.status()))?;
                out.flush()?;
                if observed.status() == Status::Stale && !args.no_wait {
                    fail(
                        &Error::new(Exit::No, format!("cannot tell whether '{shown}' has ended"))
                            .because(observed.reason().unwrap_or_default()),
                    );
                }
            }
            Err(error) => fail(&error),
        }
    }
    Ok(exit)
}

/// Returns `user@host`.
fn who() -> String {
    format!("{}@{}", user_name(), Place::here().host)
}

/// Returns the runs that are at work, or that may be.
fn active(runs: impl IntoIterator<Item = RunDir>, observer: &Observer) -> Vec<Result<RunDir, Error>> {
    let is_active = |status| matches!(status, Status::Running | Status::Queued | Status::Stale);
    runs.into_iter()
        .filter_map(|run| match observer.observe(&run) {
            Ok(observed) => is_active(observed.status()).then_some(Ok(run)),
            Err(error) => Some(Err(error)),
        })
        .collect()
}

/// A run that was asked to stop.
struct Stopping {
    run: RunDir,
    asked: Instant,
    supervisor: Option<Process>,
    /// What lived of a run whose supervisor was gone.
    leftovers: Vec<Stat>,
}

struct Stopper {
    observer: Observer,
    request: StopRequest,
    grace: Duration,
    waits: bool,
}

impl Stopper {
    /// Returns the run of an operand, or those at work of a batch, in which no other will start.
    fn expand(&self, operand: Result<Operand, Error>, leaves_running: bool) -> Vec<Result<RunDir, Error>> {
        match operand {
            Ok(Operand::Run(run)) => vec![Ok(run)],
            Ok(Operand::Batch(batch)) => {
                let shown = batch.layout().root().display();
                let runs = batch.runs();
                let has_ended = |run: &RunDir| {
                    self.observer.observe(run).is_ok_and(|observed| observed.status().has_ended())
                };
                if runs.iter().all(has_ended) {
                    warn(&format!("all runs of '{shown}' have ended already"));
                    return Vec::new();
                }
                if let Err(error) = self.close(&batch, leaves_running) {
                    return vec![Err(error)];
                }
                let active = active(runs, &self.observer);
                if active.is_empty() {
                    warn(&format!("no run of '{shown}' is at work, and none will start"));
                }
                active
            }
            Err(error) => vec![Err(error)],
        }
    }

    /// Asks for a stop of a batch: no other run of it starts.
    fn close(&self, batch: &BatchDir, leaves_running: bool) -> Result<(), Error> {
        let stop = batch.layout().stop();
        let request = StopRequest { leaves_running, ..self.request.clone() };
        request.write(&stop).map_err(|error| Error::io("write", &stop, error))
    }

    /// Asks for a stop of all batches that these runs are of, lest others of them start.
    fn close_batches(&self, active: &[Result<RunDir, Error>], leaves_running: bool) {
        let mut closed: Vec<BatchDir> = Vec::new();
        for run in active.iter().flatten() {
            let Some(batch) = BatchDir::of(run).filter(|batch| !closed.contains(batch)) else { continue };
            if let Err(error) = self.close(&batch, leaves_running) {
                complain(&error);
            }
            closed.push(batch);
        }
    }

    /// Asks a run to stop in the way that reaches it.
    fn ask(&self, run: &RunDir) -> Result<Stopping, Error> {
        let observed = self.observer.observe(run)?;
        let (layout, status) = (run.layout(), observed.status());
        let shown = layout.root().display();
        let mut stopping = Stopping {
            run: run.clone(),
            asked: Instant::now(),
            supervisor: None,
            leftovers: observed.leftovers.clone(),
        };
        if status.has_ended() {
            warn(&format!("'{shown}' has ended already: it is {status}"));
            return Ok(stopping);
        }
        if !stopping.leftovers.is_empty() {
            self.ask_leftovers(&stopping.leftovers);
            return Ok(stopping);
        }
        stopping.supervisor = open_supervisor(layout, &observed.recorded);
        if let Err(error) = self.request.write(&layout.stop()) {
            let error = Error::io("write", &layout.stop(), error);
            if stopping.supervisor.is_none() {
                return Err(error);
            }
            complain(&error); // the signal will do
        }
        if let Some(supervisor) = &stopping.supervisor {
            let sent = supervisor.signal(Signal::TERM).and_then(|()| supervisor.signal(Signal::CONT));
            if let Err(error) = sent {
                let why = plain(&error);
                warn(&format!(
                    "cannot signal the supervisor of '{shown}' ({why}), which will find the file 'stop'"
                ));
            }
        }
        if status == Status::Created {
            warn(&format!("'{shown}' has not started, and will not"));
        }
        Ok(stopping)
    }

    /// Sees a run that was asked to its end, and says what it is then.
    fn finish(&self, mut stopping: Stopping) -> Result<Observed, Error> {
        if stopping.leftovers.is_empty() && self.waits {
            let observed = self.wait(&stopping)?;
            if observed.leftovers.is_empty() {
                return Ok(observed);
            }
            self.ask_leftovers(&observed.leftovers); // its supervisor was killed meanwhile
            stopping = Stopping { asked: Instant::now(), leftovers: observed.leftovers, ..stopping };
        }
        if !stopping.leftovers.is_empty() {
            self.end_leftovers(&stopping)?;
        }
        self.observer.observe(&stopping.run)
    }

    fn ask_leftovers(&self, leftovers: &[Stat]) {
        signal_all(leftovers, if self.request.kill { Signal::KILL } else { Signal::TERM });
        signal_all(leftovers, Signal::CONT);
    }

    /// Ends what carries the id of a run whose supervisor is gone.
    fn end_leftovers(&self, stopping: &Stopping) -> Result<(), Error> {
        let layout = stopping.run.layout();
        let shown = layout.root().display();
        loop {
            let left = self.observer.observe(&stopping.run)?.leftovers;
            let Some(first) = left.first().filter(|_| self.waits) else { break };
            let elapsed = stopping.asked.elapsed();
            if elapsed >= self.grace {
                signal_all(&left, Signal::KILL);
            }
            if elapsed >= self.grace + LAST {
                let what = format!("cannot end process {} of '{shown}'", first.pid);
                return Err(Error::new(Exit::System, what));
            }
            thread::sleep(AGAIN);
        }
        let count = stopping.leftovers.len();
        let noun = if count == 1 { "process" } else { "processes" };
        let done = if self.waits { "ended" } else { "asked" };
        warn(&format!("{done} {count} {noun} of '{shown}', whose supervisor was gone"));
        Ok(())
    }

    /// Waits until a run has ended, or is in doubt, or will not start. A supervisor that does not
    /// kill when it is told to is killed.
    fn wait(&self, stopping: &Stopping) -> Result<Observed, Error> {
        let mut waiter = Waiter::new();
        let mut kills = self.request.kill;
        loop {
            let observed = self.observer.observe(&stopping.run)?;
            let waits = match observed.status() {
                Status::Running | Status::Queued => true,
                Status::Stale => stopping.supervisor.is_some() && observed.leftovers.is_empty(), // it wakes up
                _ => false,
            };
            if !waits {
                return Ok(observed);
            }
            let left = LAST.saturating_sub(stopping.asked.elapsed());
            if kills && left.is_zero() {
                kills = false;
                if let Some(supervisor) = &stopping.supervisor {
                    let _ = supervisor.signal(Signal::KILL); // it may have ended meanwhile
                }
            }
            waiter.pause([&observed], kills.then_some(left));
        }
    }
}
