//! A tool's stdout: data for the next tool, and text for people.

use super::screen::columns;
use super::table::Table;
use crate::error::{Error, Exit};
use crate::process::spawn::check_open;
use crate::text::printable;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::Serialize;
use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};
use std::os::fd::AsFd;
use std::thread;
use std::time::{Duration, Instant};

/// A tool's stdout: buffered, and flushed at the end so that a full disk is noticed.
#[derive(Debug)]
pub struct Out {
    sink: BufWriter<Stdout>,
    colour: bool,
}

/// Stdout; writing fails if the tool was started without a stdout.
#[derive(Debug)]
struct Stdout {
    lock: StdoutLock<'static>,
    /// Whether the tool continues if the reader goes away.
    may_be_gone: bool,
}

impl Stdout {
    /// Ignores a reader that has gone away, if the tool may continue without one.
    fn passed<T>(&self, done: io::Result<T>, instead: T) -> io::Result<T> {
        match done {
            Err(error) if self.may_be_gone && error.kind() == io::ErrorKind::BrokenPipe => Ok(instead),
            done => done,
        }
    }
}

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        check_open(1)?;
        let written = self.lock.write(bytes);
        self.passed(written, bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.lock.flush();
        self.passed(flushed, ())
    }
}

impl Out {
    /// Writes to stdout; in colour on a terminal, unless `NO_COLOR` is set.
    pub fn stdout() -> Self {
        let colour =
            io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let stdout = Stdout { lock: io::stdout().lock(), may_be_gone: false };
        Self { sink: BufWriter::with_capacity(64 << 10, stdout), colour }
    }

    /// Lets the tool continue if the reader goes away, because its work matters more than its output.
    pub fn outlive_reader(&mut self) {
        self.sink.get_mut().may_be_gone = true;
    }

    /// Returns whether to use colours.
    pub fn has_colour(&self) -> bool {
        self.colour
    }

    /// Prints an object as one line of JSON.
    pub fn json<T: Serialize>(&mut self, object: &T) -> Result<(), Error> {
        serde_json::to_writer(&mut self.sink, object).map_err(|error| failed(error.into()))?;
        self.sink.write_all(b"\n").map_err(failed)
    }

    /// Prints a line unchanged: data for the next tool.
    pub fn line(&mut self, line: &str) -> Result<(), Error> {
        self.bytes(line.as_bytes())?;
        self.bytes(b"\n")
    }

    /// Prints bytes unchanged.
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.sink.write_all(bytes).map_err(failed)
    }

    /// Prints a line for people, with control characters replaced.
    pub fn text(&mut self, line: &str) -> Result<(), Error> {
        self.line(&printable(line))
    }

    /// Prints a table; returns the number of columns that were dropped. On a terminal, a table with heads is
    /// fitted to the width, and long values of a table without heads are folded; elsewhere the table is printed
    /// whole.
    pub fn table(&mut self, table: &Table) -> Result<usize, Error> {
        let (lines, hidden) = match columns() {
            Some(width) if !table.has_heads() => (table.folded(self.colour, width), 0),
            width => table.draw(self.colour, width.unwrap_or(usize::MAX)),
        };
        lines.iter().try_for_each(|line| self.line(line))?;
        Ok(hidden)
    }

    /// Flushes the output.
    pub fn flush(&mut self) -> Result<(), Error> {
        self.sink.flush().map_err(failed)
    }

    /// Waits; fails like a write if the reader goes away.
    pub fn pause(&mut self, time: Duration) -> Result<(), Error> {
        self.flush()?;
        let until = Instant::now() + time;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let stdout = io::stdout();
            let mut fds = [PollFd::new(stdout.as_fd(), PollFlags::empty())];
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            match poll(&mut fds, timeout) {
                Ok(ready)
                    if ready > 0
                        && fds[0].revents().is_some_and(|events| events.contains(PollFlags::POLLERR)) =>
                {
                    return Err(failed(io::ErrorKind::BrokenPipe.into()));
                }
                _ if left.is_zero() => return Ok(()),
                Ok(ready) if ready > 0 => {
                    thread::sleep(left); // a terminal that hung up is noticed by the next write
                    return Ok(());
                }
                _ => {}
            }
        }
    }

    /// Ends the output.
    pub fn finish(&mut self) -> Result<(), Error> {
        self.flush()
    }
}

/// Returns the error of a failed write to stdout.
pub(super) fn failed(error: io::Error) -> Error {
    Error::new(Exit::System, "cannot write to stdout").because(error)
}
