//! The resolved command line.

use crate::cli::{Args, FailFast, FromStep};
use run_common::cli::slots::Slots;
use run_common::error::{Error, Exit};
use run_common::rundir::attempts::JobStart;
use run_common::rundir::launch::Owner;
use run_common::rundir::options::AttemptOptions;
use run_common::time::Timestamp;
use run_launch::choice::Choice;
use run_supervise::Output;
use std::path::PathBuf;
use std::time::Duration;

/// The resolved command line.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) operands: Vec<String>,
    /// The worst status of the lines on stdin that are no names, if they were read before.
    pub(crate) listed: Exit,
    pub(crate) runs_dir: PathBuf,
    /// Whether names on stdin end in NUL.
    pub(crate) null: bool,
    pub(crate) slots: Slots,
    /// How many free GPUs each run waits for, if it does.
    pub(crate) free_gpus: Option<usize>,
    /// What a failed run does to the others, if anything.
    pub(crate) fail_fast: Option<FailFast>,
    /// What to do with runs that were executed before.
    pub(crate) executed: Executed,
    /// Whether to resume a stale run of a host that is gone.
    pub(crate) take_over: bool,
    /// Whether to resume a run whose config has changed.
    pub(crate) allow_config_change: bool,
    /// Where a resume starts.
    pub(crate) from_step: FromStep,
    pub(crate) additional_steps: Option<u64>,
    /// The checkpoint pattern, if given.
    pub(crate) checkpoint: Option<String>,
    /// The command, if given.
    pub(crate) command: Vec<String>,
    /// Who is to execute the runs, if not this process.
    pub(crate) launch: Option<Choice>,
    /// Runs that were submitted are waited for.
    pub(crate) waits: bool,
    /// Jobs are to be started again.
    pub(crate) requeue: bool,
    /// Also if their runs have to start over.
    pub(crate) restart_ok: bool,
    /// The submission that this process executes a run for.
    pub(crate) submission: Option<String>,
    /// The claim of this process on the run, in a job.
    pub(crate) owner: Option<Owner>,
    /// Time between SIGTERM and SIGKILL when the job is ended, where that is known.
    pub(crate) kill_wait: Option<Duration>,
    /// The job that this process is part of.
    pub(crate) job: Option<JobStart>,
    /// An attempt was made for the submission before.
    pub(crate) is_again: bool,
    pub(crate) quiet: bool,
    pub(crate) detach: bool,
    /// Whether to print how to follow a detached run.
    pub(crate) has_hints: bool,
    pub(crate) stdin: bool,
    pub(crate) output: Output,
    /// The given options that later attempts inherit.
    pub(crate) given: AttemptOptions,
    /// When this run-exec started.
    pub(crate) begun: Timestamp,
}

/// What to do with runs that were executed before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Executed {
    /// Refuse them.
    Refuse,
    /// Make another attempt.
    Resume,
    /// Make another attempt unless they have completed; skip completed ones.
    Unfinished,
}

impl Options {
    /// Resolves a command line.
    pub(crate) fn resolve(args: &Args) -> Result<Self, Error> {
        let (resume, unfinished) = (args.resume, args.unfinished);
        Ok(Self {
            operands: args.runs.clone(),
            listed: Exit::Ok,
            runs_dir: args.runs_dir.path(),
            null: args.null,
            slots: args.slots.clone(),
            free_gpus: args.slots.free()?,
            fail_fast: args.fail_fast,
            executed: match (unfinished, resume) {
                (true, _) => Executed::Unfinished,
                (false, true) => Executed::Resume,
                (false, false) => Executed::Refuse,
            },
            take_over: args.take_over,
            allow_config_change: args.allow_config_change,
            from_step: args.from_step.unwrap_or(FromStep::Latest),
            additional_steps: args.additional_steps,
            checkpoint: args.checkpoint.clone(),
            command: args.command.clone(),
            launch: args.slurm.clone().or_else(|| args.launch.clone()),
            waits: args.wait,
            requeue: args.requeue,
            restart_ok: args.restart_ok,
            submission: args.job.clone(),
            owner: None,
            kill_wait: None,
            job: None,
            is_again: false,
            quiet: args.quiet || args.detach,
            has_hints: !args.quiet,
            detach: args.detach,
            stdin: args.stdin,
            output: match (args.pty, args.merge) {
                (true, _) => Output::Terminal,
                (false, true) => Output::Merged,
                (false, false) => Output::Pipes,
            },
            given: args.inherited(),
            begun: Timestamp::now(),
        })
    }

    /// Returns the GPUs of a slot, if they are named.
    pub(crate) fn gpu(&self, slot: usize) -> Option<String> {
        self.slots.gpu(slot).filter(|_| self.free_gpus.is_none()).cloned()
    }

    /// Returns whether attempts may be retried.
    pub(crate) fn resumes(&self) -> bool {
        self.executed != Executed::Refuse
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn resolved(words: &[&str]) -> Options {
        Options::resolve(&Args::parse_from(["run-exec"].iter().chain(words).chain(&["run"]))).unwrap()
    }

    #[test]
    fn what_was_executed_before_is_refused_unless_told_otherwise() {
        for (words, executed) in [
            (&[][..], Executed::Refuse),
            (&["--resume"], Executed::Resume),
            (&["--unfinished"], Executed::Unfinished),
        ] {
            let options = resolved(words);
            assert_eq!(options.executed, executed);
            assert_eq!(options.resumes(), executed != Executed::Refuse);
        }
        assert!(resolved(&["--detach"]).quiet, "nobody is there to read");
    }

    #[test]
    fn a_terminal_is_one_stream() {
        assert_eq!(resolved(&[]).output, Output::Pipes);
        assert_eq!(resolved(&["--merge"]).output, Output::Merged);
        assert_eq!(resolved(&["--pty", "--merge"]).output, Output::Terminal);
    }

    #[test]
    fn what_is_not_given_is_not_recorded_as_given() {
        assert_eq!(resolved(&[]).given, AttemptOptions::default());
        let given =
            resolved(&["--timeout", "1m", "--stall-timeout", "none", "--retries", "2", "--retry-on", "7,75"])
                .given;
        let expected = AttemptOptions {
            timeout_s: Some(60.0),
            stall_timeout_s: Some(0.0),
            retries: Some(2),
            retry_on: Some(vec![7, 75]),
            ..AttemptOptions::default()
        };
        assert_eq!(given, expected);
    }
}
