//! `--detach`: a process that leaves the caller's session, and tells the caller when the command has started.

use nix::fcntl::OFlag;
use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout, pipe2, setsid};
use run_common::error::{Error, Exit};
use run_common::fsio::write::open_null;
use run_common::message::complain;
use run_common::process::spawn::{Side, fork};
use std::fs::File;
use std::io::{self, Read, Write};

/// The side of a [`detach`].
#[derive(Debug)]
pub(super) enum Detached {
    /// The caller's process: the run has started, or failed to, with this status.
    Caller(u8),
    /// The process that continues, and its channel to the caller.
    Stays(Started),
}

/// Tells the caller of a detached run that it has started.
#[derive(Debug)]
pub(super) struct Started(File);

/// Forks the process; the child leaves the caller's session, and the caller's process returns `failed` if the
/// run does not start.
pub(super) fn detach(failed: u8) -> io::Result<Detached> {
    let (read, write) = pipe2(OFlag::O_CLOEXEC)?;
    match fork()? {
        Side::Parent(_) => {
            drop(write);
            let mut status = [failed];
            if File::from(read).read(&mut status)? == 0 {
                complain(&Error::new(Exit::System, "the run did not start"));
            }
            Ok(Detached::Caller(status[0]))
        }
        Side::Child(_held) => {
            setsid()?;
            Ok(Detached::Stays(Started(write.into())))
        }
    }
}

impl Started {
    /// Tells the caller the status, and closes the caller's descriptors.
    pub(super) fn tell(mut self, status: u8) {
        if let Ok(null) = open_null() {
            let _ = (dup2_stdin(&null), dup2_stdout(&null), dup2_stderr(&null)); // open descriptors
        }
        let _ = self.0.write_all(&[status]); // a caller that was killed needs no answer
    }
}
