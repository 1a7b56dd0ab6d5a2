//! Asks Slurm about this job: by scontrol, and by the notes of the step daemon in its output.

use super::query::state;
use super::time::point;
use crate::call::call;
use crate::contract::Known;
use crate::ending::Why;
use run_common::fsio::read::read_end;
use run_common::process::answer::answer;
use run_common::time::Timestamp;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Time limit for an answer while the job is being ended.
const PATIENCE: Duration = Duration::from_secs(2);

/// Time limit for a request to start a job again.
const REQUEUE: Duration = Duration::from_secs(30);

/// Slurm may signal a job this much earlier than requested.
const EARLY: Duration = Duration::from_secs(60);

/// The variable that names the file to which Slurm writes why it ends a job.
pub const NOTES: &str = "RUN_JOB_NOTES";

/// Bytes at the end of that file that are searched for notes.
const LAST: u64 = 4 << 10;

/// The line of a job in the output of `scontrol show job`.
#[derive(Debug)]
pub(crate) struct Control(String);

impl Control {
    /// Asks about a job. A task of an array is `ARRAY_TASK`.
    pub(crate) fn show(id: &str) -> Option<Self> {
        let mut command = Command::new("scontrol");
        command.args(["show", "job", "--oneliner", id]).env("SLURM_TIME_FORMAT", "%s");
        let text = answer(&mut command, PATIENCE)?;
        Self::of(&String::from_utf8_lossy(&text), id)
    }

    /// Finds the line of a job: for some ids Slurm prints a line for each task of an array or part of a job.
    fn of(text: &str, id: &str) -> Option<Self> {
        let is_it = |shown: &Self| match id.split_once('_') {
            Some((array, task)) => {
                shown.field("ArrayJobId") == Some(array) && shown.field("ArrayTaskId") == Some(task)
            }
            None => shown.field("JobId") == Some(id),
        };
        text.lines().map(|line| Self(line.to_owned())).find(is_it)
    }

    /// Makes a running job start again: Slurm ends it first.
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

    fn time(&self, name: &str) -> Option<Timestamp> {
        self.field(name).and_then(point)
    }

    /// Returns whether Slurm will start the job again, after this number of restarts.
    pub(crate) fn returns(&self, restarts: u32) -> bool {
        let is_pending = self.field("JobState").is_some_and(|word| state(word) == Known::Pending);
        is_pending
            || self
                .field("Restarts")
                .and_then(|count| count.parse().ok())
                .is_some_and(|now: u32| now > restarts)
    }

    /// Returns the time until the job reaches its limit.
    pub(crate) fn left(&self) -> Option<Duration> {
        let left = self.time("EndTime")?.seconds_since(Timestamp::now());
        Duration::try_from_secs_f64(left.max(0.0)).ok()
    }

    /// Returns whether the job has its nodes and is not being ended. While Slurm signals it, its state is SIGNALING.
    fn is_active(&self) -> bool {
        let is_over = |word: &str| ["COMPLETING", "STAGE_OUT"].contains(&word);
        self.field("JobState").is_some_and(|word| state(word) == Known::Started && !is_over(word))
    }

    /// Returns whether the job is active, and its time limit is so near that Slurm sends the signal that was requested
    /// before the limit.
    pub(crate) fn is_near_its_limit(&self, warning: Duration) -> bool {
        self.is_active() && self.left().is_some_and(|left| left <= warning + EARLY)
    }

    /// Determines why the job, which was restarted this many times before, is no longer active.
    pub(crate) fn why(&self, restarts: u32) -> Option<Why> {
        let is_preempted = self.time("PreemptTime").is_some();
        match self.field("JobState")? {
            _ if self.is_active() => None,
            "PREEMPTED" => Some(Why::Preempted),
            _ if is_preempted => Some(Why::Preempted),
            "CANCELLED" => Some(Why::Cancelled),
            "TIMEOUT" | "DEADLINE" => Some(Why::TimeLimit),
            "NODE_FAIL" | "BOOT_FAIL" => Some(Why::Node),
            _ if self.returns(restarts) => Some(Why::Requeued),
            "COMPLETING" => Some(Why::Cancelled),
            _ => None,
        }
    }
}

/// Returns who cancelled a job, if Slurm's accounting has it.
pub(crate) fn cancelled_by(job: &str) -> Option<String> {
    let options = ["--noheader", "--allocations", "--parsable2", "--format=State", "--jobs", job];
    let text = answer(Command::new("sacct").args(options), PATIENCE)?;
    let text = String::from_utf8_lossy(&text);
    let uid: u32 = text.lines().find_map(|line| line.trim().strip_prefix("CANCELLED by "))?.parse().ok()?;
    Some(user_name(uid).unwrap_or_else(|| format!("user {uid}")))
}

/// Returns the name of a user. Not by getpwuid(3): a statically linked program crashes in some modules of the
/// name service, such as that of systemd.
fn user_name(uid: u32) -> Option<String> {
    let text = answer(Command::new("getent").args(["passwd", &uid.to_string()]), PATIENCE)?;
    let text = String::from_utf8_lossy(&text);
    text.split(':').next().filter(|name| !name.is_empty()).map(str::to_owned)
}

