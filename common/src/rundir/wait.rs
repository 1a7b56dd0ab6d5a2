//! Waits until something happens to runs: on this host by asking the kernel, elsewhere by looking
//! now and then. Used by `run-status --wait` and run-stop.

use super::observe::{Observed, Recipient, open_supervisor};
use super::status::Status;
use crate::process::identity::{Life, Process};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};
use std::collections::HashMap;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::Duration;

/// How often runs are looked at that cannot be waited for: those of other hosts.
const PAUSE: Duration = Duration::from_secs(1);

/// How often a run is looked at whose supervisor has ended and whose record has not: its monitor is
/// at it.
const MOMENT: Duration = Duration::from_millis(10);

/// How many supervisors are waited for by a handle of their own; descriptors are limited.
const MOST: usize = 200;

/// Waits for runs.
#[derive(Debug, Default)]
pub struct Waiter {
    /// Tells of records that are written; none where the kernel has no more to give.
    inotify: Option<Inotify>,
    watched: HashMap<PathBuf, WatchDescriptor>,
}

impl Waiter {
    /// Makes one.
    pub fn new() -> Self {
        Self {
            inotify: Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).ok(),
            watched: HashMap::new(),
        }
    }

    /// Waits until something may have happened to one of these runs, which have not ended, since
    /// they were observed; or until `limit` has passed. It may return for nothing.
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
                return; // something may have happened before it was watched
            }
        }
        let mut fds: Vec<PollFd> = supervisors
            .iter()
            .map(AsFd::as_fd)
            .chain(self.inotify.as_ref().map(AsFd::as_fd))
            .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
            .collect();
        let _ = poll(&mut fds, PollTimeout::try_from(pause).unwrap_or(PollTimeout::MAX)); // whatever it says, all are looked at
        if let Some(inotify) = &self.inotify {
            while inotify.read_events().is_ok() {} // what it was does not matter
        }
    }

    /// Watches the record of a run; says whether it was not before.
    fn watch(&mut self, run: &Observed) -> bool {
        let record = run.run.layout().record();
        let Some(inotify) = self.inotify.as_ref().filter(|_| !self.watched.contains_key(&record)) else {
            return false;
        };
        match inotify.add_watch(&record, AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_ONLYDIR) {
            Ok(descriptor) => self.watched.insert(record, descriptor).is_none(),
            Err(_) => false, // it is looked at now and then
        }
    }
}
