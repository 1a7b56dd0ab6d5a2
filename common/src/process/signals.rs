//! Signals as something to poll for.

use super::spawn;
use super::stat::Stat;
use nix::sys::eventfd::EventFd;
use signal_hook::consts::SIGHUP;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::OnceLock;

/// Signals that are caught from now on, until the process ends.
#[derive(Debug)]
pub struct Signals {
    /// As bits.
    signals: u64,
    event: ManuallyDrop<EventFd>,
}

impl Signals {
    /// Catches these signals. They come to who called it last, which a process that was forked off has to.
    pub fn catch(signals: &[i32]) -> io::Result<Self> {
        let signals = signals.iter().fold(0, |bits, signal| bits | 1 << signal);
        Ok(Self { signals, event: spawn::catch(signals)? })
    }

    /// Returns the signals that came since the last call, each once.
    pub fn pending(&mut self) -> Vec<i32> {
        let _ = self.event.read(); // there may be nothing to be read
        spawn::take_caught(self.signals).collect()
    }
}

impl AsFd for Signals {
    /// Becomes readable when a signal has come.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

/// Says whether the process was started with SIGHUP ignored, as under nohup(1). It is looked up once,
/// and known to those that are forked later.
pub fn ignores_hangup() -> bool {
    static IGNORED: OnceLock<bool> = OnceLock::new();
    *IGNORED.get_or_init(|| Stat::of_myself().is_some_and(|stat| stat.ignored >> (SIGHUP - 1) & 1 == 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use nix::sys::signal::{Signal, raise};
    use signal_hook::consts::{SIGURG, SIGUSR2};

    #[test]
    fn signals_are_told_once_to_who_asked_last() {
        let is_readable = |signals: &Signals| {
            let mut fds = [PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
            poll(&mut fds, PollTimeout::ZERO).unwrap() == 1
        };
        let mut first = Signals::catch(&[SIGURG, SIGUSR2]).unwrap();
        assert!(!is_readable(&first) && first.pending().is_empty());
        for signal in [Signal::SIGUSR2, Signal::SIGURG, Signal::SIGUSR2] {
            raise(signal).unwrap();
        }
        assert!(is_readable(&first));
        assert_eq!(first.pending(), [SIGUSR2, SIGURG]);
        assert!(!is_readable(&first) && first.pending().is_empty());
        raise(Signal::SIGUSR2).unwrap();
        let mut last = Signals::catch(&[SIGUSR2]).unwrap();
        assert!(is_readable(&last), "what came before is told, too");
        assert_eq!(last.pending(), [SIGUSR2]);
        raise(Signal::SIGUSR2).unwrap();
        assert!(is_readable(&last));
        assert_eq!(last.pending(), [SIGUSR2]);
    }
}
