//! From the command line to what it asks for, and to who does it: one attempt of one run is made by this
//! process, several by a controller.

use crate::attempt::Attempt;
use crate::cli::{Args, FromStep};
use crate::controller::Controller;
use crate::held_run::HeldRun;
use crate::settings::Settings;
use nix::unistd::{dup2_stderr, dup2_stdout, setsid};
use run_common::cli::names::Names;
use run_common::cli::operands::Operand;
use run_common::cli::slots::Slots;
use run_common::cli::statuses::Ended;
use run_common::error::{Error, Exit};
use run_common::fsio::write::open_null;
use run_common::message::warn;
use run_common::process::spawn::{Side, check_open, fork};
use run_common::rundir::observe::Observer;
use run_common::rundir::open::RunDir;
use run_common::rundir::options::AttemptOptions;
use run_common::rundir::status::Status;
use run_common::time::Timestamp;
use run_supervise::Output;
use std::io;
use std::path::PathBuf;

/// What the command line asks for.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) operands: Vec<String>,
    pub(crate) runs_dir: PathBuf,
    /// What ends a name on stdin.
    pub(crate) null: bool,
    pub(crate) slots: Slots,
    pub(crate) fail_fast: bool,
    /// What is done with runs that were executed before.
    pub(crate) executed: Executed,
    /// A run of a host that is known to be gone is resumed, too.
    pub(crate) take_over: bool,
    /// Whether the config of a run that is resumed may have changed.
    pub(crate) allow_config_change: bool,
    /// Where a resume begins.
    pub(crate) from_step: FromStep,
    pub(crate) additional_steps: Option<u64>,
    /// The pattern of checkpoints, if one is given.
    pub(crate) checkpoint: Option<String>,
    /// The command, if one is given.
    pub(crate) command: Vec<String>,
    pub(crate) quiet: bool,
    pub(crate) detach: bool,
    pub(crate) stdin: bool,
    pub(crate) output: Output,
    /// Options that later attempts inherit, as far as they are given.
    pub(crate) given: AttemptOptions,
    /// When this run-exec began.
    pub(crate) begun: Timestamp,
}

/// What is done with runs that were executed before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Executed {
    /// They are refused.
    Refuse,
    /// Another attempt is made.
    Resume,
    /// Another attempt is made of those that have not completed; the others are passed over.
    Unfinished,
}

impl Options {
    /// Resolves what the command line leaves open.
    pub(crate) fn resolve(args: &Args) -> Self {
        let (resume, unfinished) = (args.resume, args.unfinished);
        Self {
            operands: args.runs.clone(),
            runs_dir: args.runs_dir.path(),
            null: args.null,
            slots: args.slots.clone(),
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
            quiet: args.quiet || args.detach,
            detach: args.detach,
            stdin: args.stdin,
            output: match (args.pty, args.merge) {
                (true, _) => Output::Terminal,
                (false, true) => Output::Merged,
                (false, false) => Output::Pipes,
            },
            given: args.inherited(),
            begun: Timestamp::now(),
        }
    }

    /// Says whether attempts follow those that were made.
    pub(crate) fn resumes(&self) -> bool {
        self.executed != Executed::Refuse
    }

    /// Returns the run, if a single one is named.
    fn single(&self) -> Result<Option<RunDir>, Error> {
        match self.operands.as_slice() {
            [name] if name != "-" => match Names::below(self.runs_dir.clone()).open(name)? {
                Operand::Run(run) => Ok(Some(run)),
                Operand::Batch(_) => Ok(None),
            },
            _ => Ok(None),
        }
    }
}

/// Executes a command in one run or several; returns how to end.
pub(crate) fn run(args: &Args) -> Result<Ended, Error> {
    let options = Options::resolve(args);
    if !options.quiet && check_open(1).is_err() {
        warn("stdout is closed: the output is in the logs alone");
    }
    match options.single()? {
        Some(run) => match Settings::of(&options, &run) {
            settings if settings.retries == 0 => execute_one(&options, &run, settings),
            _ => execute_several(&options, true),
        },
        None => execute_several(&options, false),
    }
}

fn execute_one(options: &Options, run: &RunDir, settings: Settings) -> Result<Ended, Error> {
    if options.slots.gpu(1).is_some() {
        return Err(Error::usage("one run takes one slot of --gpus"));
    }
    if options.executed == Executed::Unfinished
        && Observer::default().observe(run)?.status() == Status::Completed
    {
        return Ok(Ended::With(0));
    }
    let held = HeldRun::take(run, options)?;
    let attempt = Attempt {
        is_resume: options.resumes(),
        is_retry: false,
        gpu: options.slots.gpu(0).cloned(),
        settings,
        retry: None,
        parent: None,
    };
    attempt.make(options, held)
}

/// Executes several runs, or one several times.
fn execute_several(options: &Options, is_one: bool) -> Result<Ended, Error> {
    if options.stdin {
        return Err(Error::usage("--stdin is for one run"));
    }
    let slots = options.slots.count()?;
    if options.detach {
        // What is wrong with the operands can be said now alone.
        let mut names = Names::below(options.runs_dir.clone());
        for name in options.operands.iter().filter(|name| *name != "-") {
            names.open(name)?;
        }
        if let Side::Parent(_) = detach()? {
            return Ok(Ended::With(0));
        }
    }
    Ok(Controller::new(options, slots, is_one)?.control())
}

/// Leaves the caller's process behind; stdin, which may bring runs, is kept.
fn detach() -> Result<Side, Error> {
    let failed = |error: io::Error| Error::new(Exit::System, "cannot detach").because(error);
    let side = fork().map_err(failed)?;
    if let Side::Child(_) = side {
        let null = open_null().map_err(failed)?;
        let moved = setsid().and_then(|_| dup2_stdout(&null)).and_then(|()| dup2_stderr(&null));
        moved.map_err(|error| failed(error.into()))?;
    }
    Ok(side)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn resolved(words: &[&str]) -> Options {
        Options::resolve(&Args::parse_from(["run-exec"].iter().chain(words).chain(&["run"])))
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
