//! Starts processes: the one place with `unsafe`. A fork has no safe interface, and a controlling
//! terminal can only be taken between fork and exec.
#![expect(unsafe_code, reason = "fork(2), and setsid(2) and ioctl(2) between fork and exec")]

use nix::libc;
use nix::unistd::{ForkResult, setsid};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long threads may take to end.
const MOMENT: Duration = Duration::from_secs(1);

/// Which side of a fork the caller finds itself on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The old process, with the child's pid.
    Parent(i32),
    /// The new process.
    Child,
}

/// Splits the process in two. Fails when other threads run: they would not exist in the child,
/// and what they had locked would stay locked. One that has done its work may need a moment to end.
pub fn fork() -> io::Result<Side> {
    let started = Instant::now();
    while let Some(threads) = threads().filter(|&threads| threads > 1) {
        if started.elapsed() > MOMENT {
            return Err(io::Error::other(format!("{threads} threads run")));
        }
        thread::sleep(Duration::from_micros(100));
    }
    // SAFETY: the process has one thread, as was just seen, so the child may do anything.
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Parent { child } => Ok(Side::Parent(child.as_raw())),
        ForkResult::Child => Ok(Side::Child),
    }
}

/// Returns how many threads the process has: each is a directory, and so a link to the one above it.
fn threads() -> Option<u64> {
    fs::metadata("/proc/self/task").ok()?.nlink().checked_sub(2)
}

/// Starts a command in a process group of its own and returns its pid. With a terminal, the
/// command leads a session of its own and has the terminal as its controlling one.
///
/// The child is not waited for: the caller reaps all of its children by pid.
pub fn start(command: &mut Command, terminal: Option<&OwnedFd>) -> io::Result<i32> {
    match terminal {
        None => {
            command.process_group(0);
        }
        Some(terminal) => {
            command.stdout(Stdio::from(terminal.try_clone()?)).stderr(Stdio::from(terminal.try_clone()?));
            let take_terminal = || {
                setsid()?;
                // SAFETY: descriptor 1 is open, and TIOCSCTTY takes an integer.
                match unsafe { libc::ioctl(1, libc::TIOCSCTTY, 0) } {
                    -1 => Err(io::Error::last_os_error()),
                    _ => Ok(()),
                }
            };
            // SAFETY: the closure calls setsid(2) and ioctl(2) alone, both async-signal-safe.
            unsafe { command.pre_exec(take_terminal) };
        }
    }
    let child = command.spawn()?;
    child.id().try_into().map_err(io::Error::other)
}
