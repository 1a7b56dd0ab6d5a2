//! The words for what a run does and for how it ended.

use serde::{Deserialize, Serialize};
use std::fmt;

/// How an attempt ended: what is recorded of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Exit 0, and no stop was asked for.
    Completed,
    /// Any other end that was not asked for, time limits included.
    Failed,
    /// A stop was asked for and it ended, whatever its exit code.
    Stopped,
}

impl From<Outcome> for Status {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Completed => Self::Completed,
            Outcome::Failed => Self::Failed,
            Outcome::Stopped => Self::Stopped,
        }
    }
}

/// What a run does, as tables and JSON say it. A record holds an [`Outcome`] or less; this cannot be read
/// back, and nothing that writes records takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Never started.
    Created,
    /// Handed to a scheduler.
    Queued,
    /// Started, and not yet recorded to have ended.
    Running,
    /// Exit 0, and no stop was asked for.
    Completed,
    /// Any other end that was not asked for, time limits included.
    Failed,
    /// A stop was asked for and it ended, whatever its exit code.
    Stopped,
    /// Recorded as running or queued, and proven not to be.
    Dead,
    /// It cannot be proven from here and the heartbeat is old; or the supervisor is stopped, or
    /// gone while the program lives.
    Stale,
}

impl Status {
    /// Every status there is.
    pub const ALL: [Self; 8] = [
        Self::Created,
        Self::Queued,
        Self::Running,
        Self::Completed,
        Self::Failed,
        Self::Stopped,
        Self::Dead,
        Self::Stale,
    ];

    /// Returns the word of files, tables and options.
    pub fn word(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
            Self::Dead => "dead",
            Self::Stale => "stale",
        }
    }

    /// Says whether the run is over: dead is, stale is not.
    pub fn has_ended(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Stopped | Self::Dead)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}
