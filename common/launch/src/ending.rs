//! Why a job is being ended.

use std::time::Duration;

/// Why a job is being ended, and what follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// Why.
    pub why: Why,
    /// Time until its processes are killed, where that is known.
    pub left: Option<Duration>,
}

/// What ends a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Its time is over.
    TimeLimit,
    /// Another job needs its place.
    Preempted,
    /// Somebody has it start again.
    Requeued,
    /// Somebody has cancelled it.
    Cancelled,
    /// Its node has failed, or is taken out of service.
    Node,
}

impl Why {
    /// Says so in words, as a reason has it.
    pub fn words(self) -> &'static str {
        match self {
            Self::TimeLimit => "time limit",
            Self::Preempted => "preempted",
            Self::Requeued => "requeued",
            Self::Cancelled => "cancelled",
            Self::Node => "node failed",
        }
    }
}

/// What a supervisor has noticed, and asks about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noticed {
    /// A request to end.
    Request,
    /// A signal that nobody here has sent has ended the program.
    Signal,
    /// The program has ended by itself.
    End,
}
