//! Waits for changes of runs: on this host notified by the kernel, elsewhere by polling. Used by `run-status
//! --wait` and run-stop.

use super::observe::{Observed, Recipient, open_supervisor};
use super::status::Status;
use crate::process::identity::{Life, Process};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};
use std::collections::HashMap;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::Duration;

/// How often to look at runs on other hosts, which the kernel does not notify.
const PAUSE: Duration = Duration::from_secs(1);

/// How often to look at a run whose supervisor has ended and whose record has not: its monitor is about to
/// update the record.
const MOMENT: Duration = Duration::from_millis(10);

/// Maximum number of supervisors with a handle of their own; descriptors are limited.
const MOST: usize = 200;

/// Waits for runs.
#[derive(Debug, Default)]
pub struct Waiter {
    /// Notifies of written records; `None` if the kernel has no more watches.
    inotify: Option<Inotify>,
    watched: HashMap<PathBuf, WatchDescriptor>,
}

impl Waiter {
    /// Creates a waiter.
    pub fn new() -> Self {
        Self {
            inotify: Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).ok(),
            watched: HashMap::new(),
        }
    }

    /// Waits until one of these unfinished runs may have changed since it was observed, or until `limit` has
    /// passed. May return without a change.
    pub fn pause<'a>(&mut self, runs: impl IntoIterator<Item = &'a Observed>, limit: Option<Duration>) {
        let mut pause = PAUSE.min(limit.unwrap_or(PAUSE));
        let mut supervisors: Vec<Process> = Vec::new();
        for run in runs {
            let supervisor = run.recorded.attempt().and_then(|attempt| attempt.supervisor.as_ref());
            if run.status() == Status::Running
                && let Some(id) = supervisor.filter(|supervisor| supervisor.is_visible())
                && supervisors.len() < MOST
            {
                match open_supervisor(run.run.layout(), &run.recorded) {
                    Recipient::Supervisor(supervisor) => supervisors.push(supervisor),
                    Recipient::Unproven(_) | Recipient::Nobody if id.life() == Life::Gone => {
                        pause = pause.min(MOMENT);
                    }
                    Recipient::Unproven(_) | Recipient::Nobody => {}
                }
            } else if self.watch(run) {
                return; // the run may have changed before it was watched
            }
        }
        let mut fds: Vec<PollFd> = supervisors
            .iter()
            .map(AsFd::as_fd)
            .chain(self.inotify.as_ref().map(AsFd::as_fd))
            .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
            .collect();
        let _ = poll(&mut fds, PollTimeout::try_from(pause).unwrap_or(PollTimeout::MAX)); // all runs are looked at, whatever the event
        if let Some(inotify) = &self.inotify {
            while inotify.read_events().is_ok() {} // the event itself does not matter
        }
    }

    /// Watches the record of a run; returns whether it was not watched before.
    fn watch(&mut self, run: &Observed) -> bool {
        let record = run.run.layout().record();
        let Some(inotify) = self.inotify.as_ref().filter(|_| !self.watched.contains_key(&record)) else {
            return false;
        };
        match inotify.add_watch(&record, AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_ONLYDIR) {
            Ok(descriptor) => self.watched.insert(record, descriptor).is_none(),
            Err(_) => false, // it is polled instead
        }
    }
}
