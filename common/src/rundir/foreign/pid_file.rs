//! A file that names a process by its pid alone. Pids are used again, so the file may name another process by now.

use crate::fsio::read::open_no_link;
use crate::process::stat::Stat;
use crate::time::Timestamp;
use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Seconds by which a process may seem to have started after its pid or its start was written: clocks are set.
pub(super) const SLACK: f64 = 10.0;

/// Bytes of a pid file that are read; a longer one holds no pid.
const LENGTH: u64 = 64;

/// A pid file.
#[derive(Clone, Copy, Debug)]
pub(super) struct PidFile {
    /// The process that it names.
    pub(super) named: Named,
    /// The user who has it, if it can be read.
    pub(super) owner: Option<u32>,
}

/// The process that a pid file names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Named {
    /// There is no such file.
    NoFile,
    /// The file cannot be read, or is a link or anything else than a file.
    Unknown,
    /// It names no process: it is empty, or holds 0 or -1 or no number.
    Nobody,
    /// There is no such process, or what has the pid now started after the file was written.
    Gone(i32),
    /// It lives.
    Alive(Stat),
    /// It lives, and nothing more can be seen of it.
    Hidden(i32),
}

impl PidFile {
    /// Reads a pid file. A link is not followed: it could lead to the pid file of another run.
    pub(super) fn read(file: &Path) -> Self {
        match read(file) {
            Ok((owner, written, text)) => Self { named: Named::by(&text, written), owner: Some(owner) },
            Err(error) if error.kind() == ErrorKind::NotFound => Self { named: Named::NoFile, owner: None },
            Err(_) => Self { named: Named::Unknown, owner: None },
        }
    }

    /// Takes the first process of a machine or container for nobody, unless process and owner of the file prove that it
    /// is the run's: hardly any other process has this pid.
    pub(super) fn with_proven_first(self, is_proven: impl FnOnce(&Stat, Option<u32>) -> bool) -> Self {
        match self.named {
            Named::Alive(stat) if stat.pid == 1 && !is_proven(&stat, self.owner) => {
                Self { named: Named::Nobody, ..self }
            }
            _ => self,
        }
    }
}

/// Returns the owner of a file, when it was written, and its beginning.
fn read(file: &Path) -> io::Result<(u32, Option<Timestamp>, Vec<u8>)> {
    let file = open_no_link(file)?;
    let found = file.metadata()?;
    let mut text = Vec::new();
    file.take(LENGTH).read_to_end(&mut text)?;
    Ok((found.uid(), found.modified().ok().and_then(Timestamp::of_system), text))
}

impl Named {
    fn by(text: &[u8], written: Option<Timestamp>) -> Self {
        let pid = std::str::from_utf8(text.trim_ascii()).ok().and_then(|text| text.parse().ok());
        let Some(pid) = pid.filter(|&pid: &i32| pid > 0) else { return Self::Nobody };
        match Stat::of(pid) {
            Some(stat) if !stat.is_alive() || is_later(&stat, written) => Self::Gone(pid),
            Some(stat) => Self::Alive(stat),
            None => match kill(Pid::from_raw(pid), None) {
                Err(Errno::EPERM) | Ok(()) => Self::Hidden(pid), // /proc hides the processes of others
                Err(_) => Self::Gone(pid),
            },
        }
    }
}

/// Returns whether a process started after a file was written.
fn is_later(stat: &Stat, written: Option<Timestamp>) -> bool {
    stat.started().zip(written).is_some_and(|(started, written)| started.seconds_since(written) > SLACK)
}
