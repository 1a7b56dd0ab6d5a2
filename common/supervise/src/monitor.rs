//! The monitor: belongs to the caller, passes signals to the supervisor, and takes the supervisor's place if it
//! is killed.

use super::detach::Started;
use super::log::Log;
use super::scraped::Scraped;
use super::signals;
use super::supervisor::Supervisor;
use super::task::Task;
use super::tee::{Source, Tee};
use super::terminal::copy_size;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use run_common::cli::statuses::Ended;
use run_common::error::plain;
use run_common::fsio::append::close_last_line;
use run_common::message::warn;
use run_common::process::identity::{Process, Signal};
use run_common::process::signals::{Signals, is_request};
use run_common::process::stat::Stat;
use run_common::process::tree::{ProcessTable, my_children, signal_all};
use run_common::rundir::attempts::AttemptEnd;
use run_common::rundir::record::Record;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH};
use std::fs::File;
use std::io::{self, Read};
use std::mem;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

/// A monitor of one supervisor.
#[derive(Debug)]
pub(super) struct Monitor<'a> {
    task: &'a Task,
    supervisor: i32,
    /// The process that it works for, if not for the caller.
    parent: Option<Process>,
    signals: Signals,
    report: File,
    /// The channel to the caller of a detached run.
    started: Option<Started>,
    /// The command's pid, as reported.
    child: Option<i32>,
    terminal: Option<OwnedFd>,
    /// Whether a SIGINT has arrived.
    is_interrupted: bool,
    /// The first signal that requested an end.
    request: Option<i32>,
    /// Earlier children of this process: a shell script may have replaced itself with the tool (exec).
    inherited: Vec<Stat>,
}

impl<'a> Monitor<'a> {
    /// Creates the monitor of a supervisor that was forked.
    pub(super) fn new(
        task: &'a Task,
        supervisor: i32,
        parent: Option<Process>,
        signals: Signals,
        report: OwnedFd,
        started: Option<Started>,
        terminal: Option<OwnedFd>,
    ) -> Self {
        let mut inherited = my_children();
        inherited.retain(|child| child.pid != supervisor);
        Self {
            task,
            supervisor,
            parent,
            signals,
            report: report.into(),
            started,
            child: None,
            terminal,
            is_interrupted: false,
            request: None,
            inherited,
        }
    }

    /// Watches until the run has ended and the caller has received its output.
    pub(super) fn watch(
        mut self,
        record: Record,
        sources: Vec<Source>,
        combined: File,
        copied: Option<&UnixStream>,
    ) -> io::Result<Ended> {
        let supervisor = Process::child(self.supervisor)?;
        let mut reporting = true;
        loop {
            // Only the caller of a detached run waits for the start.
            let is_awaited = reporting && self.started.is_some();
            let mut fds = vec![
                PollFd::new(supervisor.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            ];
            if is_awaited {
                fds.push(PollFd::new(self.report.as_fd(), PollFlags::POLLIN));
            }
            fds.extend(self.parent.as_ref().map(|parent| PollFd::new(parent.as_fd(), PollFlags::POLLIN)));
            match poll(&mut fds, PollTimeout::NONE) {
                Ok(_) | Err(nix::Error::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
            let ready: Vec<bool> = fds.iter().map(|fd| fd.any().unwrap_or(false)).collect();
            if is_awaited && ready[2] {
                reporting = self.read_report()?;
            }
            if self.parent.is_some() && ready.last() == Some(&true) {
                return Ok(Ended::With(self.task.statuses.failed)); // the supervisor notices this, and ends the run
            }
            if ready[1] {
                self.pass_signals(&supervisor);
            }
            if ready[0] {
                break;
            }
        }
        while reporting {
            reporting = self.read_report()?;
        }
        let status = match waitpid(Pid::from_raw(self.supervisor), None)? {
            WaitStatus::Exited(_, status) => u8::try_from(status & 0xff).unwrap_or(self.task.statuses.failed),
            _ => self.take_over(record, sources, combined)?,
        };
        if let Some(copied) = copied {
            self.deliver(copied)?;
        }
        self.tell_started(status);
        Ok(Ended::after(status, self.is_interrupted))
    }

    /// Reads a report of the supervisor; `false` after the last one.
    fn read_report(&mut self) -> io::Result<bool> {
        let mut pid = [0; 4];
        match self.report.read(&mut pid)? {
            4 => {
                self.child = Some(i32::from_ne_bytes(pid));
                self.tell_started(0);
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    fn tell_started(&mut self, status: u8) {
        if let Some(started) = self.started.take() {
            started.tell(status);
        }
    }

    fn pass_signals(&mut self, supervisor: &Process) {
        for signal in self.signals.pending() {
            self.is_interrupted |= signal == SIGINT;
            self.request = self.request.or(Some(signal).filter(|&signal| is_request(signal)));
            let signal = match signal {
                SIGINT => Signal::INT,
                SIGTERM => Signal::TERM,
                SIGHUP => Signal::HUP,
                SIGUSR1 => Signal::USR1,
                SIGUSR2 => Signal::USR2,
                SIGWINCH => {
                    if let Some(terminal) = &self.terminal {
                        copy_size(terminal);
                    }
                    continue;
                }
                _ => continue,
            };
            let _ = supervisor.signal(signal); // the supervisor may have ended
        }
    }

    /// Takes over from a supervisor that was killed: ends the run and records its end.
    fn take_over(&mut self, record: Record, sources: Vec<Source>, mut combined: File) -> io::Result<u8> {
        let start = record.start();
        if let Some(end) = AttemptEnd::read(&self.task.layout, &start.run_id, start.attempt) {
            // Only the script after the end may still run.
            warn("the supervisor was killed after the run had ended");
            let me = std::process::id().cast_signed();
            signal_all(&ProcessTable::read().descendants(me, &[], &self.inherited), Signal::TERM);
            let code = end.exit_code.and_then(|code| u8::try_from(code).ok());
            return Ok(code.unwrap_or(self.task.statuses.failed));
        }
        warn("the supervisor was killed; ending the run");
        let signals = mem::replace(&mut self.signals, signals::catch()?); // no signal is lost in between
        let mut supervisor = Supervisor::new(self.task, record, signals, None);
        supervisor.adopt(self.child, mem::take(&mut self.inherited), self.request);
        if let Err(error) = close_last_line(&mut combined) {
            warn(&format!("cannot write combined.log: {}", plain(&error)));
        }
        let combined = Log::new(combined, "combined.log");
        let tee = Tee::new(sources, combined, Scraped::new(self.task), self.task.limits.linger)?;
        supervisor.supervise(tee)
    }

    /// Waits until the caller has received the output, or requests an end.
    fn deliver(&mut self, copied: &UnixStream) -> io::Result<()> {
        self.signals.pending();
        loop {
            let mut fds = [
                PollFd::new(copied.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            ];
            match poll(&mut fds, PollTimeout::NONE) {
                Ok(_) | Err(nix::Error::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
            let ready = fds.map(|fd| fd.any().unwrap_or(false));
            let impatient = ready[1] && self.signals.pending().into_iter().any(is_request);
            if ready[0] || impatient {
                return Ok(());
            }
        }
    }
}
