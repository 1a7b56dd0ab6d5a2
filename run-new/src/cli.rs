//! The command line of run-new.

use crate::sweep::Sweep;
use clap::Parser;
use run_checkpoint::checkpoint_pattern;
use run_common::cli::mistakes::{check_value_joined, command_without_dashes, is_program};
use run_common::cli::number::{integer, natural};
use run_common::cli::runs_dir::RunsDir;
use run_common::error::Error;
use run_common::message::warn;
use run_common::rundir::meta::Checkpoint;
use run_common::rundir::options::AttemptOptions;
use run_metrics::scrape::Patterns;
use run_metrics::source::MetricSource;
use std::path::{Path, PathBuf};

const EXAMPLES: &str = "Examples:
  run-new configs/base.yaml -- python train.py --config {config}
  run-new -n trial -s lr=1e-3 base.toml -- python train.py {config} {set}
  run-new -b --sweep 'lr=log(1e-4,1e-2,3)' --sweep seed=1..3 base.yaml -- python train.py {config} {set}
  run-new --like trial -s lr=1e-4
  run-new base.yaml -- python train.py {config} | run-exec -";

/// Create run directories and print their paths.
#[derive(Clone, Debug, Parser)]
#[command(name = "run-new", version, after_help = EXAMPLES, arg_required_else_help = true)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) runs_dir: RunsDir,
    /// Name of the run, or prefix of the names of several [default: the config's name without extension and the time (UTC)]
    #[arg(short, long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Create the runs in a batch directory [default name: experiment_ and the time (UTC)]
    #[arg(short, long, value_name = "NAME", num_args = 0..=1, require_equals = true)]
    #[expect(clippy::option_option, reason = "clap's type of an option whose value may be left out")]
    pub(crate) batch: Option<Option<String>>,
    /// Continue the batch: print existing runs, create missing runs
    #[arg(long)]
    pub(crate) exist_ok: bool,
    /// Take what is not given from this run: command, config, overrides and options
    #[arg(long, value_name = "RUN", conflicts_with = "adopt")]
    pub(crate) like: Option<String>,
    /// Adopt runs of other systems: give the named directories a record of their own
    #[arg(long, conflicts_with_all = ["name", "batch", "exist_ok", "set", "set_by_env", "sweep", "sample", "device", "input", "scrape", "require"])]
    pub(crate) adopt: bool,
    /// Override for the command's {set}, recorded as typed
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = key_value)]
    pub(crate) set: Vec<(String, String)>,
    /// The program reads the overrides from its environment; the command needs no {set}
    #[arg(long)]
    pub(crate) set_by_env: bool,
    /// Create a run for each value: a,b,c, 1..5, lin(FROM,TO,COUNT) or log(FROM,TO,COUNT)
    #[arg(long, value_name = "KEY=SPEC", value_parser = Sweep::parse)]
    pub(crate) sweep: Vec<Sweep>,
    /// Draw N random runs instead of the full grid; allows uniform(FROM,TO), loguniform(FROM,TO), choice(a,b)
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub(crate) sample: Option<usize>,
    /// Seed for the draws [default: random, printed]
    #[arg(long, value_name = "SEED", requires = "sample", allow_negative_numbers = true, value_parser = natural)]
    pub(crate) sample_seed: Option<u64>,
    /// Random seed of the training [default: from overrides, command or config]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = integer)]
    pub(crate) seed: Option<i64>,
    /// Number of steps to train for [default: from overrides, command or config]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = natural)]
    pub(crate) total_steps: Option<u64>,
    /// Device, such as cuda or cpu [default: from overrides, command or config, else what the host has]
    #[arg(long, value_name = "DEVICE")]
    pub(crate) device: Option<String>,
    /// Tag to select runs by
    #[arg(long, value_name = "WORD")]
    pub(crate) tag: Vec<String>,
    /// Free-text note
    #[arg(long, value_name = "TEXT")]
    pub(crate) note: Option<String>,
    /// Existing input file or directory, for {input:NAME}
    #[arg(long, value_name = "NAME=PATH", value_parser = key_value)]
    pub(crate) input: Vec<(String, String)>,
    /// Pattern of checkpoint paths below the run, if the names are not recognised
    #[arg(long, value_name = "PATTERN", value_parser = checkpoint_pattern)]
    pub(crate) checkpoint: Option<String>,
    /// Files that a complete checkpoint holds
    #[arg(long, value_name = "FILE,...", value_delimiter = ',')]
    pub(crate) checkpoint_requires: Vec<String>,
    /// File below the run that holds its metrics, if the name is not recognised
    #[arg(long, value_name = "FILE", value_parser = MetricSource::check_name)]
    pub(crate) metrics: Option<String>,
    /// Name of the step in the metrics, if the name is not recognised
    #[arg(long, value_name = "KEY")]
    pub(crate) step_key: Option<String>,
    /// Arguments for the command's {resume}: all words up to --
    #[arg(long, value_name = "ARG", num_args = 1.., allow_hyphen_values = true)]
    pub(crate) resume_args: Vec<String>,
    /// Metrics to read from the output: auto, none, or a regular expression with named groups
    #[arg(long, value_name = "SPEC", value_parser = Patterns::check)]
    pub(crate) scrape: Vec<String>,
    /// Variable to set for the command; placeholders are filled in
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    pub(crate) env: Vec<(String, String)>,
    /// Directory to execute the command in [default: the current directory]
    #[arg(long, value_name = "DIR")]
    pub(crate) chdir: Option<PathBuf>,
    /// Keys that the config must have, such as train.lr
    #[arg(long, value_name = "KEY,...", value_delimiter = ',')]
    pub(crate) require: Vec<String>,
    /// Print the record of each run as a line of JSON instead of its path
    #[arg(long)]
    pub(crate) json: bool,
    /// End each path with NUL instead of a newline
    #[arg(short = '0', long, conflicts_with = "json")]
    pub(crate) null: bool,
    /// Config files, one run each; a quoted pattern stands for all matching files. Directories with --adopt
    #[arg(value_name = "CONFIG")]
    pub(crate) configs: Vec<PathBuf>,
    /// Command that run-exec will execute
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
    /// What `--like` takes beside.
    #[arg(skip)]
    pub(crate) taken: Taken,
}

