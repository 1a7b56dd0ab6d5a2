//! Exit statuses of a tool that executes a command, for cases in which the command has no status, as with
//! env(1) and timeout(1). Used by run-exec and run-eval.

use crate::process::foreground::is_in_foreground;

/// How the process of such a tool exits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With this status.
    With(u8),
    /// By SIGINT, because the tool was interrupted, so that a shell loop ends, too. The status is for callers
    /// that cannot end in this way.
    Interrupted(u8),
}

impl Ended {
    /// Returns how a tool exits with this status after a possible interrupt: by SIGINT if Ctrl-C has reached
    /// the shell as well.
    pub fn after(status: u8, is_interrupted: bool) -> Self {
        if is_interrupted && is_in_foreground() { Self::Interrupted(status) } else { Self::With(status) }
    }

    /// Returns the status.
    pub fn status(self) -> u8 {
        match self {
            Self::With(status) | Self::Interrupted(status) => status,
        }
    }
}

/// A status for each case in which a command has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statuses {
    /// A time limit ended the command.
    pub timed_out: u8,
    /// The tool itself failed, or refused.
    pub failed: u8,
    /// The command cannot be executed.
    pub cannot_execute: u8,
    /// The command cannot be found.
    pub not_found: u8,
}

/// The usual statuses.
pub const STATUSES: Statuses = Statuses { timed_out: 124, failed: 125, cannot_execute: 126, not_found: 127 };
