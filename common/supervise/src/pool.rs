//! Jobs in slots, each in a process of its own: the controller of several jobs has one thread and forks, so
//! that no job can disturb another. Used by run-exec and run-eval.

use super::requirements::look_for_proc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, dup2_stdin, setsid};
use run_common::error::{Error, Exit};
use run_common::fsio::write::open_null;
use run_common::process::signals::{Held, Signals, is_request, requests};
use signal_hook::consts::SIGCHLD;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

/// How often to look at a job whose process was killed.
const SOON: Duration = Duration::from_millis(50);

/// Active jobs, and the signals that the controller waits for.
#[derive(Debug)]
pub struct Pool<J> {
    slots: usize,
    working: Vec<Working<J>>,
    /// `None` in a forked process.
    signals: Option<Signals>,
    ended_by: Option<Signal>,
}

#[derive(Debug)]
struct Working<J> {
    job: J,
    /// Its process; `None` if it was killed, while another process may still be ending the job.
    pid: Option<i32>,
    slot: usize,
}

impl<J> Pool<J> {
    /// Creates a pool with this number of slots. From now on SIGINT, SIGTERM and, unless it is ignored,
    /// SIGHUP are only noticed in [`Self::wait`].
    pub fn new(slots: usize) -> Result<Self, Error> {
        look_for_proc();
        let mut signals = requests();
        signals.push(SIGCHLD); // even if the parent process ignores it
        let signals = Signals::catch(&signals)
            .map_err(|error| Error::new(Exit::System, "cannot catch signals").because(error))?;
        Ok(Self { slots, working: Vec::new(), signals: Some(signals), ended_by: None })
    }

    /// Returns the number of slots.
    pub fn slots(&self) -> usize {
        self.slots
    }

    /// Returns a free slot.
    pub fn free_slot(&self) -> Option<usize> {
        (0..self.slots).find(|slot| self.working.iter().all(|working| working.slot != *slot))
    }

    /// Returns the active jobs.
    pub fn jobs(&self) -> impl ExactSizeIterator<Item = &J> {
        self.working.iter().map(|working| &working.job)
    }

    /// Returns whether no job is active.
    pub fn is_empty(&self) -> bool {
        self.working.is_empty()
    }

    /// Returns the signal that has requested the end.
    pub fn ended_by(&self) -> Option<Signal> {
        self.ended_by
    }

    /// Records the job of a forked process, and its slot.
    pub fn add(&mut self, pid: i32, slot: usize, job: J) {
        self.working.push(Working { job, pid: Some(pid), slot });
    }

    /// Sets up a forked process: it reads no input, signals of the terminal go to the controller, which
    /// passes them on, and it releases what the controller holds for other jobs.
    pub fn leave(&mut self, held: Held) -> Result<(), Error> {
        self.working.clear();
        let left = open_null().and_then(|null| {
            dup2_stdin(&null)?;
            setsid()?;
            self.signals.take().map_or(Ok(()), Signals::let_go)
        });
        drop(held);
        left.map_err(|error| Error::new(Exit::System, "cannot start a process").because(error))
    }

    /// Removes a job whose process has ended, with its exit status; a job whose process was killed, without a
    /// status, once `is_over`.
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

    /// Waits for the end of a process, a signal, `input`, or a timeout; returns whether `input` is readable.
    /// Passes stop requests on to all active jobs.
    pub fn wait(&mut self, time: Duration, input: Option<BorrowedFd>) -> bool {
        let has_orphan = self.working.iter().any(|working| working.pid.is_none());
        let time = if has_orphan { time.min(SOON) } else { time } + Duration::from_millis(1); // poll rounds down
        let awaited = input.into_iter().chain(self.signals.as_ref().map(Signals::as_fd));
        let mut fds: Vec<PollFd> = awaited.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        let _ = poll(&mut fds, PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX)); // everything is checked anyway
        let has_input = input.is_some() && fds.first().is_some_and(|fd| fd.any().unwrap_or(false));
        let signals = self.signals.as_mut().map(Signals::pending).unwrap_or_default();
        for signal in signals.into_iter().filter(|&signal| is_request(signal)) {
            if let Ok(signal) = signal.try_into() {
                self.end(signal);
            }
        }
        has_input
    }

    /// Ends all active jobs by a signal; remembers the first signal.
    pub fn end(&mut self, signal: Signal) {
        self.ended_by = self.ended_by.or(Some(signal));
        self.signal(signal, |_| true);
    }

    /// Sends a signal to the processes of some jobs.
    pub fn signal(&self, signal: Signal, mut is_meant: impl FnMut(&J) -> bool) {
        for pid in self.working.iter().filter(|working| is_meant(&working.job)).filter_map(|job| job.pid) {
            let _ = kill(Pid::from_raw(pid), signal); // then it has just ended
        }
    }
}
