//! The command line of run-eval.

use clap::Parser;
use run_checkpoint::Label;
use run_common::cli::runs_dir::RunsDir;
use run_common::cli::slots::Slots;
use run_common::time::{parse_duration, parse_positive};
use run_launch::choice::Choice;
use std::path::PathBuf;
use std::time::Duration;

const EXAMPLES: &str = "Examples:
  run-eval trial -- python eval.py --ckpt {checkpoint} --out {out}
  run-eval --steps latest --timeout 30m trial -- python eval.py {checkpoint}
  run-eval --label gsm8k --gpus 0,1 batch -- python eval.py --data gsm8k {checkpoint} {out}
  run-eval --follow trial -- python eval.py {checkpoint}
  run-eval trial";

/// Evaluate the checkpoints of runs with a command, and consolidate the metrics.
#[derive(Debug, Parser)]
#[command(name = "run-eval", version, after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) runs_dir: RunsDir,
    /// Checkpoints to evaluate: all, new, latest, final, best, last, or steps such as 1,5,10
    #[arg(long, value_name = "LIST", default_value = "all", value_delimiter = ',', value_parser = pick)]
    pub(crate) steps: Vec<Pick>,
    /// Evaluate this checkpoint, wherever it is, with a number in --steps as its step; or a pattern with *, ?
    /// or {step} for the checkpoint paths below the run
    #[arg(long, value_name = "PATH|PATTERN")]
    pub(crate) checkpoint: Option<PathBuf>,
    /// Label of these evaluations, such as the data set
    #[arg(long, value_name = "LABEL", default_value = "eval", value_parser = label)]
    pub(crate) label: String,
    /// End an evaluation after this time, with all its processes
    #[arg(long, value_name = "TIME", value_parser = parse_positive)]
    pub(crate) timeout: Option<Duration>,
    /// Time between the request to end and SIGTERM to all remaining processes
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    pub(crate) grace: Duration,
    #[command(flatten)]
    pub(crate) slots: Slots,
    /// Evaluate again, even if a result exists
    #[arg(long)]
    pub(crate) force: bool,
    /// Evaluate checkpoints as they become complete, until the run has ended
    #[arg(long)]
    pub(crate) follow: bool,
    /// Directory that holds the results.
    #[arg(
        long,
        value_name = "DIR",
        help = "Directory for the results [default: $EVAL_RUNS_DIR, else eval_runs beside the runs]"
    )]
    pub(crate) eval_dir: Option<PathBuf>,
    /// Have Slurm evaluate the runs, each in a job, with these options of sbatch
    #[arg(
        long,
        value_name = "OPTIONS",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "",
        group = "launcher",
        conflicts_with = "gpus",
        value_parser = Choice::slurm
    )]
    pub(crate) slurm: Option<Choice>,
    /// Have the program run-launch-NAME evaluate the runs elsewhere, with these options
    #[arg(
        long,
        value_name = "NAME[=OPTIONS]",
        group = "launcher",
        conflicts_with = "gpus",
        value_parser = Choice::named
    )]
    pub(crate) launch: Option<Choice>,
    /// Wait until the submitted jobs have ended
    #[arg(long, requires = "launcher")]
    pub(crate) wait: bool,
    /// Have a job started again if its node fails or is taken away
    #[arg(long, requires = "launcher")]
    pub(crate) requeue: bool,
    /// Evaluate the run for this submission; only jobs of launchers need this option
    #[arg(long, value_name = "ID", conflicts_with = "launcher")]
    pub(crate) job: Option<String>,
    /// Print a line of JSON for each evaluation
    #[arg(long)]
    pub(crate) json: bool,
    /// Names on stdin end in NUL instead of a newline
    #[arg(short = '0', long)]
    pub(crate) null: bool,
    /// Runs and batches: paths, or names below the runs directory; - reads them from stdin
    #[arg(value_name = "RUN", required = true)]
    pub(crate) runs: Vec<String>,
    /// Command that evaluates one checkpoint [default: the command recorded for the label]
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
}

/// One word of `--steps`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pick {
    /// Every checkpoint with a step.
    All,
    /// Every checkpoint with a step that was not evaluated before.
    New,
    /// The complete checkpoint with the greatest step.
    Latest,
    /// The checkpoint with this label in its name.
    Labelled(Label),
    /// The checkpoint of this step.
    Step(u64),
}

impl Pick {
    /// Returns the word.
    pub(crate) fn word(self) -> String {
        match self {
            Self::All => "all".to_owned(),
            Self::New => "new".to_owned(),
            Self::Latest => "latest".to_owned(),
            Self::Labelled(label) => label.word().to_owned(),
            Self::Step(step) => step.to_string(),
        }
    }
}

fn pick(text: &str) -> Result<Pick, String> {
    if let Some(label) = Label::named(text) {
        return Ok(Pick::Labelled(label));
    }
    match text {
        "all" => Ok(Pick::All),
        "new" => Ok(Pick::New),
        "latest" => Ok(Pick::Latest),
        _ if text.bytes().all(|byte| byte.is_ascii_digit()) => {
            text.parse().map(Pick::Step).map_err(|_| format!("'{text}' is not a step"))
        }
        _ => Err("write all, new, latest, final, best, last, or steps such as 1,5,10".to_owned()),
    }
}

fn label(text: &str) -> Result<String, String> {
    let is_harmful = |c: char| c == '/' || c.is_control();
    if text.is_empty() || text.starts_with(['-', '.']) || text.chars().any(is_harmful) || text.len() > 100 {
        return Err("a label is a name of at most 100 bytes, without / and control characters".to_owned());
    }
    Ok(text.to_owned())
}
