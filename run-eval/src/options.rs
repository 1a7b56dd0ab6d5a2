//! The command line as it is meant: what is checked once and means the same for all runs.

use crate::cli::{Args, Pick};
use run_checkpoint::{checkpoint_pattern, is_pattern};
use run_common::cli::slots::Slots;
use run_common::error::Error;
use run_common::provenance::redact::redact_command;
use run_common::rundir::placeholders::say_misspelt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What the evaluations of one run-eval have in common.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) wanted: Wanted,
    /// `--steps` as it was typed.
    pub(crate) steps: String,
    pub(crate) label: String,
    /// The command with its placeholders.
    pub(crate) command: Vec<String>,
    /// The same for the record: without secrets.
    pub(crate) recorded_command: Vec<String>,
    /// The pattern of checkpoints that was given in place of the run's.
    pub(crate) pattern: Option<String>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) grace: Duration,
    pub(crate) slots: Slots,
    /// How many evaluations are at work at once.
    pub(crate) jobs: usize,
    pub(crate) force: bool,
    pub(crate) follow: bool,
    pub(crate) eval_dir: Option<PathBuf>,
    pub(crate) json: bool,
}

/// Which checkpoints are to be evaluated.
#[derive(Debug)]
pub(crate) enum Wanted {
    /// What lies at a path, with the step that was given for it.
    Path(PathBuf, Option<u64>),
    /// Those of the run that are picked.
    Picks(Vec<Pick>),
}

impl Options {
    /// Resolves a command line, or says what is wrong with it.
    pub(crate) fn resolve(args: &Args) -> Result<Self, Error> {
        say_misspelt(&args.command, true);
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
        })
    }

    /// Returns the path or pattern that was given for checkpoints.
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

/// Says whether `--checkpoint` is a pattern: it has a wildcard, and no file has this very name.
fn is_for_all(given: &Path) -> bool {
    given.to_str().is_some_and(is_pattern) && !given.exists()
}

/// Returns the pattern that `--checkpoint` gives.
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
            return Err(Error::usage("a path in --checkpoint is of one run; a pattern may be of several"));
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

    /// Says whether nothing but this is picked.
    pub(crate) fn is_only(&self, pick: Pick) -> bool {
        matches!(self, Self::Picks(picks) if *picks == [pick])
    }

    /// Says whether a checkpoint is named, rather than whatever there is.
    pub(crate) fn names_one(&self) -> bool {
        match self {
            Self::Path(..) => true,
            Self::Picks(picks) => picks.iter().any(|pick| matches!(pick, Pick::Step(_))),
        }
    }
}
