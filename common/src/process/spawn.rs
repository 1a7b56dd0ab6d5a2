//! Starts processes and catches signals: the one place with `unsafe`. A fork has no safe interface, nor
//! has a signal handler, and a controlling terminal can only be taken between fork and exec. What a process
//! was started with must be looked at before the library mends it, which is before `main`.
#![expect(
    unsafe_code,
    reason = "fork(2); setsid(2) and ioctl(2) between fork and exec; sigaction(2); what is done before main"
)]

use nix::errno::Errno;
use nix::libc;
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::unistd::{ForkResult, setsid};
use std::fs;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicI32, AtomicU8, AtomicU64, Ordering};
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
        ForkResult::Child => {
            CAUGHT.store(0, Ordering::SeqCst); // the signals that came are the old process's
            Ok(Side::Child)
        }
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

/// The signals that are caught, as bits, in this process and those that are forked off.
static HANDLED: AtomicU64 = AtomicU64::new(0);

/// The signals that have come.
static CAUGHT: AtomicU64 = AtomicU64::new(0);

/// The event that becomes readable with them.
static EVENT: AtomicI32 = AtomicI32::new(-1);

/// Catches signals, given as bits, from now on until the process ends. What is returned becomes readable
/// when one has come; a process that was forked off has to ask for one of its own.
pub(super) fn catch(signals: u64) -> io::Result<ManuallyDrop<EventFd>> {
    let event = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
    let event = ManuallyDrop::new(event); // for the handler
    EVENT.store(event.as_raw_fd(), Ordering::SeqCst);
    let action = SigAction::new(SigHandler::Handler(note), SaFlags::SA_RESTART, SigSet::empty());
    for signal in numbers(signals & !HANDLED.fetch_or(signals, Ordering::SeqCst)) {
        // SAFETY: the handler uses atomics and write(2) alone, which are async-signal-safe.
        unsafe { sigaction(Signal::try_from(signal)?, &action) }?;
    }
    if CAUGHT.load(Ordering::SeqCst) & signals != 0 {
        event.write(1)?; // they came when there was another event
    }
    Ok(event)
}

/// Returns which of these signals have come since it was last called.
pub(super) fn take_caught(signals: u64) -> impl Iterator<Item = i32> {
    numbers(CAUGHT.fetch_and(!signals, Ordering::SeqCst) & signals)
}

fn numbers(signals: u64) -> impl Iterator<Item = i32> {
    (0..64).filter(move |signal| signals >> signal & 1 == 1)
}

extern "C" fn note(signal: libc::c_int) {
    let errno = Errno::last_raw();
    CAUGHT.fetch_or(1 << signal, Ordering::SeqCst);
    // SAFETY: the event is never closed, and eight bytes are written, from a number of eight.
    unsafe { libc::write(EVENT.load(Ordering::SeqCst), (&raw const ONE).cast(), size_of_val(&ONE)) };
    Errno::set_raw(errno);
}

/// What is added to the event.
static ONE: u64 = 1;

/// Which of the descriptors 0 to 2 were closed when the process was started, as bits.
static CLOSED: AtomicU8 = AtomicU8::new(0);

/// Executed before `main`, and before the library opens `/dev/null` in the place of what is closed.
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

/// Fails when a descriptor, 0 to 2, was closed when the process was started: what is written to it since, or
/// read from it, is lost in `/dev/null`.
pub fn check_open(descriptor: u8) -> io::Result<()> {
    match CLOSED.load(Ordering::Relaxed) >> descriptor & 1 {
        0 => Ok(()),
        _ => Err(Errno::EBADF.into()),
    }
}
