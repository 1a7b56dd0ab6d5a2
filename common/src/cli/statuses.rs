//! Exit statuses of a tool that executes a command where the command has none of its own, as env(1) and
//! timeout(1) have them. Used by run-exec and run-eval.

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
