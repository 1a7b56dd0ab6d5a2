//! Asks runs to stop, ends what is left of dead ones, and waits.

use crate::cli::Args;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use run_common::cli::operands::open_all;
use run_common::cli::out::Out;
use run_common::error::{Error, Exit};
use run_common::message::{complain, warn};
use run_common::process::identity::{Place, Process, Signal, Stat, user_name};
use run_common::process::tree::signal_all;
use run_common::rundir::find::{Found, find};
use run_common::rundir::observe::{Observed, Observer, Shown};
use run_common::rundir::open::RunDir;
use run_common::rundir::status::Status;
use run_common::rundir::stop::StopRequest;
use run_common::time::Timestamp;
use std::os::fd::AsFd;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// Heartbeats of another host that are older than this say nothing.
const STALE_AFTER: Duration = Duration::from_secs(120);

/// How long what is left of a dead run has, unless `--grace` says otherwise.
const GRACE: Duration = Duration::from_secs(120);

/// How long what has been killed may take to be gone.
const LAST: Duration = Duration::from_secs(10);

/// How often a run is looked at whose end cannot be waited for.
const PAUSE: Duration = Duration::from_millis(100);

/// Stops runs: all are asked first, then all are waited for.
pub(crate) fn run(args: &Args, out: &mut Out) -> Result<Exit, Error> {
    let stopper = Stopper {
        observer: Observer::new(STALE_AFTER),
        request: StopRequest {
            by: Some(who()),
            why: args.why.clone(),
            time: Some(Timestamp::now()),
            grace_s: args.grace.map(|grace| grace.as_secs_f64()),
        },
        grace: args.grace.unwrap_or(GRACE),
        waits: !args.no_wait,
    };
    let runs_dir = args.runs_dir.path();
    let mut exit = Exit::Ok;
    let mut fail = |error: &Error| {
        exit = exit.max(error.exit());
        complain(error);
    };
    let mut asked = Vec::new();
    let given: Vec<Result<RunDir, Error>> = if args.all {
        active(&stopper.observer, &runs_dir)
    } else {
        open_all(&args.runs, &runs_dir, args.null).collect()
    };
    for run in given {
        match run.and_then(|run| stopper.ask(&run)) {
            Ok(stopping) => asked.push(stopping),
            Err(error) => fail(&error),
        }
    }
    for stopping in asked {
        let ended =
            if args.no_wait { stopper.observer.observe(&stopping.run) } else { stopper.wait(&stopping) };
        match ended {
            Ok(observed) => {
                out.line(&format!("{}: {}", stopping.run.layout().root().display(), observed.status))?;
                out.flush()?;
                if observed.status == Shown::Stale && !args.no_wait {
                    fail(
                        &Error::new(
                            Exit::No,
                            format!(
                                "cannot tell whether '{}' has ended",
                                stopping.run.layout().root().display()
                            ),
                        )
                        .because(observed.reason.unwrap_or_default()),
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
fn active(observer: &Observer, runs_dir: &Path) -> Vec<Result<RunDir, Error>> {
    find(runs_dir)
        .into_iter()
        .filter_map(|found| {
            let Found::Run(path) = found else { return None };
            let run = RunDir::seen(path);
            match observer.observe(&run) {
                Ok(observed) => {
                    matches!(observed.status, Shown::As(Status::Running | Status::Queued) | Shown::Stale)
                        .then_some(Ok(run))
                }
                Err(error) => Some(Err(error)),
            }
        })
        .collect()
}

/// A run that was asked to stop.
struct Stopping {
    run: RunDir,
    supervisor: Option<Process>,
}

struct Stopper {
    observer: Observer,
    request: StopRequest,
    grace: Duration,
    waits: bool,
}

impl Stopper {
    /// Asks a run to stop in the way that reaches it.
    fn ask(&self, run: &RunDir) -> Result<Stopping, Error> {
        let observed = self.observer.observe(run)?;
        let shown = run.layout().root().display();
        let mut stopping = Stopping { run: run.clone(), supervisor: None };
        if observed.status.has_ended() {
            warn(&format!("'{shown}' has ended already: it is {}", observed.status));
        } else if !observed.leftovers.is_empty() {
            self.end_leftovers(&observed)?;
        } else {
            stopping.supervisor = self.observer.open_supervisor(run.layout(), &observed.recorded);
            if let Err(error) = self.request.write(run.layout()) {
                let error = Error::io("write", &run.layout().stop(), error);
                if stopping.supervisor.is_none() {
                    return Err(error);
                }
                complain(&error); // the signal will do
            }
            if let Some(supervisor) = &stopping.supervisor {
                let sent = supervisor.signal(Signal::TERM).and_then(|()| supervisor.signal(Signal::CONT));
                if let Err(error) = sent {
                    warn(&format!(
                        "cannot signal the supervisor of '{shown}' ({}), which will find the file 'stop'",
                        run_common::error::plain(&error)
                    ));
                }
            }
            if observed.status == Shown::As(Status::Created) {
                warn(&format!("'{shown}' has not started, and will not"));
            }
        }
        Ok(stopping)
    }

    /// Ends what carries the id of a run whose supervisor is gone.
    fn end_leftovers(&self, observed: &Observed) -> Result<(), Error> {
        let root = observed.run.layout().root();
        let left = || self.observer.leftovers(observed.run.layout(), &observed.recorded);
        let count = observed.leftovers.len();
        let asked = Instant::now();
        signal_all(&observed.leftovers, Signal::TERM);
        signal_all(&observed.leftovers, Signal::CONT);
        let mut processes: Vec<Stat> = if self.waits { left() } else { Vec::new() };
        while !processes.is_empty() {
            if asked.elapsed() >= self.grace {
                signal_all(&processes, Signal::KILL);
            }
            if asked.elapsed() >= self.grace + LAST {
                return Err(Error::new(
                    Exit::System,
                    format!("cannot end process {} of '{}'", processes[0].pid, root.display()),
                ));
            }
            thread::sleep(PAUSE / 10);
            processes = left();
        }
        let noun = if count == 1 { "process" } else { "processes" };
        let done = if self.waits { "ended" } else { "asked" };
        warn(&format!("{done} {count} {noun} of '{}', whose supervisor was gone", root.display()));
        Ok(())
    }

    /// Waits until a run has ended, or is in doubt, or will not start.
    fn wait(&self, stopping: &Stopping) -> Result<Observed, Error> {
        loop {
            let observed = self.observer.observe(&stopping.run)?;
            let waits = matches!(observed.status, Shown::As(Status::Running | Status::Queued));
            let stopped = observed.status == Shown::Stale
                && stopping.supervisor.is_some()
                && observed.leftovers.is_empty();
            if !waits && !stopped {
                return Ok(observed);
            }
            match &stopping.supervisor {
                Some(supervisor) => {
                    let mut fds = [PollFd::new(supervisor.as_fd(), PollFlags::POLLIN)];
                    let ready = poll(&mut fds, PollTimeout::from(100u8)).unwrap_or(0);
                    if ready > 0 {
                        thread::sleep(PAUSE / 10); // its front may have to finish the record
                    }
                }
                None => thread::sleep(PAUSE),
            }
        }
    }
}
