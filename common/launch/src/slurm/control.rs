//! A job as scontrol shows it, to the job itself.

use super::query::state;
use super::time::point;
use crate::call::call;
use crate::contract::Known;
use crate::ending::{Ending, Why};
use run_common::process::answer::answer;
use run_common::time::Timestamp;
use std::process::Command;
use std::time::Duration;

/// How long a job waits for an answer while it is being ended.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long it may take to have a job started again.
const REQUEUE: Duration = Duration::from_secs(30);

/// Slurm may signal a job this much earlier than it was told to.
const EARLY: Duration = Duration::from_secs(60);

/// What scontrol shows.
#[derive(Debug)]
pub(crate) struct Control(String);

impl Control {
    /// Asks about a job.
    pub(crate) fn show(id: &str) -> Option<Self> {
        let mut command = Command::new("scontrol");
        command.args(["show", "job", "--oneliner", id]).env("SLURM_TIME_FORMAT", "%s");
        let text = answer(&mut command, PATIENCE)?;
        Some(Self(String::from_utf8_lossy(&text).into_owned()))
    }

    /// Has a job that is at work be started again: it is ended first.
    pub(crate) fn requeue(id: &str) -> Result<(), String> {
        let called = call(Command::new("scontrol").args(["requeue", id]), Vec::new(), REQUEUE);
        match called {
            Ok(answered) if answered.is_ok => Ok(()),
            Ok(answered) => Err(answered.why().to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Returns the value of a field.
    fn field(&self, name: &str) -> Option<&str> {
        let is_it = |word: &&str| word.strip_prefix(name).is_some_and(|rest| rest.starts_with('='));
        let word = self.0.split_whitespace().find(is_it)?;
        word.split_once('=').map(|(_, value)| value)
    }

    /// Concludes why the job is being ended. Its time limit is the reason when no more is left than the time before
    /// it at which Slurm was told to signal the job.
    pub(crate) fn ending(&self, warning: Duration, kill_wait: Option<Duration>) -> Option<Ending> {
        let word = self.field("JobState")?;
        let left = self.field("EndTime").and_then(point).map(|end| end.seconds_since(Timestamp::now()));
        let near = (warning + EARLY).as_secs_f64();
        let is_preempted = self.field("PreemptTime").is_some_and(|time| point(time).is_some());
        let returns = state(word) == Known::Pending;
        let why = match word {
            _ if is_preempted => Why::Preempted,
            "PREEMPTED" => Why::Preempted,
            "CANCELLED" => Why::Cancelled,
            "TIMEOUT" | "DEADLINE" => Why::TimeLimit,
            "NODE_FAIL" | "BOOT_FAIL" => Why::Node,
            _ if returns => Why::Preempted,
            "RUNNING" if left.is_some_and(|left| left <= near) => Why::TimeLimit,
            _ => return None,
        };
        let until_killed = match (why, left) {
            (Why::TimeLimit, Some(left)) if word == "RUNNING" => {
                Duration::try_from_secs_f64(left).ok().or(kill_wait)
            }
            _ => kill_wait,
        };
        Some(Ending { why, left: until_killed, returns })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(state: &str, left: i64, rest: &str) -> Option<(Why, Option<u64>, bool)> {
        let end = Timestamp::now().millis() / 1000 + left;
        let text =
            format!("JobId=7 JobName=a b UserId=x(1) JobState={state} Requeue=1 EndTime={end} {rest}\n");
        let ending = Control(text).ending(Duration::from_secs(30), Some(Duration::from_secs(3)))?;
        Some((ending.why, ending.left.map(|left| left.as_secs().div_ceil(10) * 10), ending.returns))
    }

    #[test]
    fn what_ends_a_job_is_told_by_its_state_and_its_times() {
        let soon = Some(10);
        for (state, left, rest, expected) in [
            ("RUNNING", 3600, "PreemptTime=None", None),
            ("RUNNING", 85, "PreemptTime=None", Some((Why::TimeLimit, Some(90), false))),
            ("RUNNING", 3600, "PreemptTime=1769688000", Some((Why::Preempted, soon, false))),
            ("PENDING", 3600, "PreemptTime=None", Some((Why::Preempted, soon, true))),
            ("CANCELLED", 0, "PreemptTime=None", Some((Why::Cancelled, soon, false))),
            ("PREEMPTED", 0, "", Some((Why::Preempted, soon, false))),
            ("TIMEOUT", 0, "", Some((Why::TimeLimit, soon, false))),
            ("NODE_FAIL", 0, "", Some((Why::Node, soon, false))),
            ("CONFIGURING", 0, "", None),
        ] {
            assert_eq!(told(state, left, rest), expected, "{state} {left} {rest}");
        }
    }
}
