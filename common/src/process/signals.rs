//! Signals as file descriptors to poll. The tools catch signals only in this way: signal-hook notes a signal
//! and wakes the poll. Used by controllers, monitors, supervisors, `run-status --watch` and tools that wait
//! for runs.

use super::stat::Stat;
use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::flag::{self, register_conditional_default};
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::SignalOnly;
use signal_hook::low_level::emulate_default_handler;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, OnceLock};

/// Catches signals while it lives. A forked process shares the wake-up descriptor of its parent, so it must
/// catch the signals again or release them, and must no longer poll this one.
#[derive(Debug)]
pub struct Signals {
    signals: Vec<i32>,
    delivery: SignalDelivery<UnixStream, SignalOnly>,
}

/// Whether the signals were released to their usual effect.
static ARE_LET_GO: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

impl Signals {
    /// Catches these signals.
    pub fn catch(signals: &[i32]) -> io::Result<Self> {
        let (read, write) = UnixStream::pair()?;
        let delivery = SignalDelivery::with_pipe(read, write, SignalOnly, signals)?;
        ARE_LET_GO.store(false, Ordering::SeqCst);
        Ok(Self { signals: signals.to_owned(), delivery })
    }

    /// Returns the signals that arrived since the last call, each once.
    pub fn pending(&mut self) -> Vec<i32> {
        self.delivery.pending().collect()
    }

    /// Restores the usual effect of the signals, until they are caught again.
    pub fn let_go(self) -> io::Result<()> {
        for &signal in &self.signals {
            register_conditional_default(signal, Arc::clone(&*ARE_LET_GO))?;
        }
        ARE_LET_GO.store(true, Ordering::SeqCst);
        Ok(())
    }
}

impl AsFd for Signals {
    /// Becomes readable when a signal has arrived.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.delivery.get_read().as_fd()
    }
}

/// Blocks all signals while it lives, so that none is lost between a fork and the moment at which the new
/// process catches them.
#[derive(Debug)]
pub struct Held(SigSet);

impl Held {
    /// Blocks all signals in the calling thread.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self(SigSet::all().thread_swap_mask(SigmaskHow::SIG_BLOCK)?))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.0.thread_set_mask(); // cannot fail with a mask that was in force
    }
}

/// Unblocks all signals: a launcher may have left some blocked, and executed programs would inherit this.
pub(crate) fn unblock() {
    let _ = SigSet::empty().thread_set_mask(); // cannot fail with a valid mask
}

/// Returns the signals that ask for an end: SIGINT, SIGTERM and, unless it was ignored from the start, SIGHUP.
pub fn requests() -> Vec<i32> {
    let mut signals = vec![SIGINT, SIGTERM];
    if !was_ignored(SIGHUP) {
        signals.push(SIGHUP);
    }
    signals
}

/// Returns whether a signal asks for an end.
pub fn is_request(signal: i32) -> bool {
    matches!(signal, SIGINT | SIGTERM | SIGHUP)
}

/// Returns whether the process was started with a signal ignored, as with SIGHUP under nohup(1), and with
/// SIGINT in the background of a script. Determined once, before signals are caught; forked processes inherit
/// the result.
pub(super) fn was_ignored(signal: i32) -> bool {
    static IGNORED: OnceLock<u64> = OnceLock::new();
    let ignored = *IGNORED.get_or_init(|| Stat::of_myself().map_or(0, |stat| stat.ignored));
    ignored >> (signal - 1) & 1 == 1
}

/// Turns the file size limit into a write error instead of the end of the process. Executed programs have the
/// default effect again.
pub(crate) fn survive_limit() {
    let _ = flag::register(SIGXFSZ, Arc::default()); // a handler, which execve(2) removes
}

/// Ends the process by a signal, as if it had not been caught; returns if that is impossible.
pub(crate) fn end_by(signal: i32) {
    let _ = emulate_default_handler(signal); // then the caller continues
}

/// Returns the name of a signal without `SIG`.
pub fn signal_name(signal: i32) -> &'static str {
    Signal::try_from(signal).map_or("unknown", |signal| signal.as_str().trim_start_matches("SIG"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use nix::sys::signal::raise;
    use signal_hook::consts::{SIGURG, SIGUSR1, SIGUSR2};

    fn is_readable(signals: &Signals) -> bool {
        let mut fds = [PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::ZERO).unwrap() == 1
    }

    #[test]
    fn signals_are_told_once_and_to_all_who_catch_them() {
        let mut first = Signals::catch(&[SIGURG, SIGUSR2]).unwrap();
        assert!(!is_readable(&first) && first.pending().is_empty());
        for signal in [Signal::SIGUSR2, Signal::SIGURG, Signal::SIGUSR2] {
            raise(signal).unwrap();
        }
        assert!(is_readable(&first));
        assert_eq!(first.pending(), [SIGUSR2, SIGURG]);
        assert!(!is_readable(&first) && first.pending().is_empty());
        let mut second = Signals::catch(&[SIGUSR2]).unwrap();
        assert!(!is_readable(&second), "what came before is not told");
        raise(Signal::SIGUSR2).unwrap();
        assert_eq!((first.pending(), second.pending()), (vec![SIGUSR2], vec![SIGUSR2]));
        drop(first);
        raise(Signal::SIGUSR2).unwrap();
        assert_eq!(second.pending(), [SIGUSR2]);
    }

    #[test]
    fn a_signal_that_is_held_back_is_told_afterwards() {
        let mut signals = Signals::catch(&[SIGUSR1]).unwrap();
        let held = Held::new().unwrap();
        raise(Signal::SIGUSR1).unwrap();
        assert!(!is_readable(&signals) && signals.pending().is_empty());
        drop(held);
        assert_eq!(signals.pending(), [SIGUSR1]);
    }

    #[test]
    fn signals_have_names() {
        assert_eq!([9, 15, 99].map(signal_name), ["KILL", "TERM", "unknown"]);
    }
}
