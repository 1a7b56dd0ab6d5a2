//! Why a job is being ended.

use std::time::Duration;

/// Why a job is being ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// Why, in words.
    pub why: Why,
    /// Time until its processes are killed, where that is known.
    pub left: Option<Duration>,
    /// It will be started again.
    pub returns: bool,
}

/// What ends a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Its time is over.
    TimeLimit,
    /// Another job needs its place.
    Preempted,
    /// Somebody has cancelled it.
    Cancelled,
    /// Its node is taken out of service.
    Node,
}

impl Why {
    /// Says so in words, as a reason has it.
    pub fn words(self) -> &'static str {
        match self {
            Self::TimeLimit => "time limit",
            Self::Preempted => "preempted",
            Self::Cancelled => "cancelled",
            Self::Node => "node failed",
        }
    }
}
