//! Signals as something to poll for.

use super::identity::Stat;
use signal_hook::consts::SIGHUP;
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::SignalOnly;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::OnceLock;

/// Signals that are caught from now on, until the process ends: to undo that takes longer than all
/// else that the end of a run takes.
#[derive(Debug)]
pub struct Signals(ManuallyDrop<SignalDelivery<UnixStream, SignalOnly>>);

impl Signals {
    /// Catches these signals.
    pub fn catch(signals: &[i32]) -> io::Result<Self> {
        let (read, write) = UnixStream::pair()?;
        Ok(Self(ManuallyDrop::new(SignalDelivery::with_pipe(read, write, SignalOnly, signals)?)))
    }

    /// Returns the signals that came since the last call, each once.
    pub fn pending(&mut self) -> Vec<i32> {
        self.0.pending().collect()
    }
}

impl AsFd for Signals {
    /// Becomes readable when a signal has come.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.get_read().as_fd()
    }
}

/// Says whether the process was started with SIGHUP ignored, as under nohup(1). It is looked up once,
/// and known to those that are forked later.
pub fn ignores_hangup() -> bool {
    static IGNORED: OnceLock<bool> = OnceLock::new();
    *IGNORED.get_or_init(|| Stat::of_myself().is_some_and(|stat| stat.ignored >> (SIGHUP - 1) & 1 == 1))
}
