//! Why a job is being ended.

use std::time::Duration;

/// Why a job is being ended, and how much time it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// The cause.
    pub why: Why,
    /// Who has cancelled the job, if the scheduler says so.
    pub user: Option<String>,
    /// Time until its processes are killed, if known.
    pub left: Option<Duration>,
}

impl Ending {
    /// Returns the words for a reason.
    pub fn words(&self) -> String {
        let user = self.user.as_ref().map(|user| format!(" by {user}")).unwrap_or_default();
        format!("{}{user}", self.why.words())
    }
}

/// What ends a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The job has reached its time limit.
    TimeLimit,
    /// Another job needs its place.
    Preempted,
    /// Somebody has it start again.
    Requeued,
    /// Somebody has cancelled the job.
    Cancelled,
    /// The node of the job has failed, or is taken out of service.
    Node,
}

impl Why {
    /// Returns the words for a reason.
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

/// The beginning of a reason if a run is not started again.
pub const NOT_AGAIN: &str = "not started again: ";

/// Returns whether a reason is one of the scheduler's, which may start the job again.
pub fn is_of_scheduler(reason: &str) -> bool {
    [Why::TimeLimit, Why::Preempted, Why::Requeued, Why::Node]
        .iter()
        .any(|why| reason.starts_with(why.words()))
}

/// The event whose cause a supervisor wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noticed {
    /// A request to end.
    Request,
    /// A signal from outside has ended the program.
    Signal,
    /// The program has ended by itself.
    End,
}
