//! The verbs of a launcher, and the lines that it reads and writes: run-launch(7).

use run_common::error::{Error, Exit};
use run_common::time::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::Not;
use std::time::Duration;

/// A job to be started once: a line that `submit` reads.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Job {
    /// Id of the run; the answer repeats it.
    pub run_id: String,
    /// Name for people.
    pub name: String,
    /// The program to execute, and its arguments.
    pub command: Vec<String>,
    /// The directory to execute it in.
    pub cwd: String,
    /// The file to which the job's output is appended.
    pub output: String,
    /// Seconds that the job needs to end after SIGTERM.
    pub grace_s: f64,
    /// Whether the job may be started again when its machine fails or is taken away.
    pub requeue: bool,
    /// The common name of all jobs that are submitted together.
    pub list: String,
    /// Maximum number of these jobs that run at once; null for any number.
    pub at_once: Option<usize>,
    /// A file for messages about all jobs that are submitted together; its directory outlasts them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub list_output: Option<String>,
    /// A job of an earlier call. With `at_once`, this one is started after all jobs of that call have ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// The outcome of the submission of a job: a line that `submit` writes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submitted {
    /// Id of the run.
    pub run_id: String,
    /// The launcher's id of the job; null if the job was refused.
    #[serde(default)]
    pub job: Option<String>,
    /// Why the job was refused.
    #[serde(default)]
    pub error: Option<String>,
    /// Whether the job was refused only because there are too many jobs now, and may be accepted later.
    #[serde(default, skip_serializing_if = "Not::not")]
    pub full: bool,
}

impl Submitted {
    /// Creates the outcome of a job that was refused.
    pub fn refused(job: &Job, why: &str, full: bool) -> Self {
        Self { run_id: job.run_id.clone(), job: None, error: Some(why.to_owned()), full }
    }
}

/// A job that is asked about or is to be cancelled: a line that `query` and `cancel` read.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Named {
    /// The launcher's id.
    pub job: String,
}

/// What a launcher knows of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Known {
    /// The job waits to be started, for the first time or again.
    Pending,
    /// The job was started, and has not ended.
    Started,
    /// The job has ended, or there is no such job.
    Gone,
    /// The launcher cannot tell.
    Unknown,
}

/// The state of a job: a line that `query` writes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The launcher's id.
    pub job: String,
    /// The state of the job, as far as known.
    pub state: Known,
    /// Why the job waits, or how it has ended, in one or two words of the launcher.
    #[serde(default)]
    pub reason: Option<String>,
    /// When the job is expected to start.
    #[serde(default)]
    pub start: Option<Timestamp>,
}

impl Answer {
    /// Creates the answer that nothing is known about a job.
    pub fn unknown(job: &str) -> Self {
        Self { job: job.to_owned(), state: Known::Unknown, reason: None, start: None }
    }
}

/// The limits of a launcher: the line that `limits` writes. A missing field means no limit, or an unknown limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Maximum number of jobs in one submission.
    pub array_max: Option<usize>,
    /// Maximum number of jobs of a user at the same time.
    pub submit_max: Option<usize>,
    /// Seconds between SIGTERM and SIGKILL when the launcher ends a job.
    pub kill_wait_s: Option<f64>,
}

/// The name of the built-in launcher.
pub const SLURM: &str = "slurm";

/// Starts jobs on other machines: the four verbs of run-launch(7).
pub trait Launcher: fmt::Debug {
    /// Returns the limits of the launcher.
    fn limits(&self) -> Result<Limits, Error>;

    /// Checks whether these jobs would be accepted, without submitting them.
    fn check(&self, jobs: &[Job]) -> Result<(), Error>;

    /// Submits jobs together, at most as many as the limits allow; returns the outcome of each, in their order.
    /// An error means that no job was submitted.
    fn submit(&self, jobs: &[Job]) -> Result<Vec<Submitted>, Error>;

    /// Returns what is known about jobs, in their order. The error means no answer within the time limit.
    fn query(&self, jobs: &[String], limit: Duration) -> Result<Vec<Answer>, Error>;

    /// Ends jobs, whether they were started or not. A job that is gone is no failure.
    fn cancel(&self, jobs: &[String]) -> Result<(), Error>;
}

/// Returns a list as lines of JSON.
pub fn lines<T: Serialize>(items: &[T]) -> Result<Vec<u8>, Error> {
    let mut text = Vec::new();
    for item in items {
        serde_json::to_writer(&mut text, item)
            .map_err(|error| Error::new(Exit::System, "cannot write JSON").because(error))?;
        text.push(b'\n');
    }
    Ok(text)
}

/// Reads lines of JSON. The error for another line shows the line.
pub fn read_lines<T: DeserializeOwned>(text: &str) -> Result<Vec<T>, String> {
    let read = |line: &str| {
        serde_json::from_str(line).map_err(|error| {
            let shown: String = line.chars().take(80).collect();
            format!("'{shown}': {error}")
        })
    };
    text.lines().filter(|line| !line.trim().is_empty()).map(read).collect()
}

/// Returns whether a launcher may have this name, which becomes a part of a program's name.
pub fn is_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_launcher_does_not_say_is_not_known() {
        let answers: Vec<Answer> = read_lines("{\"job\":\"7\",\"state\":\"gone\"}\n\n").unwrap();
        assert_eq!(answers, [Answer { state: Known::Gone, ..Answer::unknown("7") }]);
        assert_eq!(read_lines::<Limits>("{}").unwrap(), [Limits::default()]);
        let error = read_lines::<Answer>("{\"job\":\"7\",\"state\":\"asleep\"}").unwrap_err();
        assert!(error.contains("unknown variant `asleep`"), "{error}");
    }
}
