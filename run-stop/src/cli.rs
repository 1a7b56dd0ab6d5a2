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
    /// Stop every active run below the runs directory
    #[arg(long, conflicts_with = "runs")]
    pub(crate) all: bool,
    /// Time to end before all processes get SIGTERM [default: that of run-exec; 2m without a supervisor]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(crate) grace: Option<Duration>,
    /// Kill at once: no time to save
    #[arg(long, conflicts_with = "grace")]
    pub(crate) kill: bool,
    /// Ask each run only after its next complete checkpoint
    #[arg(long)]
    pub(crate) after_checkpoint: bool,
    /// Reason to record
    #[arg(long, value_name = "TEXT")]
    pub(crate) why: Option<String>,
    /// Return without waiting
    #[arg(long)]
    pub(crate) no_wait: bool,
    /// Names on stdin end in NUL instead of a newline
    #[arg(short = '0', long)]
    pub(crate) null: bool,
    /// Runs: paths, or names below the runs directory; - reads them from stdin
    #[arg(value_name = "RUN", required_unless_present = "all")]
    pub(crate) runs: Vec<String>,
}
