//! The command line of run-report.

use crate::frame::TableFormat;
use crate::serve::DEFAULT;
use clap::{ArgGroup, Parser};
use run_common::cli::runs_dir::RunsDir;
use run_common::cost;
use run_common::time::parse_duration;
use run_metrics::scrape::Patterns;
use std::path::PathBuf;
use std::time::Duration;

const EXAMPLES: &str = "Examples:
  run-report
  run-report --best val_loss:min --format csv > table.csv
  run-report --group-by lr
  run-report --metrics --columns lr,seed > metrics.csv
  run-report --compare first second
  run-report --plot loss --log --smooth 0.9 first second
  run-report --html report.html
  run-report --serve
  run-report --export-mlflow mlruns
  run-report --sql runs.sql && duckdb -init runs.sql
  run-status -a --json | jq -c 'select(.step > 100)' | run-report -";

/// Compare runs, consolidate their metrics, draw curves, add up costs.
#[derive(Debug, Parser)]
#[command(name = "run-report", version, after_help = EXAMPLES)]
#[command(group = ArgGroup::new("what").args(["metrics", "evals", "compare", "svg", "html", "serve", "export", "export_tensorboard", "export_mlflow", "sql", "cost", "goodput"]))]
#[command(group = ArgGroup::new("priced").args(["cost", "goodput"]))]
#[command(group = ArgGroup::new("curves").args(["plot", "svg", "html", "serve", "export"]).multiple(true))]
#[command(group = ArgGroup::new("away").args(["export_tensorboard", "export_mlflow", "sql"]).multiple(true))]
#[command(group = ArgGroup::new("whole").args(["metrics", "evals", "compare"]).multiple(true))]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) runs_dir: RunsDir,
    /// Format of a table
    #[arg(long, value_name = "FORMAT", default_value = "table", conflicts_with_all = ["metrics", "evals", "curves", "away"])]
    pub(crate) format: TableFormat,
    /// Columns to show; a metric stands for its last, best, mean and std
    #[arg(long, value_name = "COLUMN,...", conflicts_with_all = ["evals", "compare", "goodput", "curves", "away"])]
    pub(crate) columns: Vec<String>,
    /// Sort by a column; with :desc in descending order
    #[arg(long, value_name = "COLUMN", conflicts_with_all = ["whole", "goodput", "curves", "away"])]
    pub(crate) sort: Option<String>,
    /// Sort by the best value of a metric; :min or :max if its name does not tell which is better
    #[arg(long, value_name = "METRIC", conflicts_with_all = ["sort", "what", "plot"])]
    pub(crate) best: Option<String>,
    /// Print a row for each group of runs with the same KEYs, with mean and std
    #[arg(long, value_name = "KEY,...", conflicts_with_all = ["what", "plot"])]
    pub(crate) group_by: Vec<String>,
    /// Print every metric row of every run as one CSV
    #[arg(long)]
    pub(crate) metrics: bool,
    /// Print every evaluation row of every run as one CSV
    #[arg(long)]
    pub(crate) evals: bool,
    /// The directory of evaluations.
    #[arg(
        long,
        value_name = "DIR",
        conflicts_with_all = ["metrics", "priced"],
        help = "Directory of evaluations [default: $EVAL_RUNS_DIR, else eval_runs beside the runs directory]"
    )]
    pub(crate) eval_dir: Option<PathBuf>,
    /// Read metrics from the logs of ended runs: auto, none, or a regular expression with named groups
    #[arg(long, value_name = "SPEC", conflicts_with_all = ["evals", "sql"], value_parser = Patterns::check)]
    pub(crate) scrape: Vec<String>,
    /// Show the differences between runs side by side
    #[arg(long)]
    pub(crate) compare: bool,
    /// Draw curves of metrics in the terminal, or in the file of an export
    #[arg(long, value_name = "METRIC,...", conflicts_with_all = ["whole", "priced", "sql"])]
    pub(crate) plot: Vec<String>,
    /// Write curves to a file as SVG; - is stdout
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
    /// Write an HTML page with curves, table and provenance to a file
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// The address of the live page.
    #[arg(
        long,
        value_name = "ADDR:PORT",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = DEFAULT,
        conflicts_with = "scrape",
        help = "Serve the page, which follows the runs, until interrupted [default: 127.0.0.1:7117]"
    )]
    pub(crate) serve: Option<String>,
    /// Write the whole report to a file as a JSON document
    #[arg(long, value_name = "FILE")]
    pub(crate) export: Option<PathBuf>,
    /// Write TensorBoard event files to a directory
    #[arg(long, value_name = "DIR")]
    pub(crate) export_tensorboard: Option<PathBuf>,
    /// Write an MLflow file store to a directory
    #[arg(long, value_name = "DIR")]
    pub(crate) export_mlflow: Option<PathBuf>,
    /// Write a script of views for querying runs in place with DuckDB; - is stdout
    #[arg(long, value_name = "FILE")]
    pub(crate) sql: Option<PathBuf>,
    /// Draw values on a logarithmic axis
    #[arg(long, requires = "curves", conflicts_with = "away")]
    pub(crate) log: bool,
    /// Draw curves over epoch, time or another logged field instead of the step
    #[arg(long, value_name = "KEY", requires = "curves", conflicts_with = "away")]
    pub(crate) x: Option<String>,
    /// Draw steps on a logarithmic axis
    #[arg(long, requires = "curves", conflicts_with = "away")]
    pub(crate) log_x: bool,
    /// Smooth curves by a running mean of this weight, from 0 to less than 1
    #[arg(long, value_name = "WEIGHT", requires = "curves", conflicts_with = "away", value_parser = weight)]
    pub(crate) smooth: Option<f64>,
    /// Add up the costs of runs
    #[arg(long)]
    pub(crate) cost: bool,
    /// Show what time and money went to: training, a queue, a start, stalls, repeated work
    #[arg(long)]
    pub(crate) goodput: bool,
    /// The price of all devices.
    #[arg(
        long,
        value_name = "USD",
        requires = "priced",
        conflicts_with_all = ["whole", "curves", "away"],
        value_parser = price,
        help = "Price of a device for an hour [default: $RUN_RATE]"
    )]
    pub(crate) rate: Option<f64>,
    /// The prices of devices by name.
    #[arg(
        long,
        value_name = "FILE",
        requires = "priced",
        conflicts_with_all = ["rate", "whole", "curves", "away"],
        help = "File of prices by device [default: $RUN_RATES]"
    )]
    pub(crate) rates: Option<PathBuf>,
    /// Ask a command for further costs of a run: JSON on stdin, {"usd": ...} on stdout
    #[arg(long, value_name = "COMMAND", requires = "cost", conflicts_with_all = ["whole", "curves", "away"])]
    pub(crate) cost_command: Option<String>,
    /// Time limit of --cost-command per run
    #[arg(long, value_name = "TIME", default_value = "30s", requires = "cost_command", conflicts_with_all = ["whole", "curves", "away"], value_parser = parse_duration)]
    pub(crate) cost_timeout: Duration,
    /// Report on the runs that have this tag; of several tags, all
    #[arg(long, value_name = "WORD")]
    pub(crate) tag: Vec<String>,
    /// Names on stdin end in NUL instead of a newline
    #[arg(short = '0', long)]
    pub(crate) null: bool,
    /// Runs and batches [default: all below the runs directory]; - reads them from stdin
    #[arg(value_name = "RUN")]
    pub(crate) runs: Vec<String>,
}

fn weight(text: &str) -> Result<f64, String> {
    let weight = text.parse().ok().filter(|weight| (0.0..1.0).contains(weight));
    weight.ok_or_else(|| "must be at least 0 and less than 1".to_owned())
}

fn price(text: &str) -> Result<f64, String> {
    cost::price(text).ok_or_else(|| format!("'{text}' is not a price in dollars"))
}
