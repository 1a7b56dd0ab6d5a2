//! A tool's stdout: data for the next tool, and text for people.

use super::table::Table;
use crate::error::{Error, Exit};
use crate::process::spawn::check_open;
use crate::text::printable;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::Serialize;
use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Seek, SeekFrom, StdoutLock, Write};
use std::os::fd::AsFd;
use std::thread;
use std::time::{Duration, Instant};

/// A tool's stdout: buffered, and flushed at the end so that a full disk is noticed.
#[derive(Debug)]
pub struct Out {
    sink: BufWriter<Stdout>,
    colour: bool,
}

/// Stdout, which cannot be written to when the tool was started without one.
#[derive(Debug)]
struct Stdout(StdoutLock<'static>);

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        check_open(1)?;
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// A place in the file that stdout is.
#[derive(Debug)]
pub struct Mark {
    file: File,
    /// Length of the file before what is printed from here on.
    start: u64,
}

impl Out {
    /// Writes to stdout; in colour on a terminal, unless `NO_COLOR` is set.
    pub fn stdout() -> Self {
        let colour =
            io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { sink: BufWriter::with_capacity(64 << 10, Stdout(io::stdout().lock())), colour }
    }

    /// Says whether colours are wanted.
    pub fn has_colour(&self) -> bool {
        self.colour
    }

    /// Prints an object as one line of JSON.
    pub fn json<T: Serialize>(&mut self, object: &T) -> Result<(), Error> {
        serde_json::to_writer(&mut self.sink, object).map_err(|error| failed(error.into()))?;
        self.sink.write_all(b"\n").map_err(failed)
    }

    /// Prints a line as it is: data for the next tool.
    pub fn line(&mut self, line: &str) -> Result<(), Error> {
        self.bytes(line.as_bytes())?;
        self.bytes(b"\n")
    }

    /// Prints bytes as they are.
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.sink.write_all(bytes).map_err(failed)
    }

    /// Prints a line for people; control characters do not come through.
    pub fn text(&mut self, line: &str) -> Result<(), Error> {
        self.line(&printable(line))
    }

    /// Prints a table.
    pub fn table(&mut self, table: &Table) -> Result<(), Error> {
        for line in table.lines(self.colour, usize::MAX) {
            self.line(&line)?;
        }
        Ok(())
    }

    /// Hands on what was printed so far.
    pub fn flush(&mut self) -> Result<(), Error> {
        self.sink.flush().map_err(failed)
    }

    /// Marks this place, to which what comes can be taken back: when stdout is a file that ends here.
    pub fn mark(&mut self) -> Result<Option<Mark>, Error> {
        self.flush()?;
        let stdout = io::stdout().as_fd().try_clone_to_owned().map_err(failed)?;
        Mark::of(File::from(stdout)).map_err(failed)
    }

    /// Takes back so many bytes that were printed since the mark, all that were. It is an error, and
    /// nothing is taken back, if the file has other bytes since.
    pub fn take_back(&mut self, mark: Mark, printed: u64) -> Result<(), Error> {
        self.flush()?;
        if mark.take_back(printed).map_err(failed)? {
            return Ok(());
        }
        let what = "another program writes to the file that stdout is: print through a pipe, as in '| cat'";
        Err(Error::new(Exit::System, what))
    }

    /// Lets time pass, unless the reader goes away, which is an error as when it is written to.
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
                    thread::sleep(left); // a terminal that hung up, say, is noticed when it is written to
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

impl Mark {
    fn of(mut file: File) -> io::Result<Option<Self>> {
        let about = file.metadata()?;
        if !about.is_file() {
            return Ok(None);
        }
        let start = file.stream_position()?;
        Ok((start == about.len()).then_some(Self { file, start }))
    }

    /// Does so if nothing but these bytes came after the mark; says whether it did.
    fn take_back(mut self, printed: u64) -> io::Result<bool> {
        let end = self.start + printed;
        if self.file.stream_position()? != end || self.file.metadata()?.len() != end {
            return Ok(false);
        }
        self.file.set_len(self.start)?;
        self.file.seek(SeekFrom::Start(self.start))?;
        Ok(true)
    }
}

/// Says that stdout cannot be written.
pub(super) fn failed(error: io::Error) -> Error {
    Error::new(Exit::System, "cannot write to stdout").because(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn what_was_printed_is_taken_back_unless_others_write() {
        let path = std::env::temp_dir().join(format!("out-{}", std::process::id()));
        fs::write(&path, "before\n").unwrap();
        for appends in [false, true] {
            let mut file = File::options().append(appends).write(true).open(&path).unwrap();
            assert!(Mark::of(file.try_clone().unwrap()).unwrap().is_none(), "it does not end here");
            file.seek(SeekFrom::End(0)).unwrap();
            let mark = Mark::of(file.try_clone().unwrap()).unwrap().unwrap();
            file.write_all(b"wrong\n").unwrap();
            assert!(mark.take_back(6).unwrap());
            file.write_all(b"right\n").unwrap();
        }
        assert_eq!(fs::read(&path).unwrap(), b"before\nright\nright\n");
        let mut file = File::options().append(true).open(&path).unwrap();
        file.seek(SeekFrom::End(0)).unwrap();
        let mark = Mark::of(file.try_clone().unwrap()).unwrap().unwrap();
        file.write_all(b"mine\n").unwrap();
        File::options().append(true).open(&path).unwrap().write_all(b"theirs\n").unwrap();
        assert!(!mark.take_back(5).unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"before\nright\nright\nmine\ntheirs\n");
        fs::remove_file(&path).unwrap();
    }
}
