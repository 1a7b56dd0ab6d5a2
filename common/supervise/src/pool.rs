//! Jobs in slots, each done by a process of its own: a front of several has one thread and forks, so
//! that whatever becomes of one is nothing to the others. Used by run-exec and run-eval.

use super::requirements::look_for_proc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, dup2_stdin, setsid};
use run_common::error::{Error, Exit};
use run_common::fsio::write::open_null;
use run_common::process::signals::ignores_hangup;
use signal_hook::consts::SIGCHLD;
use signal_hook::flag;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

/// How often a job is looked at whose process was killed.
const SOON: Duration = Duration::from_millis(50);

/// Jobs at work, and the signals that the front waits for.
#[derive(Debug)]
pub struct Pool<J> {
    slots: usize,
    working: Vec<Working<J>>,
    signals: SignalFd,
    /// The signals that were let through before.
    mask: SigSet,
    ended_by: Option<Signal>,
}

#[derive(Debug)]
struct Working<J> {
    job: J,
    /// Its process; none when that was killed, and another may be ending what it began.
    pid: Option<i32>,
    slot: usize,
}

impl<J> Pool<J> {
    /// Makes one of so many slots. From now on SIGINT, SIGTERM and, unless it is ignored, SIGHUP are
    /// noticed in [`Self::wait`] alone.
    pub fn new(slots: usize) -> Result<Self, Error> {
        look_for_proc();
        let failed = |error: io::Error| Error::new(Exit::System, "cannot catch signals").because(error);
        // Whoever began with SIGCHLD ignored would never hear of a child's end.
        flag::register(SIGCHLD, Arc::default()).map_err(failed)?;
        let mut signals: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGCHLD].into_iter().collect();
        if !ignores_hangup() {
            signals.add(Signal::SIGHUP);
        }
        let mask = signals.thread_swap_mask(SigmaskHow::SIG_BLOCK).map_err(|error| failed(error.into()))?;
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        let signals = SignalFd::with_flags(&signals, flags).map_err(|error| failed(error.into()))?;
        Ok(Self { slots, working: Vec::new(), signals, mask, ended_by: None })
    }

    /// Returns the number of slots.
    pub fn slots(&self) -> usize {
        self.slots
    }

    /// Returns a slot that nothing is at work in.
    pub fn free_slot(&self) -> Option<usize> {
        (0..self.slots).find(|slot| self.working.iter().all(|working| working.slot != *slot))
    }

    /// Returns the jobs at work.
    pub fn jobs(&self) -> impl ExactSizeIterator<Item = &J> {
        self.working.iter().map(|working| &working.job)
    }

    /// Says whether nothing is at work.
    pub fn is_empty(&self) -> bool {
        self.working.is_empty()
    }

    /// Returns the signal that has asked for the end.
    pub fn ended_by(&self) -> Option<Signal> {
        self.ended_by
    }

    /// Takes note of what a process does that was forked off, and in which slot.
    pub fn add(&mut self, pid: i32, slot: usize, job: J) {
        self.working.push(Working { job, pid: Some(pid), slot });
    }

    /// Makes the process that was forked off one of its own. It reads nothing, what the terminal sends
    /// goes to the front, which passes it on, and what is held for other jobs is the front's alone.
    pub fn leave(&mut self) -> Result<(), Error> {
        self.working.clear();
        let left = open_null().and_then(|null| {
            dup2_stdin(&null)?;
            setsid()?;
            Ok(self.mask.thread_set_mask()?)
        });
        left.map_err(|error| Error::new(Exit::System, "cannot start a process").because(error))
    }

    /// Takes out a job whose process has ended, with its exit status. One whose process was killed is
    /// taken out, without, as soon as it `is_over`.
    pub fn next_ended(&mut self, mut is_over: impl FnMut(&mut J) -> bool) -> Option<(J, Option<i32>)> {
        loop {
            let (pid, status) = match waitpid(None::<Pid>, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, status)) => (pid.as_raw(), Some(status)),
                Ok(WaitStatus::Signaled(pid, ..)) => (pid.as_raw(), None),
                Ok(WaitStatus::StillAlive) | Err(nix::Error::ECHILD) => break,
                Ok(_) | Err(_) => continue,
            };
            let Some(number) = self.working.iter().position(|working| working.pid == Some(pid)) else {
                continue;
            };
            if status.is_some() {
                return Some((self.working.remove(number).job, status));
            }
            self.working[number].pid = None;
        }
        let mut working = self.working.iter_mut();
        let number = working.position(|working| working.pid.is_none() && is_over(&mut working.job))?;
        Some((self.working.remove(number).job, None))
    }

    /// Waits until a process has ended, a signal has come, `input` has something, or some time is up;
    /// says whether `input` has. Signals that ask for the end are passed on to all that is at work.
    pub fn wait(&mut self, time: Duration, input: Option<BorrowedFd>) -> bool {
        let has_orphan = self.working.iter().any(|working| working.pid.is_none());
        let time = if has_orphan { time.min(SOON) } else { time } + Duration::from_millis(1); // poll rounds down
        let mut fds = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        fds.extend(input.map(|input| PollFd::new(input, PollFlags::POLLIN)));
        let _ = poll(&mut fds, PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX)); // all is looked at anyway
        let has_input = fds.get(1).is_some_and(|fd| fd.any().unwrap_or(false));
        while let Ok(Some(signal)) = self.signals.read_signal() {
            let signal = i32::try_from(signal.ssi_signo).ok().and_then(|signal| signal.try_into().ok());
            if let Some(signal @ (Signal::SIGINT | Signal::SIGTERM | Signal::SIGHUP)) = signal {
                self.end(signal);
            }
        }
        has_input
    }

    /// Ends all that is at work by a signal, the first of which is remembered.
    pub fn end(&mut self, signal: Signal) {
        self.ended_by = self.ended_by.or(Some(signal));
        self.signal(signal, |_| true);
    }

    /// Sends a signal to the processes of some jobs.
    pub fn signal(&self, signal: Signal, mut is_meant: impl FnMut(&J) -> bool) {
        for pid in self.working.iter().filter(|working| is_meant(&working.job)).filter_map(|job| job.pid) {
            let _ = kill(Pid::from_raw(pid), signal); // it has just ended, then
        }
    }
}
