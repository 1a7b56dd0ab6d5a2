//! A program that repeatedly reports facts, one a line, in a session of its own; the last report of each fact
//! is kept. It writes to a terminal, so that it writes each line at once, and is hung up when the supervisor
//! is killed.

use super::streams::set_nonblocking;
use super::terminal::Terminal;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use run_common::process::spawn;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Maximum number of failures in a row before it is no longer started.
const PATIENCE: u32 = 3;

/// Maximum number of facts.
const MOST: usize = 4096;

/// Maximum size of a line, in bytes.
const LONGEST: usize = 16 << 10;

/// A program, and its reports.
#[derive(Debug)]
pub(super) struct Feed<T> {
    arguments: &'static [&'static str],
    parse: fn(&str) -> Option<T>,
    is_same: fn(&T, &T) -> bool,
    /// Whether it may have nothing to report.
    may_be_silent: bool,
    running: Option<Running>,
    failures: u32,
    /// The last report of each fact, and its time.
    known: Vec<(Instant, T)>,
    /// Time of the last report.
    last: Option<Instant>,
}

#[derive(Debug)]
struct Running {
    /// The process, and the group and session that it leads.
    pid: i32,
    output: File,
    /// An unfinished line.
    line: Vec<u8>,
    since: Instant,
    /// Whether its output was understood, or empty.
    is_good: bool,
}

impl<T> Feed<T> {
    /// Creates a feed that is not started. A line replaces the last report of the same fact. A program that
    /// ends without a report has failed, unless it may be silent.
    pub(super) fn new(
        arguments: &'static [&'static str],
        parse: fn(&str) -> Option<T>,
        is_same: fn(&T, &T) -> bool,
        may_be_silent: bool,
    ) -> Self {
        Self {
            arguments,
            parse,
            is_same,
            may_be_silent,
            running: None,
            failures: 0,
            known: Vec::new(),
            last: None,
        }
    }

    /// Returns the process group of the program while it runs.
    pub(super) fn group(&self) -> Option<i32> {
        self.running.as_ref().map(|running| running.pid)
    }

    /// Returns a descriptor that becomes readable with a report.
    pub(super) fn output(&self) -> Option<BorrowedFd<'_>> {
        self.running.as_ref().map(|running| running.output.as_fd())
    }

    /// Returns whether a report was ever understood.
    pub(super) fn was_understood(&self) -> bool {
        self.last.is_some()
    }

    /// Returns whether it has failed too often to be started again.
    pub(super) fn is_given_up(&self) -> bool {
        self.failures >= PATIENCE
    }

    /// Returns whether it has reported anything within this time.
    pub(super) fn is_fresh(&self, limit: Duration) -> bool {
        self.last.is_some_and(|last| last.elapsed() <= limit)
    }

    /// Returns the reports of this time.
    pub(super) fn fresh(&self, limit: Duration) -> impl Iterator<Item = &T> {
        self.known.iter().filter(move |(time, _)| time.elapsed() <= limit).map(|(_, thing)| thing)
    }

    /// Starts the program unless it runs, with a last argument; ends it if it has reported nothing for longer
    /// than `patience`. Returns the process group of a new one.
    pub(super) fn tend(&mut self, program: &Path, last: &str, patience: Duration) -> Option<i32> {
        if let Some(running) = &self.running {
            if running.since.max(self.last.unwrap_or(running.since)).elapsed() > patience {
                self.end();
                self.failures += 1;
            }
            return None;
        }
        if self.is_given_up() {
            return None;
        }
        match start(program, self.arguments, last) {
            Ok(running) => self.running = Some(Running { is_good: self.may_be_silent, ..running }),
            Err(_) => self.failures += 1,
        }
        self.group()
    }

    /// Reads the reports so far.
    pub(super) fn listen(&mut self, now: Instant) {
        let mut bytes = [0; 4096];
        while let Some(running) = &mut self.running {
            match running.output.read(&mut bytes) {
                Ok(count) if count > 0 => {
                    running.line.extend(&bytes[..count]);
                    self.take_lines(now);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(_) | Err(_) => {
                    self.failures += u32::from(!running.is_good);
                    return self.end(); // the program's side of the terminal is closed
                }
            }
        }
    }

    fn take_lines(&mut self, now: Instant) {
        let Some(running) = &mut self.running else { return };
        let Some(end) = running.line.iter().rposition(|&byte| byte == b'\n') else {
            if running.line.len() > LONGEST {
                running.line.clear();
            }
            return;
        };
        let text = String::from_utf8_lossy(&running.line[..end]).into_owned();
        running.line.drain(..=end);
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            let Some(thing) = (self.parse)(line) else {
                running.is_good &= self.last.is_some_and(|last| last >= running.since);
                continue;
            };
            running.is_good = true;
            (self.failures, self.last) = (0, Some(now));
            let is_same = self.is_same;
            self.known.retain(|(_, known)| !is_same(known, &thing));
            self.known.push((now, thing));
        }
        let superfluous = self.known.len().saturating_sub(MOST);
        self.known.drain(..superfluous);
    }

    /// Handles a child that has ended and was not waited for: if it was the program, ends the rest of its
    /// group.
    pub(super) fn note_end(&mut self, pid: i32) {
        if self.group() == Some(pid) {
            self.listen(Instant::now());
            self.failures += u32::from(self.running.as_ref().is_some_and(|running| !running.is_good));
            self.end();
        }
    }

    /// Ends the program and its process group: the child is not yet waited for, so the group still belongs to
    /// it.
    pub(super) fn end(&mut self) {
        if let Some(running) = self.running.take() {
            let _ = killpg(Pid::from_raw(running.pid), Signal::SIGKILL); // then it has ended
        }
    }
}

/// Starts a program with these arguments.
fn start(program: &Path, arguments: &[&str], last: &str) -> io::Result<Running> {
    let Terminal { ours, theirs } = Terminal::open()?;
    set_nonblocking(&ours)?;
    let mut command = Command::new(program);
    command.args(arguments).arg(last).stdin(Stdio::null());
    let pid = spawn::start(&mut command, Some(&theirs))?;
    Ok(Running { pid, output: File::from(ours), line: Vec::new(), since: Instant::now(), is_good: false })
}