/// What a run like an earlier one takes that no option gives.
#[derive(Clone, Debug, Default)]
pub(crate) struct Taken {
    /// The original path of the config; the earlier run has a copy.
    pub(crate) config_path: Option<PathBuf>,
    /// Options of run-exec, as the last attempt had them.
    pub(crate) options: AttemptOptions,
}

impl Args {
    /// Returns the options that attempts inherit.
    pub(crate) fn attempt_options(&self) -> AttemptOptions {
        AttemptOptions {
            metrics: self.metrics.clone(),
            step_key: self.step_key.clone(),
            scrape: Some(self.scrape.clone()).filter(|specs| !specs.is_empty()),
            ..AttemptOptions::default()
        }
    }

    /// Returns how checkpoints are recognised, if options say so.
    pub(crate) fn checkpoints(&self) -> Option<Checkpoint> {
        let (pattern, requires) = (self.checkpoint.clone(), self.checkpoint_requires.clone());
        (pattern.is_some() || !requires.is_empty()).then_some(Checkpoint { pattern, requires })
    }

    /// Returns the words after `--` to the command: `--resume-args` takes any word, `--` too.
    pub(crate) fn settled(&self) -> Self {
        let mut settled = self.clone();
        if let Some(end) = settled.resume_args.iter().position(|word| word == "--") {
            settled.command.splice(0..0, settled.resume_args.drain(end + 1..));
            settled.resume_args.pop();
        }
        settled
    }
}

/// Refuses the mistakes that make a config of something else.
pub(crate) fn check_configs(args: &Args) -> Result<(), Error> {
    let words: Vec<String> = args.configs.iter().map(|path| path.to_string_lossy().into_owned()).collect();
    if args.batch == Some(None) {
        let is_name =
            |word: &str| words.iter().any(|config| config == word) && !word.contains(['*', '?', '[']);
        for option in ["-b", "--batch"] {
            check_value_joined(option, is_name, |word| Path::new(word).exists())?;
        }
    }
    if args.command.is_empty()
        && let Some(at) = words.iter().position(|word| is_program(word))
    {
        return Err(command_without_dashes(&words[at..]));
    }
    if args.configs.is_empty()
        && let Some(config) = args.resume_args.iter().find(|word| is_config(word))
    {
        warn(&format!("--resume-args takes '{config}', too: put configs before --resume-args"));
    }
    Ok(())
}

/// Returns whether a word is the path of a config.
fn is_config(word: &str) -> bool {
    let path = Path::new(word);
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    ["yaml", "yml", "toml", "json"].contains(&extension) && path.is_file()
}

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("must be KEY=VALUE".to_owned()),
    }
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err("must be a whole number above 0".to_owned()),
    }
}
