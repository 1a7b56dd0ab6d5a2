//! A retry of a run whose lock was kept: waits before the attempt, and notices stop requests meanwhile.

use crate::attempt::Attempt;
use crate::held_run::HeldRun;
use crate::options::Options;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use run_common::cli::statuses::{Ended, STATUSES};
use run_common::error::{Error, Exit};
use run_common::process::signals::{Signals, is_request, signal_name};
use run_common::rundir::record::ActiveRun;
use run_common::rundir::recorded::Recorded;
use run_common::rundir::stop::StopRequest;
use run_supervise::{catch, run};
use signal_hook::consts::SIGTERM;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// How often to look for the `stop` file between two attempts.
const STOP_FILE: Duration = Duration::from_secs(1);

/// What ended the wait before an attempt.
enum Waited {
    /// The time is over.
    Over,
    /// A stop was requested and recorded, or the attempt was given up; the exit status.
    Ended(u8),
}

impl Attempt {
    /// Makes the attempt after a delay, unless a stop is requested meanwhile.
    pub(crate) fn make_after(self, options: &Options, mut held: HeldRun, delay: f64) -> Result<Ended, Error> {
        match Recorded::read(held.layout()) {
            Ok(recorded) if recorded.run_id == held.recorded.run_id => held.recorded = recorded,
            Ok(_) => {} // noticed below
            Err(error) => return Err(held.loss().unwrap_or(error)),
        }
        let mut signals =
            catch().map_err(|error| Error::new(Exit::System, "cannot catch signals").because(error))?;
        let until = Instant::now() + Duration::try_from_secs_f64(delay).unwrap_or_default();
        if let Waited::Ended(status) = self.wait(&mut held, &mut signals, until)? {
            return Ok(Ended::With(status));
        }
        match self.free {
            Some(count) => self.make_when_free(options, held, count, Some(signals)),
            None => self.make_now(options, held, signals),
        }
    }

    /// Makes the attempt, for which signals are caught already.
    pub(crate) fn make_now(
        self,
        options: &Options,
        held: HeldRun,
        mut signals: Signals,
    ) -> Result<Ended, Error> {
        let before = held.recorded.clone();
        let (task, record) = self.prepare(options, held)?;
        // If a signal has come meanwhile, no attempt follows.
        let Some(signal) = asked(&mut signals) else {
            return run(&task, record, self.parent, Some(signals));
        };
        let status = record.give_up().map(|active| stop(&active, &before, Some(signal))).transpose()?;
        Ok(Ended::With(status.flatten().unwrap_or(STATUSES.failed)))
    }

    /// Waits, with heartbeats.
    fn wait(&self, held: &mut HeldRun, signals: &mut Signals, until: Instant) -> Result<Waited, Error> {
        let mut beat = Instant::now();
        loop {
            if let Some(status) = stopped(held, signals)? {
                return Ok(Waited::Ended(status));
            }
            let now = Instant::now();
            if now >= until {
                return Ok(Waited::Over);
            }
            if now >= beat {
                held.active.write_waiting(&mut held.recorded).map_err(|error| {
                    held.loss().unwrap_or_else(|| Error::io("write", &held.layout().status(), error))
                })?;
                beat = now + self.settings.limits.heartbeat;
            }
            let mut fds = vec![PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
            fds.extend(self.parent.as_ref().map(|parent| PollFd::new(parent.as_fd(), PollFlags::POLLIN)));
            let left = until.min(beat).saturating_duration_since(now).min(STOP_FILE);
            let pause = left + Duration::from_millis(1); // poll rounds down
            let _ = poll(&mut fds, PollTimeout::try_from(pause).unwrap_or(PollTimeout::MAX)); // everything is checked anyway
            if fds.get(1).is_some_and(|parent| parent.any().unwrap_or(false)) {
                held.give_up("run-exec was killed before another attempt")?;
                return Ok(Waited::Ended(STATUSES.failed));
            }
        }
    }
}

/// Records a stop of a run that waits, if one was requested; returns the exit status. Errors: the run is lost.
pub(crate) fn stopped(held: &HeldRun, signals: &mut Signals) -> Result<Option<u8>, Error> {
    match held.loss() {
        Some(error) => Err(error),
        None => stop(&held.active, &held.recorded, asked(signals)),
    }
}

/// Returns the signal that requested a stop, if any.
fn asked(signals: &mut Signals) -> Option<i32> {
    signals.pending().into_iter().find(|&signal| is_request(signal))
}

/// Records a stop that was requested by a signal or the `stop` file, if any; returns the exit status.
fn stop(active: &ActiveRun, recorded: &Recorded, signal: Option<i32>) -> Result<Option<u8>, Error> {
    let words = match (StopRequest::read(&active.layout().stop()), signal) {
        (Some(request), _) => request.words(),
        (None, Some(signal)) => format!("stopped by signal {signal} ({})", signal_name(signal)),
        (None, None) => return Ok(None),
    };
    active.write_stopped(recorded, words)?;
    Ok(Some(128 + u8::try_from(signal.unwrap_or(SIGTERM)).unwrap_or_default()))
}
