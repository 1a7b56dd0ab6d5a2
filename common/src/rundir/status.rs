//! The statuses of runs and attempts.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The recorded outcome of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Exit 0, and no stop was requested.
    Completed,
    /// Any other unrequested end, time limits included.
    Failed,
    /// A stop was requested and the attempt ended, with any exit code.
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

/// The status of a run, in tables and JSON. A record holds at most an [`Outcome`]; this type cannot be read
/// back, and no writer of records accepts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Never started.
    Created,
    /// Handed to a scheduler.
    Queued,
    /// Started, and its end is not recorded yet.
    Running,
    /// Exit 0, and no stop was requested.
    Completed,
    /// Any other unrequested end, time limits included.
    Failed,
    /// A stop was requested and the attempt ended, with any exit code.
    Stopped,
    /// Recorded as running or queued, and known not to be running.
    Dead,
    /// The state cannot be determined from here, and the heartbeat is old; or the supervisor is suspended, or
    /// gone while the program lives.
    Stale,
}

impl Status {
    /// All statuses.
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

    /// Returns its word in files, tables and options.
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

    /// Returns whether the run has ended: a dead run has, a stale run has not.
    pub fn has_ended(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Stopped | Self::Dead)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}
