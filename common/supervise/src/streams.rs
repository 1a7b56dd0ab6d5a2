//! The streams of the command's output, created before the fork: the monitor keeps the reading ends, so that
//! no output is lost, and no pipe breaks, if the supervisor is killed.

use super::combined::Stream;
use super::log::Log;
use super::task::{Output, Task};
use super::tee::Source;
use super::terminal::Terminal;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::pipe2;
use run_common::fsio::append::close_last_line;
use run_common::fsio::write::open_append;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// The streams of a command, with the logs they go to.
#[derive(Debug)]
pub(super) struct Streams {
    /// The reading ends.
    pub(super) sources: Vec<Source>,
    /// combined.log, which ends in a newline.
    pub(super) combined: File,
    /// The command's stdout.
    pub(super) stdout: OwnedFd,
    /// The command's stderr.
    pub(super) stderr: OwnedFd,
    /// The master side of the command's terminal.
    pub(super) terminal: Option<OwnedFd>,
}

impl Streams {
    /// Opens the logs, and creates the streams that the command writes to.
    pub(super) fn open(task: &Task) -> io::Result<Self> {
        let layout = &task.layout;
        let mut combined = open_append(&layout.combined())?;
        close_last_line(&mut combined)?;
        let stdout_log = Log::new(open_append(&layout.stdout())?, "stdout.log");
        let stderr_log = Log::new(open_append(&layout.stderr())?, "stderr.log");
        let source = |stream, input: OwnedFd, log, other_side| -> io::Result<Source> {
            set_nonblocking(&input)?;
            Ok(Source { stream, input: input.into(), log, other_side, onward: None })
        };
        match task.output {
            Output::Terminal => {
                let Terminal { ours, theirs } = Terminal::open()?;
                let other_side = Some(theirs.try_clone()?);
                Ok(Self {
                    sources: vec![source(Stream::Stdout, ours.try_clone()?, stdout_log, other_side)?],
                    combined,
                    stderr: theirs.try_clone()?,
                    stdout: theirs,
                    terminal: Some(ours),
                })
            }
            Output::Merged => {
                let (read, write) = pipe2(OFlag::O_CLOEXEC)?;
                Ok(Self {
                    sources: vec![source(Stream::Stdout, read, stdout_log, None)?],
                    combined,
                    stdout: write.try_clone()?,
                    stderr: write,
                    terminal: None,
                })
            }
            Output::Pipes => {
                let (stdout_read, stdout) = pipe2(OFlag::O_CLOEXEC)?;
                let (stderr_read, stderr) = pipe2(OFlag::O_CLOEXEC)?;
                let stdout_source = source(Stream::Stdout, stdout_read, stdout_log, None)?;
                let stderr_source = source(Stream::Stderr, stderr_read, stderr_log, None)?;
                Ok(Self {
                    sources: vec![stdout_source, stderr_source],
                    combined,
                    stdout,
                    stderr,
                    terminal: None,
                })
            }
        }
    }
}

/// Makes a descriptor non-blocking.
pub(super) fn set_nonblocking(fd: impl AsFd) -> io::Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(&fd, FcntlArg::F_GETFL)?);
    fcntl(&fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}
