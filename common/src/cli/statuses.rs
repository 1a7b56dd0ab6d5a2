//! Exit statuses of a tool that executes a command where the command has none of its own, as env(1) and
//! timeout(1) have them. Used by run-exec and run-eval.

use crate::process::foreground::is_in_foreground;

/// How the process of such a tool ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With this status.
    With(u8),
    /// By SIGINT, as the tool was interrupted, so that a loop of the shell that executes it ends, too. The status is
    /// for whoever does not want to end so.
    Interrupted(u8),
}

impl Ended {
    /// Returns how a tool ends that has this status, and may have been interrupted: by SIGINT where Ctrl-C has sent
    /// that to the shell as well.
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

/// A status for each way in which a command has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statuses {
    /// A time limit ended the command.
    pub timed_out: u8,
    /// The tool failed itself, or refused.
    pub failed: u8,
    /// The command cannot be executed.
    pub cannot_execute: u8,
    /// The command cannot be found.
    pub not_found: u8,
}

/// The usual statuses.
pub const STATUSES: Statuses = Statuses { timed_out: 124, failed: 125, cannot_execute: 126, not_found: 127 };
