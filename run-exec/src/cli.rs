//! The command line of run-exec.

use clap::Parser;
use run_checkpoint::{Label, checkpoint_pattern};
use run_common::cli::runs_dir::RunsDir;
use run_common::cli::slots::Slots;
use run_common::rundir::options::AttemptOptions;
use run_common::time::{parse_duration, parse_positive};
use run_metrics::scrape::Patterns;
use run_metrics::source::MetricSource;
use std::time::Duration;

const EXAMPLES: &str = "Examples:
  run-exec base_2026-01-29_12-00-00
  run-exec --detach --timeout 8h trial
  run-exec trial -- python train.py --config {config}
  run-new -b *.yaml -- python train.py {config} | run-exec -j 2 --gpus 0,1 -";

/// Execute a command in a run, or in several: tee its logs, keep its status, stop it.
#[derive(Debug, Parser)]
#[command(name = "run-exec", version, after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) runs_dir: RunsDir,
    /// Write the output to the logs alone
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Return as soon as the command has started; the run goes on
    #[arg(long)]
    pub(crate) detach: bool,
    /// Make another attempt of a run that has ended or died
    #[arg(long)]
    pub(crate) resume: bool,
    /// Resume from the checkpoint of this step [default: latest]
    #[arg(long, value_name = "STEP", value_parser = from_step)]
    pub(crate) from_step: Option<FromStep>,
    /// Train for so many steps more than those of the checkpoint
    #[arg(long, value_name = "N", value_parser = steps)]
    pub(crate) additional_steps: Option<u64>,
    /// Pattern of checkpoints, below the run; later attempts keep it
    #[arg(long, value_name = "PATTERN", value_parser = checkpoint_pattern)]
    pub(crate) checkpoint: Option<String>,
    /// Resume also when the config in the run was changed since its creation
    #[arg(long)]
    pub(crate) allow_config_change: bool,
    /// Resume also a stale run of another host, which is known to be gone
    #[arg(long)]
    pub(crate) take_over: bool,
    #[command(flatten)]
    pub(crate) slots: Slots,
    /// Start no more runs when one has failed
    #[arg(long)]
    pub(crate) fail_fast: bool,
    /// Pass over runs that have completed, and make another attempt of others that have ended
    #[arg(long, conflicts_with = "resume")]
    pub(crate) unfinished: bool,
    /// Make so many more attempts when one ends in a way that may pass
    #[arg(long, value_name = "N", conflicts_with = "stdin", value_parser = retries)]
    retries: Option<u32>,
    /// Time before the first of them, doubled before each that follows [default: 30s]
    #[arg(long, value_name = "TIME", requires = "retries", conflicts_with = "stdin", value_parser = parse_duration)]
    retry_delay: Option<Duration>,
    /// Exit statuses, besides signals and stalls, after which another attempt is made
    #[arg(long, value_name = "STATUS,...", value_delimiter = ',', requires = "retries", conflicts_with = "stdin", value_parser = exit_status)]
    retry_on: Vec<i32>,
    /// Names on stdin end in NUL instead of a newline
    #[arg(short = '0', long)]
    pub(crate) null: bool,
    /// Give the command this stdin instead of /dev/null
    #[arg(long, conflicts_with = "detach")]
    pub(crate) stdin: bool,
    /// Give the command one pipe for stdout and stderr, which keeps their order
    #[arg(long)]
    pub(crate) merge: bool,
    /// Give the command a terminal of its own; implies --merge
    #[arg(long)]
    pub(crate) pty: bool,
    /// End the attempt after this time; none: never
    #[arg(long, value_name = "TIME", value_parser = limit)]
    timeout: Option<Duration>,
    /// End the attempt when it writes neither output nor a metric for this time; none: never
    #[arg(long, value_name = "TIME", value_parser = limit)]
    stall_timeout: Option<Duration>,
    /// Time between the request to stop and SIGTERM to all that is left [default: 2m]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    grace: Option<Duration>,
    /// Time for what outlives the main process, before SIGTERM and again before SIGKILL [default: 5s]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    linger: Option<Duration>,
    /// Time between two writes of the run's status [default: 5s]
    #[arg(long, value_name = "TIME", value_parser = parse_positive)]
    heartbeat: Option<Duration>,
    /// Metrics to read off the output: auto, none, or a regular expression with named groups
    #[arg(long, value_name = "SPEC", value_parser = Patterns::check)]
    scrape: Vec<String>,
    /// File below the run that holds its metrics, where it is not a usual one
    #[arg(long, value_name = "FILE", value_parser = MetricSource::check_name)]
    metrics: Option<String>,
    /// Name of the step in the metrics, where it is not a usual one
    #[arg(long, value_name = "KEY")]
    step_key: Option<String>,
    /// Shell command to execute when the attempt has ended
    #[arg(long, value_name = "COMMAND")]
    on_end: Option<String>,
    /// Runs and batches: paths, or names below the runs directory; - reads them from stdin
    #[arg(value_name = "RUN", required = true)]
    pub(crate) runs: Vec<String>,
    /// Command to execute [default: the recorded one]
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
}

/// Where a resume begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FromStep {
    /// The latest complete checkpoint.
    Latest,
    /// The complete one of a step.
    Step(u64),
    /// The complete one that is called so.
    Labelled(Label),
}

fn from_step(text: &str) -> Result<FromStep, String> {
    match text {
        "latest" => Ok(FromStep::Latest),
        _ => match (Label::named(text), text.parse()) {
            (Some(label), _) => Ok(FromStep::Labelled(label)),
            (None, Ok(step)) => Ok(FromStep::Step(step)),
            (None, Err(_)) => Err("it is a step, or latest, final, best or last".to_owned()),
        },
    }
}

impl Args {
    /// Returns the options that later attempts inherit, as far as they are given.
    pub(crate) fn inherited(&self) -> AttemptOptions {
        let seconds = |time: Option<Duration>| time.map(|time| time.as_secs_f64());
        AttemptOptions {
            scrape: Some(self.scrape.clone()).filter(|specs| !specs.is_empty()),
            metrics: self.metrics.clone(),
            step_key: self.step_key.clone(),
            grace_s: seconds(self.grace),
            linger_s: seconds(self.linger),
            heartbeat_s: seconds(self.heartbeat),
            timeout_s: seconds(self.timeout),
            stall_timeout_s: seconds(self.stall_timeout),
            retries: self.retries,
            retry_delay_s: seconds(self.retry_delay),
            retry_on: Some(self.retry_on.clone()).filter(|statuses| !statuses.is_empty()),
            on_end: self.on_end.clone(),
        }
    }
}

/// Reads a limit, of which `none` is one that is never reached.
fn limit(text: &str) -> Result<Duration, String> {
    if text == "none" { Ok(Duration::ZERO) } else { parse_positive(text) }
}

fn steps(text: &str) -> Result<u64, String> {
    text.parse().ok().filter(|&steps| steps > 0).ok_or("it is a number of steps, 1 or more".to_owned())
}

fn retries(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| "it is a number of attempts".to_owned())
}

fn exit_status(text: &str) -> Result<i32, String> {
    let status = text.parse().ok().filter(|status| (1..256).contains(status));
    status.ok_or("an exit status that says failure is 1 to 255".to_owned())
}
