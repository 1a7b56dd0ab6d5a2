//! The signals of a front and a supervisor.

use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use run_common::process::signals::{Signals, ignores_hangup};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH};
use std::io;

/// Catches what a front or a supervisor acts upon: SIGINT, SIGTERM, SIGCHLD, SIGWINCH, SIGUSR1,
/// SIGUSR2 and, unless it was ignored from the start as under nohup(1), SIGHUP.
pub(super) fn catch() -> io::Result<Signals> {
    let mut signals = vec![SIGINT, SIGTERM, SIGCHLD, SIGWINCH, SIGUSR1, SIGUSR2];
    if !ignores_hangup() {
        signals.push(SIGHUP);
    }
    Signals::catch(&signals)
}

/// Keeps the signals that [`catch`] catches back while it lives, so that none is lost between a
/// fork and the moment both sides catch them.
#[derive(Debug)]
pub(super) struct Blocked(SigSet);

impl Blocked {
    /// Blocks them.
    pub(super) fn new() -> io::Result<Self> {
        let signals = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGCHLD];
        ignores_hangup(); // asked before the fork, and so once for both
        let set: SigSet = signals.into_iter().collect();
        Ok(Self(set.thread_swap_mask(SigmaskHow::SIG_BLOCK)?))
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        let _ = self.0.thread_set_mask(); // it cannot fail with a mask that was in force
    }
}

/// Says whether a signal asks for an end.
pub(super) fn is_request(signal: i32) -> bool {
    matches!(signal, SIGINT | SIGTERM | SIGHUP)
}
