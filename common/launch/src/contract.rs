//! What a launcher does, and the lines that it reads and writes: run-launch(7).

use run_common::error::{Error, Exit};
use run_common::time::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// A job to be started once: a line that `submit` reads.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Job {
    /// Id of the run, by which the answer names the job.
    pub run_id: String,
    /// Name for people.
    pub name: String,
    /// What is executed: a program and its arguments.
    pub command: Vec<String>,
    /// The directory to execute it in.
    pub cwd: String,
    /// The file that its output is appended to.
    pub output: String,
    /// Seconds that it needs to end when it gets SIGTERM.
    pub grace_s: f64,
    /// It may be started again when its machine fails or is taken away.
    pub requeue: bool,
    /// The name of all that are submitted together.
    pub list: String,
    /// How many of these may run at once; null for any number.
    pub at_once: Option<usize>,
}

/// The outcome of the submission of a job: a line that `submit` writes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submitted {
    /// Id of the run.
    pub run_id: String,
    /// The launcher's id of the job; null if the job was refused.
    #[serde(default)]
    pub job: Option<String>,
    /// Why it was refused.
    #[serde(default)]
    pub error: Option<String>,
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
    /// It waits to be started, perhaps once more.
    Pending,
    /// It was started, and has not ended.
    Started,
    /// It has ended, or there is no such job.
    Gone,
    /// The launcher cannot tell.
    Unknown,
}

/// The state of a job: a line that `query` writes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The launcher's id.
    pub job: String,
    /// What is known of it.
    pub state: Known,
    /// Why it waits, or how it has ended, in a word or two of the launcher.
    #[serde(default)]
    pub reason: Option<String>,
    /// When it is expected to start.
    #[serde(default)]
    pub start: Option<Timestamp>,
}

impl Answer {
    /// Answers that nothing is known of a job.
    pub fn unknown(job: &str) -> Self {
        Self { job: job.to_owned(), state: Known::Unknown, reason: None, start: None }
    }
}

/// What a launcher can take: the line that `limits` writes. What it does not say is not limited, or not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Jobs that are handed over together, at most.
    pub array_max: Option<usize>,
    /// Jobs that a user may have there at once.
    pub submit_max: Option<usize>,
    /// Seconds between SIGTERM and SIGKILL when it ends a job.
    pub kill_wait_s: Option<f64>,
}

/// The name of the launcher that is built in.
pub const SLURM: &str = "slurm";

/// Starts jobs on other machines: the four verbs of run-launch(7).
pub trait Launcher: fmt::Debug {
    /// Says how much the launcher can take.
    fn limits(&self) -> Result<Limits, Error>;

    /// Finds out whether these jobs would be accepted, without submitting them.
    fn check(&self, jobs: &[Job]) -> Result<(), Error>;

    /// Submits jobs; returns the outcome of each, in their order. An error means that none was submitted.
    fn submit(&self, jobs: &[Job]) -> Result<Vec<Submitted>, Error>;

    /// Says what is known of jobs, in their order; an error where nothing is within the time.
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

/// Reads lines of JSON; one that is none is an error that shows it.
pub fn read_lines<T: DeserializeOwned>(text: &str) -> Result<Vec<T>, String> {
    let read = |line: &str| {
        serde_json::from_str(line).map_err(|error| {
            let shown: String = line.chars().take(80).collect();
            format!("'{shown}': {error}")
        })
    };
    text.lines().filter(|line| !line.trim().is_empty()).map(read).collect()
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
