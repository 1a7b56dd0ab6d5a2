//! A program that tells something again and again, a line at a time, in a session of its own: of each thing the
//! last that was told is known. On a terminal it writes each line at once, and it is hung up when the supervisor
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

/// How often in a row it may fail before it is started no more.
const PATIENCE: u32 = 3;

/// Things that are known at most.
const MOST: usize = 4096;

/// Bytes of a line at most.
const LONGEST: usize = 16 << 10;

/// A program, and what it has told.
#[derive(Debug)]
pub(super) struct Feed<T> {
    arguments: &'static [&'static str],
    parse: fn(&str) -> Option<T>,
    is_same: fn(&T, &T) -> bool,
    /// There may be nothing to tell.
    may_be_silent: bool,
    running: Option<Running>,
    failures: u32,
    /// Of each thing the last that was told, and when.
    known: Vec<(Instant, T)>,
    /// When something was last told.
    last: Option<Instant>,
}

#[derive(Debug)]
struct Running {
    /// The process, and the group and session that it leads.
    pid: i32,
    output: File,
    /// A line that is not complete.
    line: Vec<u8>,
    since: Instant,
    /// It has told something that was understood, or nothing that was not.
    is_good: bool,
}

impl<T> Feed<T> {
    /// Makes one that was never started. A line replaces what was told of the same thing. A program that has told
    /// nothing when it ends has failed, unless it may be silent.
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

    /// Returns what becomes readable when it tells something.
    pub(super) fn output(&self) -> Option<BorrowedFd<'_>> {
        self.running.as_ref().map(|running| running.output.as_fd())
    }

    /// Says whether it was ever understood.
    pub(super) fn was_understood(&self) -> bool {
        self.last.is_some()
    }

    /// Says whether it failed so often that it is started no more.
    pub(super) fn is_given_up(&self) -> bool {
        self.failures >= PATIENCE
    }

    /// Says whether it has told anything for so long.
    pub(super) fn is_fresh(&self, limit: Duration) -> bool {
        self.last.is_some_and(|last| last.elapsed() <= limit)
    }

    /// Returns what it has told for so long.
    pub(super) fn fresh(&self, limit: Duration) -> impl Iterator<Item = &T> {
        self.known.iter().filter(move |(time, _)| time.elapsed() <= limit).map(|(_, thing)| thing)
    }

    /// Starts the program unless it runs, with a last argument; ends it when it has told nothing for longer than
    /// `patience`. Returns the process group of a new one.
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

    /// Takes in what was told so far.
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
                    return self.end(); // its side of the terminal is closed
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

    /// Takes note that a child has ended, which was not waited for: what is left of the group, if that was the
    /// program, is ended.
    pub(super) fn note_end(&mut self, pid: i32) {
        if self.group() == Some(pid) {
            self.listen(Instant::now());
            self.failures += u32::from(self.running.as_ref().is_some_and(|running| !running.is_good));
            self.end();
        }
    }

    /// Ends the program, and all in its process group: the child is not yet waited for, so that the group is its.
    pub(super) fn end(&mut self) {
        if let Some(running) = self.running.take() {
            let _ = killpg(Pid::from_raw(running.pid), Signal::SIGKILL); // it has ended, then
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
