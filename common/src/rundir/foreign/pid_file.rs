//! A file that names a process by its pid alone, and what can be made of it: pids are used again.

use crate::fsio::read_small;
use crate::process::stat::Stat;
use crate::time::Timestamp;
use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use std::fs;
use std::path::Path;

/// Seconds by which a process may seem to have started after it wrote the file: clocks are set.
const SLACK: f64 = 10.0;

/// The process that a pid file names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Named {
    /// There is no such file.
    NoFile,
    /// It names no process: it is empty, or holds 0 or -1 or no number.
    Nobody,
    /// There is no such process, or what has the pid now started after the file was written.
    Gone(i32),
    /// It lives.
    Alive(Stat),
    /// It lives, and nothing more can be seen of it.
    Hidden(i32),
}

impl Named {
    /// Reads a pid file.
    pub(super) fn by(file: &Path) -> Self {
        let Ok(found) = fs::metadata(file) else { return Self::NoFile };
        let written = found.modified().ok().and_then(Timestamp::of_system);
        let text = read_small(file).unwrap_or_default();
        let pid = std::str::from_utf8(text.trim_ascii()).ok().and_then(|text| text.parse().ok());
        let Some(pid) = pid.filter(|&pid: &i32| pid > 0) else { return Self::Nobody };
        match Stat::of(pid) {
            Some(stat) if !stat.is_alive() || is_later(&stat, written) => Self::Gone(pid),
            // The first process of a machine or container is no trainer that left files beside others.
            Some(_) if pid == 1 => Self::Nobody,
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
