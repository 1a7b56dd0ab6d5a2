//! A launcher that is an executable `run-launch-NAME` on the PATH.

use crate::call::{Answered, call, call_for_lines};
use crate::contract::{Answer, Job, Launcher, Limits, Named, Submitted, lines, read_lines};
use run_common::error::{Error, Exit};
use serde::de::DeserializeOwned;
use std::collections::HashMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// Time limit for a submission.
const SUBMISSION: Duration = Duration::from_secs(600);

/// Time limit for other answers that are not urgent.
const ANSWER: Duration = Duration::from_secs(60);

/// The executable, and its arguments besides the verb.
#[derive(Debug)]
pub(crate) struct Executable {
    program: String,
    args: Vec<String>,
    /// The directory to execute it in, if that is not the current one.
    cwd: Option<PathBuf>,
}

impl Executable {
    /// Creates a launcher from its arguments, and the directory to which relative paths among them refer.
    pub(crate) fn new(name: &str, args: Vec<String>, cwd: Option<PathBuf>) -> Self {
        Self { program: format!("run-launch-{name}"), args, cwd }
    }

    fn command(&self, verb: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(verb).args(&self.args);
        if let Some(cwd) = self.cwd.as_ref().filter(|cwd| cwd.is_dir()) {
            command.current_dir(cwd);
        }
        command
    }

    fn call(&self, verb: &[&str], input: Vec<u8>, limit: Duration) -> Result<Answered, Error> {
        let answered = call(&mut self.command(verb), input, limit)?;
        self.failure(verb, &answered).map_or(Ok(answered), Err)
    }

    fn failure(&self, verb: &[&str], answered: &Answered) -> Option<Error> {
        let failed = Error::new(Exit::System, format!("'{} {}' failed", self.program, verb.join(" ")));
        (!answered.is_ok).then(|| failed.because(answered.why().to_owned()))
    }

    fn read<T: DeserializeOwned>(&self, verb: &str, text: &str) -> Result<Vec<T>, Error> {
        read_lines(text).map_err(|why| {
            Error::new(Exit::System, format!("cannot understand '{} {verb}'", self.program)).because(why)
        })
    }
}

impl Launcher for Executable {
    fn limits(&self) -> Result<Limits, Error> {
        let answered = self.call(&["limits"], Vec::new(), ANSWER)?;
        Ok(self.read("limits", &answered.stdout)?.first().copied().unwrap_or_default())
    }

    fn check(&self, jobs: &[Job]) -> Result<(), Error> {
        self.call(&["submit", "--check"], lines(jobs)?, SUBMISSION).map(drop)
    }

    fn submit(&self, jobs: &[Job]) -> Result<Vec<Submitted>, Error> {
        let (answered, failure) = call_for_lines(&mut self.command(&["submit"]), lines(jobs)?, SUBMISSION)?;
        let mut failure = failure.or_else(|| self.failure(&["submit"], &answered));
        // Jobs that were started before a failure exist nevertheless. The last line may be cut off.
        let lines = answered.stdout.split_inclusive('\n');
        let whole = lines.filter(|line| failure.is_none() || line.ends_with('\n'));
        let mut told = HashMap::<String, Submitted>::new();
        let mut not_understood = None;
        for line in whole {
            match self.read::<Submitted>("submit", line) {
                Ok(read) => told.extend(read.into_iter().map(|one| (one.run_id.clone(), one))),
                Err(error) => not_understood = Some(error),
            }
        }
        failure = failure.or(not_understood);
        if told.is_empty()
            && let Some(error) = failure
        {
            return Err(error);
        }
        let why = failure.map(|error| error.to_string());
        let why = why.unwrap_or_else(|| format!("'{} submit' said nothing of it", self.program));
        let silent = |job: &Job| Submitted::refused(job, &why, false);
        Ok(jobs.iter().map(|job| told.remove(&job.run_id).unwrap_or_else(|| silent(job))).collect())
    }

    fn query(&self, jobs: &[String], limit: Duration) -> Result<Vec<Answer>, Error> {
        let answered = self.call(&["query"], lines(&named(jobs))?, limit)?;
        let told = self.read::<Answer>("query", &answered.stdout)?;
        let mut told: HashMap<String, Answer> = told.into_iter().map(|one| (one.job.clone(), one)).collect();
        Ok(jobs.iter().map(|job| told.remove(job).unwrap_or_else(|| Answer::unknown(job))).collect())
    }

    fn cancel(&self, jobs: &[String]) -> Result<(), Error> {
        self.call(&["cancel"], lines(&named(jobs))?, ANSWER).map(drop)
    }
}

fn named(jobs: &[String]) -> Vec<Named> {
    jobs.iter().map(|job| Named { job: job.clone() }).collect()
}
