//! The resolved command line: checked once, and the same for all runs.

use crate::cli::{Args, Pick};
use run_checkpoint::{checkpoint_pattern, is_pattern};
use run_common::cli::slots::Slots;
use run_common::error::Error;
use run_common::provenance::redact::redact_command;
use run_common::rundir::placeholders::say_misspelt;
use run_launch::choice::Choice;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What all evaluations of one run-eval have in common.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) wanted: Wanted,
    /// `--steps` as typed.
    pub(crate) steps: String,
    pub(crate) label: String,
    /// The command with its placeholders.
    pub(crate) command: Vec<String>,
    /// The command for the record, without secrets.
    pub(crate) recorded_command: Vec<String>,
    /// The pattern of checkpoints that replaces the recorded pattern.
    pub(crate) pattern: Option<String>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) grace: Duration,
    pub(crate) slots: Slots,
    /// Maximum number of evaluations at once.
    pub(crate) jobs: usize,
    pub(crate) force: bool,
    pub(crate) follow: bool,
    pub(crate) eval_dir: Option<PathBuf>,
    pub(crate) json: bool,
    /// Who is to evaluate the runs, if not this process.
    pub(crate) launch: Option<Choice>,
    pub(crate) waits: bool,
    pub(crate) requeue: bool,
    /// The submission that this process evaluates a run for.
    pub(crate) submission: Option<String>,
}

/// Which checkpoints to evaluate.
#[derive(Debug)]
pub(crate) enum Wanted {
    /// The checkpoint at a path, with its given step.
    Path(PathBuf, Option<u64>),
    /// Selected checkpoints of the run.
    Picks(Vec<Pick>),
}

impl Options {
    /// Resolves and checks a command line.
    pub(crate) fn resolve(args: &Args) -> Result<Self, Error> {
        say_misspelt(&args.command, true);
        if args.slots.free()?.is_some() {
            return Err(Error::usage("run-eval does not wait for GPUs").hint("name them, as in --gpus 0,1"));
        }
        let words: Vec<String> = args.steps.iter().map(|pick| pick.word()).collect();
        Ok(Self {
            wanted: Wanted::resolve(args)?,
            steps: words.join(","),
            label: args.label.clone(),
            command: args.command.clone(),
            recorded_command: redact_command(&args.command),
            pattern: pattern(args)?,
            timeout: args.timeout,
            grace: args.grace,
            jobs: args.slots.count()?,
            slots: args.slots.clone(),
            force: args.force,
            follow: args.follow,
            eval_dir: args.eval_dir.clone(),
            json: args.json,
            launch: args.slurm.clone().or_else(|| args.launch.clone()),
            waits: args.wait,
            requeue: args.requeue,
            submission: args.job.clone(),
        })
    }

    /// Takes a command that was recorded.
    pub(crate) fn repeat(&mut self, command: Vec<String>) {
        self.recorded_command = redact_command(&command);
        self.command = command;
    }

    /// Returns the path or pattern of `--checkpoint`.
    pub(crate) fn checkpoint(&self) -> Option<String> {
        match &self.wanted {
            Wanted::Path(path, _) => Some(path.to_string_lossy().into_owned()),
            Wanted::Picks(_) => self.pattern.clone(),
        }
    }

    /// Returns the GPUs of a slot.
    pub(crate) fn gpu(&self, slot: usize) -> Option<&String> {
        self.slots.gpu(slot)
    }
}

/// Returns whether `--checkpoint` is a pattern: it has a wildcard, and no file has exactly this name.
fn is_for_all(given: &Path) -> bool {
    given.to_str().is_some_and(is_pattern) && !given.exists()
}

/// Returns the pattern of `--checkpoint`, if it is a pattern.
fn pattern(args: &Args) -> Result<Option<String>, Error> {
    let Some(given) = args.checkpoint.as_deref().filter(|given| is_for_all(given)) else { return Ok(None) };
    let pattern = checkpoint_pattern(&given.to_string_lossy());
    let refused = |why| Error::usage(format!("cannot use --checkpoint '{}'", given.display())).because(why);
    pattern.map(Some).map_err(refused)
}

impl Wanted {
    fn resolve(args: &Args) -> Result<Self, Error> {
        let path = match &args.checkpoint {
            Some(path) if !is_for_all(path) => path,
            _ => return Ok(Self::Picks(args.steps.clone())),
        };
        if args.runs.len() > 1 {
            return Err(Error::usage(
                "a path in --checkpoint needs a single run; use a pattern for several runs",
            ));
        }
        if args.follow {
            return Err(Error::usage("with --follow, --checkpoint takes a pattern, not a path"));
        }
        let steps =
            args.steps.iter().filter_map(|pick| if let Pick::Step(step) = pick { Some(*step) } else { None });
        match steps.collect::<Vec<u64>>().as_slice() {
            [] => Ok(Self::Path(path.clone(), None)),
            [step] => Ok(Self::Path(path.clone(), Some(*step))),
            _ => Err(Error::usage("with --checkpoint, --steps takes one step")),
        }
    }

    /// Returns whether this is the only word of `--steps`.
    pub(crate) fn is_only(&self, pick: Pick) -> bool {
        matches!(self, Self::Picks(picks) if *picks == [pick])
    }

    /// Returns whether a certain checkpoint is asked for, by path or step.
    pub(crate) fn names_one(&self) -> bool {
        match self {
            Self::Path(..) => true,
            Self::Picks(picks) => picks.iter().any(|pick| matches!(pick, Pick::Step(_))),
        }
    }
}
