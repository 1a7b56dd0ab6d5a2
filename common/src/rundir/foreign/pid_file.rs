//! A file that names a process by its pid alone. Pids are reused, so the file may name another process by now.

use crate::fsio::read::open_no_link;
use crate::process::stat::Stat;
use crate::time::Timestamp;
use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Tolerance in seconds between the start of a process and the time at which its pid or start was written:
/// clocks are changed.
pub(super) const SLACK: f64 = 10.0;

/// Maximum length of a pid file, in bytes; a longer one contains no pid.
const LENGTH: u64 = 64;

/// A pid file.
#[derive(Clone, Copy, Debug)]
pub(super) struct PidFile {
    /// The process that it names.
    pub(super) named: Named,
    /// The owner of the file, if the file can be read.
    pub(super) owner: Option<u32>,
}

/// The process that a pid file names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Named {
    /// The file does not exist.
    NoFile,
    /// The file cannot be read, or is not a regular file.
    Unknown,
    /// The file names no process: it is empty, or contains 0, -1 or no number.
    Nobody,
    /// There is no such process, or the current process with this pid started after the file was written.
    Gone(i32),
    /// A living process.
    Alive(Stat),
    /// A living process of which nothing more is visible.
    Hidden(i32),
}

impl PidFile {
    /// Reads a pid file. A link is not followed, because it could lead to the pid file of another run.
    pub(super) fn read(file: &Path) -> Self {
        match read(file) {
            Ok((owner, written, text)) => Self { named: Named::by(&text, written), owner: Some(owner) },
            Err(error) if error.kind() == ErrorKind::NotFound => Self { named: Named::NoFile, owner: None },
            Err(_) => Self { named: Named::Unknown, owner: None },
        }
    }

    /// Ignores pid 1, the first process of a machine or container, unless the process and the owner of the file
    /// prove that it belongs to the run.
    pub(super) fn with_proven_first(self, is_proven: impl FnOnce(&Stat, Option<u32>) -> bool) -> Self {
        match self.named {
            Named::Alive(stat) if stat.pid == 1 && !is_proven(&stat, self.owner) => {
                Self { named: Named::Nobody, ..self }
            }
            _ => self,
        }
    }
}

/// Returns the owner of a file, the time at which it was written, and its beginning.
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
                Err(Errno::EPERM) | Ok(()) => Self::Hidden(pid), // /proc hides processes of other users
                Err(_) => Self::Gone(pid),
            },
        }
    }
}

/// Returns whether a process started after a file was written.
fn is_later(stat: &Stat, written: Option<Timestamp>) -> bool {
    stat.started().zip(written).is_some_and(|(started, written)| started.seconds_since(written) > SLACK)
}
