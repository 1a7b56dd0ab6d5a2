//! The command line of run-new.

use crate::sweep::Sweep;
use clap::Parser;
use run_checkpoint::checkpoint_pattern;
use run_common::cli::runs_dir::RunsDir;
use run_metrics::scrape::Patterns;
use run_metrics::source::MetricSource;
use std::path::PathBuf;

const EXAMPLES: &str = "Examples:
  run-new configs/base.yaml -- python train.py --config {config}
  run-new -n trial -s lr=1e-3 base.toml -- python train.py {config} {set}
  run-new -b --sweep lr=1e-3,1e-2 --sweep seed=1..3 base.yaml -- python train.py {config} {set}
  run-exec \"$(run-new base.yaml -- python train.py {config})\"";

/// Create run directories and print their paths.
#[derive(Clone, Debug, Parser)]
#[command(name = "run-new", version, after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) runs_dir: RunsDir,
    /// Name of the run; by default the config's stem and the time (UTC)
    #[arg(short, long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Put the runs into one batch directory [default name: experiment_ and the time (UTC)]
    #[arg(short, long, value_name = "NAME", num_args = 0..=1, require_equals = true)]
    #[expect(clippy::option_option, reason = "clap's type of an option whose value may be left out")]
    pub(crate) batch: Option<Option<String>>,
    /// Continue the batch of that name: runs that exist are printed, missing ones created
    #[arg(long)]
    pub(crate) exist_ok: bool,
    /// Override that {set} passes to the command, recorded as typed
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = key_value)]
    pub(crate) set: Vec<(String, String)>,
    /// The program reads the overrides from its environment; the command needs no {set}
    #[arg(long)]
    pub(crate) set_by_env: bool,
    /// Override that varies: a run for each value of a,b,c, 1..5, lin(FROM,TO,COUNT) or log(FROM,TO,COUNT)
    #[arg(long, value_name = "KEY=SPEC", value_parser = Sweep::parse)]
    pub(crate) sweep: Vec<Sweep>,
    /// Draw so many runs instead: of uniform(FROM,TO), loguniform(FROM,TO), choice(a,b) too
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub(crate) sample: Option<usize>,
    /// Number that the draws begin with [default: any, and said]
    #[arg(long, value_name = "SEED", requires = "sample")]
    pub(crate) sample_seed: Option<u64>,
    /// Random seed [default: as overridden or configured]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) seed: Option<i64>,
    /// Number of steps to take [default: as overridden or configured]
    #[arg(long, value_name = "N")]
    pub(crate) total_steps: Option<u64>,
    /// Device, such as cuda or cpu [default: as overridden or configured, else what the host has]
    #[arg(long, value_name = "DEVICE")]
    pub(crate) device: Option<String>,
    /// Word to select runs by
    #[arg(long, value_name = "WORD")]
    pub(crate) tag: Vec<String>,
    /// Sentence for people
    #[arg(long, value_name = "TEXT")]
    pub(crate) note: Option<String>,
    /// Input file or directory for {input:NAME}; it must exist
    #[arg(long, value_name = "NAME=PATH", value_parser = key_value)]
    pub(crate) input: Vec<(String, String)>,
    /// Pattern of checkpoints, below the run, where it is not a usual one
    #[arg(long, value_name = "PATTERN", value_parser = checkpoint_pattern)]
    pub(crate) checkpoint: Option<String>,
    /// Files that a complete checkpoint holds
    #[arg(long, value_name = "FILE,...", value_delimiter = ',')]
    pub(crate) checkpoint_requires: Vec<String>,
    /// File below the run that holds its metrics, where it is not a usual one
    #[arg(long, value_name = "FILE", value_parser = MetricSource::check_name)]
    pub(crate) metrics: Option<String>,
    /// Name of the step in the metrics, where it is not a usual one
    #[arg(long, value_name = "KEY")]
    pub(crate) step_key: Option<String>,
    /// Arguments that {resume} stands for when an attempt resumes; all words up to --
    #[arg(long, value_name = "ARG", num_args = 1.., allow_hyphen_values = true)]
    pub(crate) resume_args: Vec<String>,
    /// Metrics to read off the output: auto, none, or a regular expression with named groups
    #[arg(long, value_name = "SPEC", value_parser = Patterns::check)]
    pub(crate) scrape: Vec<String>,
    /// Variable to set for the command; placeholders are filled in
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    pub(crate) env: Vec<(String, String)>,
    /// Directory to execute the command in [default: this one]
    #[arg(long, value_name = "DIR")]
    pub(crate) chdir: Option<PathBuf>,
    /// Keys, dotted, that the config must have
    #[arg(long, value_name = "KEY,...", value_delimiter = ',')]
    pub(crate) require: Vec<String>,
    /// Print the record of each run as a line of JSON instead of its path
    #[arg(long)]
    pub(crate) json: bool,
    /// End each path with NUL instead of a newline
    #[arg(short = '0', long, conflicts_with = "json")]
    pub(crate) null: bool,
    /// Config files, a run each; a quoted pattern stands for those that match
    #[arg(value_name = "CONFIG")]
    pub(crate) configs: Vec<PathBuf>,
    /// Command that run-exec will execute
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
}

impl Args {
    /// Gives the command what `--resume-args` has taken of it: that option takes any word, `--` too.
    pub(crate) fn settled(&self) -> Self {
        let mut settled = self.clone();
        if let Some(end) = settled.resume_args.iter().position(|word| word == "--") {
            settled.command.splice(0..0, settled.resume_args.drain(end + 1..));
            settled.resume_args.pop();
        }
        settled
    }
}

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("it must be KEY=VALUE".to_owned()),
    }
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err("it must be a whole number above 0".to_owned()),
    }
}
