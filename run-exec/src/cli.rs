//! The command line of run-exec.

use clap::Parser;
use run_checkpoint::{Label, checkpoint_pattern};
use run_common::cli::runs_dir::RunsDir;
use run_common::cli::slots::Slots;
use run_common::rundir::options::AttemptOptions;
use run_common::time::{parse_duration, parse_positive};
use run_launch::choice::Choice;
use run_metrics::scrape::Patterns;
use run_metrics::source::MetricSource;
use std::time::Duration;

const EXAMPLES: &str = "Examples:
  run-exec base_2026-01-29_12-00-00
  run-exec --detach --timeout 8h trial
  run-exec trial -- python train.py --config {config}
  run-new -b *.yaml -- python train.py {config} | run-exec -j 2 --gpus 0,1 -";

/// Execute the command of one or several runs: log its output, record its status, stop it gracefully.
#[derive(Debug, Parser)]
#[command(name = "run-exec", version, after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) runs_dir: RunsDir,
    /// Write the output only to the logs
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Return as soon as the command has started; the run continues
    #[arg(long)]
    pub(crate) detach: bool,
    /// Make another attempt of a run that has ended or died
    #[arg(long)]
    pub(crate) resume: bool,
    /// Resume from the checkpoint of this step [default: latest]
    #[arg(long, value_name = "STEP", value_parser = from_step)]
    pub(crate) from_step: Option<FromStep>,
    /// Train for N more steps than the step of the checkpoint
    #[arg(long, value_name = "N", value_parser = steps)]
    pub(crate) additional_steps: Option<u64>,
    /// Pattern of checkpoint paths below the run; later attempts keep it
    #[arg(long, value_name = "PATTERN", value_parser = checkpoint_pattern)]
    pub(crate) checkpoint: Option<String>,
    /// Resume even if the config in the run has changed since its creation
    #[arg(long)]
    pub(crate) allow_config_change: bool,
    /// Resume a stale run of another host that you know is gone
    #[arg(long)]
    pub(crate) take_over: bool,
    #[command(flatten)]
    pub(crate) slots: Slots,
    /// Start no more runs after a run has failed; =now also stops the others
    #[arg(
        long,
        value_name = "now",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "",
        value_parser = fail_fast
    )]
    pub(crate) fail_fast: Option<FailFast>,
    /// Skip completed runs, and make another attempt of runs that ended in another way
    #[arg(long, conflicts_with = "resume")]
    pub(crate) unfinished: bool,
    /// Retry up to N times after transient failures
    #[arg(long, value_name = "N", conflicts_with = "stdin", value_parser = retries)]
    retries: Option<u32>,
    /// Time before the first retry; doubles with each further retry [default: 30s]
    #[arg(long, value_name = "TIME", requires = "retries", conflicts_with = "stdin", value_parser = parse_duration)]
    retry_delay: Option<Duration>,
    /// Exit statuses after which to retry, besides signals and stalls
    #[arg(long, value_name = "STATUS,...", value_delimiter = ',', requires = "retries", conflicts_with = "stdin", value_parser = exit_status)]
    retry_on: Vec<i32>,
    /// Names on stdin end in NUL instead of a newline
    #[arg(short = '0', long)]
    pub(crate) null: bool,
    /// Give the command the stdin of run-exec instead of /dev/null
    #[arg(long, conflicts_with = "detach")]
    pub(crate) stdin: bool,
    /// Give the command one pipe for stdout and stderr, which keeps their order
    #[arg(long)]
    pub(crate) merge: bool,
    /// Give the command a terminal of its own; implies --merge
    #[arg(long)]
    pub(crate) pty: bool,
    /// End the attempt after this time; none for no limit
    #[arg(long, value_name = "TIME", value_parser = limit)]
    timeout: Option<Duration>,
    /// End the attempt after no output, metric or checkpoint for this time; none for no limit
    #[arg(long, value_name = "TIME", value_parser = limit)]
    stall_timeout: Option<Duration>,
    /// Time between the stop request and SIGTERM to all remaining processes [default: 2m]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    grace: Option<Duration>,
    /// Time that other processes have before SIGTERM, and again before SIGKILL [default: 5s]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    linger: Option<Duration>,
    /// Interval of writes of the run's status [default: 5s]
    #[arg(long, value_name = "TIME", value_parser = parse_positive)]
    heartbeat: Option<Duration>,
    /// Metrics to read from the output: auto, none, or a regular expression with named groups
    #[arg(long, value_name = "SPEC", value_parser = Patterns::check)]
    scrape: Vec<String>,
    /// File below the run that holds its metrics, if the name is not recognised
    #[arg(long, value_name = "FILE", value_parser = MetricSource::check_name)]
    metrics: Option<String>,
    /// Name of the step in the metrics, if the name is not recognised
    #[arg(long, value_name = "KEY")]
    step_key: Option<String>,
    /// Shell command to execute after the attempt has ended
    #[arg(long, value_name = "COMMAND")]
    on_end: Option<String>,
    /// Have Slurm execute the runs, with these options of sbatch
    #[arg(
        long,
        value_name = "OPTIONS",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "",
        group = "launcher",
        conflicts_with_all = ["detach", "stdin", "gpus", "fail_fast"],
        value_parser = Choice::slurm
    )]
    pub(crate) slurm: Option<Choice>,
    /// Have the program run-launch-NAME execute the runs elsewhere, with these options
    #[arg(
        long,
        value_name = "NAME[=OPTIONS]",
        group = "launcher",
        conflicts_with_all = ["detach", "stdin", "gpus", "fail_fast"],
        value_parser = Choice::named
    )]
    pub(crate) launch: Option<Choice>,
    /// Wait until the submitted runs have ended
    #[arg(long, requires = "launcher")]
    pub(crate) wait: bool,
    /// Have a job started again if it is ended before its run is complete
    #[arg(long, requires = "launcher")]
    pub(crate) requeue: bool,
    /// With --requeue, also start a run again that has no checkpoint to resume from
    #[arg(long, requires = "requeue")]
    pub(crate) restart_ok: bool,
    /// Execute the run for this submission; only jobs of launchers need this option
    #[arg(long, value_name = "ID", conflicts_with_all = ["launcher", "detach", "stdin"])]
    pub(crate) job: Option<String>,
    /// Runs and batches: paths, or names below the runs directory; - reads them from stdin
    #[arg(value_name = "RUN", required = true)]
    pub(crate) runs: Vec<String>,
    /// Command to execute [default: the recorded command]
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
}

