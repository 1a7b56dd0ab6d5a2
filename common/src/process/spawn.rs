//! Starts processes: the only place with `unsafe`. A fork has no safe interface, and a controlling terminal
//! can only be acquired between fork and exec. The original descriptors must be examined before `main`,
//! because the standard library repairs them.
#![expect(
    unsafe_code,
    reason = "fork(2); setsid(2) and ioctl(2) between fork and exec; what is done before main"
)]

use super::signals::Held;
use nix::errno::Errno;
use nix::libc;
use nix::unistd::{ForkResult, setsid};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How long to wait for threads to end.
const MOMENT: Duration = Duration::from_secs(1);

/// The side of a fork.
#[derive(Debug)]
pub enum Side {
    /// The old process, with the child's pid.
    Parent(i32),
    /// The new process, in which signals are blocked until it decides about them.
    Child(Held),
}

/// Forks the process. Fails if other threads run: they would not exist in the child, and their locks would
/// stay locked. A thread that has finished may need a moment to end.
pub fn fork() -> io::Result<Side> {
    let started = Instant::now();
    while let Some(threads) = threads().filter(|&threads| threads > 1) {
        if started.elapsed() > MOMENT {
            return Err(io::Error::other(format!("{threads} threads run")));
        }
        thread::sleep(Duration::from_micros(100));
    }
    let held = Held::new()?;
    // SAFETY: the process has one thread, as was just seen, so the child may do anything.
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Parent { child } => Ok(Side::Parent(child.as_raw())),
        ForkResult::Child => Ok(Side::Child(held)),
    }
}

/// Returns the number of threads of the process: each is a directory, and thus a link to its parent
/// directory.
fn threads() -> Option<u64> {
    fs::metadata("/proc/self/task").ok()?.nlink().checked_sub(2)
}

/// Starts a command in a process group of its own and returns its pid. With a terminal, the command leads a
/// session of its own, with the terminal as its controlling terminal.
///
/// Does not wait for the child: the caller reaps all of its children by pid.
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

/// Which of the descriptors 0 to 2 were closed when the process was started, as bits.
static CLOSED: AtomicU8 = AtomicU8::new(0);

/// Executed before `main`, before the standard library opens `/dev/null` for closed descriptors.
#[used]
#[unsafe(link_section = ".init_array")]
static AT_START: extern "C" fn() = note_closed;

extern "C" fn note_closed() {
    for descriptor in 0..3 {
        // SAFETY: F_GETFD takes no argument, and changes nothing.
        if unsafe { libc::fcntl(descriptor, libc::F_GETFD) } == -1 {
            CLOSED.fetch_or(1 << descriptor, Ordering::Relaxed);
        }
    }
}

/// Fails if a descriptor, 0 to 2, was closed when the process was started: reads and writes would silently go
/// to `/dev/null`.
pub fn check_open(descriptor: u8) -> io::Result<()> {
    match CLOSED.load(Ordering::Relaxed) >> descriptor & 1 {
        0 => Ok(()),
        _ => Err(Errno::EBADF.into()),
    }
}