/// A note of the step daemon about a signal to a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Note {
    /// The note gives the cause.
    Why(Why),
    /// The note gives no cause: somebody has cancelled the job, or its limit is near.
    Signal,
}

/// Finds the last note of the step daemon in a job's output, after a number of bytes.
pub(crate) fn noted(output: &Path, from: u64) -> Option<Note> {
    let bytes = read_end(output, from, LAST).ok()?;
    String::from_utf8_lossy(&bytes).lines().rev().find_map(note)
}

fn note(line: &str) -> Option<Note> {
    let words = line.strip_prefix("slurmstepd")?.split_once("error: *** ")?.1.strip_suffix(" ***")?;
    let (_, rest) = words.split_once(" CANCELLED AT ")?;
    Some(match rest.split_once(" DUE TO ").map(|(_, why)| why) {
        Some("TIME LIMIT") => Note::Why(Why::TimeLimit),
        Some("PREEMPTION") => Note::Why(Why::Preempted),
        Some("JOB REQUEUE") => Note::Why(Why::Requeued),
        Some(why) if why.starts_with("NODE FAILURE") => Note::Why(Why::Node),
        Some(_) => Note::Why(Why::Cancelled),
        None => Note::Signal,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(state: &str, left: i64, rest: &str) -> Control {
        let end = Timestamp::now().millis() / 1000 + left;
        Control(format!("JobId=7 JobName=a b UserId=x(1) JobState={state} Requeue=1 EndTime={end} {rest}\n"))
    }

    #[test]
    fn what_ends_a_job_is_told_by_its_state() {
        for (state, rest, expected) in [
            ("RUNNING", "Restarts=0 PreemptTime=None", None),
            ("SIGNALING", "Restarts=0 PreemptTime=1769688000", None),
            ("RESIZING", "Restarts=0 PreemptTime=None", None),
            ("PENDING", "Restarts=1 PreemptTime=None", Some(Why::Requeued)),
            ("COMPLETING", "Restarts=0", Some(Why::Cancelled)),
            ("COMPLETING", "Restarts=1", Some(Why::Requeued)),
            ("COMPLETING", "Restarts=0 PreemptTime=1769688000", Some(Why::Preempted)),
            ("CANCELLED", "PreemptTime=None", Some(Why::Cancelled)),
            ("PREEMPTED", "", Some(Why::Preempted)),
            ("TIMEOUT", "", Some(Why::TimeLimit)),
            ("NODE_FAIL", "", Some(Why::Node)),
            ("COMPLETED", "", None),
        ] {
            assert_eq!(shown(state, 0, rest).why(0), expected, "{state} {rest}");
        }
        let near = |state, left| shown(state, left, "").is_near_its_limit(Duration::from_secs(30));
        assert!(near("RUNNING", 85) && !near("RUNNING", 3600) && !near("COMPLETING", 10));
        // Slurm shows this state for a moment, while it sends the signal before the limit.
        assert!(near("SIGNALING", 85) && !near("SIGNALING", 3600) && !near("STAGE_OUT", 10));
    }

    #[test]
    fn a_job_is_told_from_other_tasks_and_parts() {
        let text = "JobId=9 ArrayJobId=7 ArrayTaskId=0 JobState=RUNNING\n\
                    JobId=7 ArrayJobId=7 ArrayTaskId=2 JobState=PENDING\n";
        for (id, expected) in
            [("7_0", Some("RUNNING")), ("7_2", Some("PENDING")), ("7", Some("PENDING")), ("7_1", None)]
        {
            let found = Control::of(text, id);
            assert_eq!(found.as_ref().and_then(|shown| shown.field("JobState")), expected, "{id}");
        }
    }

    #[test]
    fn notes_of_the_step_daemon_are_read() {
        let at = "2026-11-28T19:36:29";
        for (line, expected) in [
            (
                format!("slurmstepd-n1: error: *** JOB 2 ON n1 CANCELLED AT {at} DUE TO PREEMPTION ***"),
                Some(Note::Why(Why::Preempted)),
            ),
            (
                format!("slurmstepd: error: *** JOB 2 ON n1 CANCELLED AT {at} DUE TO JOB REQUEUE ***"),
                Some(Note::Why(Why::Requeued)),
            ),
            (
                format!("slurmstepd: error: *** JOB 2 ON n1 CANCELLED AT {at} DUE TO TIME LIMIT ***"),
                Some(Note::Why(Why::TimeLimit)),
            ),
            (format!("slurmstepd: error: *** JOB 2 ON n1 CANCELLED AT {at} ***"), Some(Note::Signal)),
            ("slurmstepd: error: something else".to_owned(), None),
            (format!("error: *** JOB 2 ON n1 CANCELLED AT {at} ***"), None),
        ] {
            assert_eq!(note(&line), expected, "{line}");
        }
    }
}
