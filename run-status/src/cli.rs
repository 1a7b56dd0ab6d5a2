//! The command line of run-status.

use clap::builder::NonEmptyStringValueParser;
use clap::{ArgGroup, Parser, ValueEnum};
use run_checkpoint::checkpoint_pattern;
use run_common::cli::runs_dir::RunsDir;
use run_common::rundir::status::Status;
use run_common::time::{Timestamp, parse_duration};
use std::time::Duration;

const EXAMPLES: &str = "Examples:
  run-status
  run-status trial
  run-status --watch
  run-status --wait trial && make report
  run-status --log -f trial
  run-status -a --json | jq -r 'select(.status == \"dead\").path'";

/// Report the state of runs.
#[derive(Debug, Parser)]
#[command(name = "run-status", version, after_help = EXAMPLES)]
#[command(group = ArgGroup::new("change").args(["add_tag", "remove_tag", "note"]).multiple(true).requires("runs")
    .conflicts_with_all(["all", "status", "tag", "since", "format", "json", "full", "watch", "wait", "log", "columns", "checkpoint"]))]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) runs_dir: RunsDir,
    /// List all runs, not only those that need attention
    #[arg(short, long)]
    pub(crate) all: bool,
    /// List the runs with one of these statuses; exit 1 if there are none
    #[arg(long, value_name = "STATUS,...", value_delimiter = ',', value_parser = Status::ALL.map(Status::word))]
    pub(crate) status: Vec<String>,
    /// List the runs that have this tag; of several tags, all; exit 1 if there are none
    #[arg(long, value_name = "WORD")]
    pub(crate) tag: Vec<String>,
    /// List the runs that have changed since TIME: 90s ago, or an instant such as 2026-01-29T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = instant, conflicts_with_all = ["watch", "wait", "log"])]
    pub(crate) since: Option<Timestamp>,
    /// Give the named runs a tag
    #[arg(long, value_name = "WORD", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) add_tag: Vec<String>,
    /// Take a tag from the named runs
    #[arg(long, value_name = "WORD", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) remove_tag: Vec<String>,
    /// Replace the note of the named runs; an empty text removes the note
    #[arg(long, value_name = "TEXT")]
    pub(crate) note: Option<String>,
    /// Print a line of JSON for each run
    #[arg(long)]
    pub(crate) json: bool,
    /// Print a line of JSON for each run, with all fields of meta.json
    #[arg(long)]
    pub(crate) full: bool,
    /// Print metrics of the runs for other programs: prometheus, for a textfile collector
    #[arg(long, value_name = "FORMAT", conflicts_with_all = ["json", "full", "watch", "wait", "log", "checkpoint"])]
    pub(crate) format: Option<TextFormat>,
    /// Show the runs live, and look again every SECONDS [default: 5]; on a pipe, print changes as JSON
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true, default_missing_value = "5", value_parser = parse_duration, conflicts_with = "wait")]
    pub(crate) watch: Option<Duration>,
    /// Wait for the end of every run, and print each when it ends; exit 1 unless all have completed
    #[arg(long, conflicts_with = "status")]
    pub(crate) wait: bool,
    /// With --wait, give up after this time, and exit 1
    #[arg(long, value_name = "TIME", value_parser = parse_duration, requires = "wait", conflicts_with_all = ["status", "watch"])]
    pub(crate) timeout: Option<Duration>,
    /// Metrics to show in a list [default: three, losses and rewards first]
    #[arg(long, value_name = "METRIC,...")]
    pub(crate) columns: Vec<String>,
    /// Pattern of the checkpoint paths below the run, for its details
    #[arg(long, value_name = "PATTERN", value_parser = checkpoint_pattern, conflicts_with_all = ["json", "full", "watch", "wait", "log"])]
    pub(crate) checkpoint: Option<String>,
    /// Report a run on another host as stale when its heartbeat is older
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = parse_duration)]
    pub(crate) stale_after: Duration,
    /// Print the log of the run
    #[arg(long, value_name = "LOG", num_args = 0..=1, require_equals = true, default_missing_value = "combined", conflicts_with_all = ["json", "full", "watch", "wait"])]
    pub(crate) log: Option<Log>,
    /// With --log, follow the log until the run has ended
    #[arg(short, long, requires = "log", conflicts_with_all = ["json", "full", "watch", "wait"])]
    pub(crate) follow: bool,
    /// Names on stdin end in NUL instead of a newline
    #[arg(short = '0', long)]
    pub(crate) null: bool,
    /// Runs: a single run for its details, several for a list; - reads them from stdin
    #[arg(value_name = "RUN")]
    pub(crate) runs: Vec<String>,
}

/// Reads an instant, or the time since then.
fn instant(text: &str) -> Result<Timestamp, String> {
    let ago = || {
        let millis = i64::try_from(parse_duration(text).ok()?.as_millis()).ok()?;
        Timestamp::from_millis(Timestamp::now().millis().checked_sub(millis)?)
    };
    let instant = Timestamp::of_iso(text).or_else(ago);
    instant.ok_or_else(|| "write a duration such as 90s, or a time such as 2026-01-29T12:00:00Z".to_owned())
}

/// A format for other programs, besides JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TextFormat {
    /// The text format of Prometheus.
    Prometheus,
}

/// A log of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Log {
    /// Both streams, line by line.
    Combined,
    /// The command's stdout.
    Stdout,
    /// The command's stderr.
    Stderr,
}
