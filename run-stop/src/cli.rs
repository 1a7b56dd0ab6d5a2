//! The command line of run-stop.

use clap::Parser;
use run_common::cli::runs_dir::RunsDir;
use run_common::time::parse_duration;
use std::time::Duration;

const EXAMPLES: &str = "Examples:
  run-stop trial
  run-stop --all
  run-status --json | jq -c 'select(.quiet_s > 3600)' | run-stop -";

/// Stop runs, gracefully, and wait until they have ended.
#[derive(Debug, Parser)]
#[command(name = "run-stop", version, after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) runs_dir: RunsDir,
    /// Stop every run that is active below the runs directory
    #[arg(long, conflicts_with = "runs")]
    pub(crate) all: bool,
    /// Time the run has before SIGTERM to all of its processes [default: as run-exec was given; 2m for what is left of a dead run]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(crate) grace: Option<Duration>,
    /// Kill at once, without time to save
    #[arg(long, conflicts_with = "grace")]
    pub(crate) kill: bool,
    /// Wait for the next complete checkpoint of each run before it is asked
    #[arg(long)]
    pub(crate) after_checkpoint: bool,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    pub(crate) why: Option<String>,
    /// Return without waiting
    #[arg(long)]
    pub(crate) no_wait: bool,
    /// Names on stdin end in NUL, not newline
    #[arg(short = '0', long)]
    pub(crate) null: bool,
    /// Runs: paths, or names below the runs directory; - reads them from stdin
    #[arg(value_name = "RUN", required_unless_present = "all")]
    pub(crate) runs: Vec<String>,
}