/// What a failed run does to the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FailFast {
    /// No more runs start.
    StartNone,
    /// Active runs are stopped, too.
    StopAll,
}

fn fail_fast(text: &str) -> Result<FailFast, String> {
    match text {
        "" => Ok(FailFast::StartNone),
        "now" => Ok(FailFast::StopAll),
        _ => Err("must be now, if given".to_owned()),
    }
}

/// Where a resume starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FromStep {
    /// The latest complete checkpoint.
    Latest,
    /// The complete checkpoint of a step.
    Step(u64),
    /// The complete checkpoint with this label.
    Labelled(Label),
}

fn from_step(text: &str) -> Result<FromStep, String> {
    match text {
        "latest" => Ok(FromStep::Latest),
        _ => match (Label::named(text), text.parse()) {
            (Some(label), _) => Ok(FromStep::Labelled(label)),
            (None, Ok(step)) => Ok(FromStep::Step(step)),
            (None, Err(_)) => Err("must be a step, latest, final, best or last".to_owned()),
        },
    }
}

impl Args {
    /// Returns the given options that later attempts inherit.
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

/// Reads a time limit; `none` means no limit.
fn limit(text: &str) -> Result<Duration, String> {
    if text == "none" { Ok(Duration::ZERO) } else { parse_positive(text) }
}

fn steps(text: &str) -> Result<u64, String> {
    text.parse().ok().filter(|&steps| steps > 0).ok_or("must be a whole number above 0".to_owned())
}

fn retries(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| "must be a whole number".to_owned())
}

fn exit_status(text: &str) -> Result<i32, String> {
    let status = text.parse().ok().filter(|status| (1..256).contains(status));
    status.ok_or("must be from 1 to 255".to_owned())
}
