//! The signals of a monitor and a supervisor.

use run_common::process::signals::{Signals, requests};
use signal_hook::consts::{SIGCHLD, SIGUSR1, SIGUSR2, SIGWINCH};
use std::io;

/// Catches the signals that a monitor or a supervisor handles: stop requests, SIGCHLD, SIGWINCH, SIGUSR1 and
/// SIGUSR2.
pub fn catch() -> io::Result<Signals> {
    let mut signals = requests();
    signals.extend([SIGCHLD, SIGWINCH, SIGUSR1, SIGUSR2]);
    Signals::catch(&signals)
}
