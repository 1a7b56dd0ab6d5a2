//! The task of a supervisor, with everything that was decided about it.

use super::ending::Ending;
use run_common::cli::statuses::Statuses;
use run_common::provenance::device::UseQuery;
use run_common::rundir::environment::Variable;
use run_common::rundir::layout::Layout;
use run_common::rundir::meta::Checkpoint;
use run_metrics::scrape::Patterns;
use std::env;
use std::ffi::OsString;
use std::fmt::{self, Debug, Formatter};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

/// A command to execute in a run.
#[derive(Debug)]
pub struct Task {
    /// The run's files.
    pub layout: Layout,
    /// The program: a path, or a name to find on the path.
    pub program: OsString,
    /// The command's arguments, beginning with its name.
    pub arguments: Vec<OsString>,
    /// Variables to set, or to remove if they belong to another run.
    pub env: Vec<Variable>,
    /// The directory to execute it in.
    pub cwd: PathBuf,
    /// Whether it reads the caller's stdin rather than `/dev/null`.
    pub stdin: bool,
    /// The kind of its stdout and stderr.
    pub output: Output,
    /// Time limits and intervals.
    pub limits: Limits,
    /// Whether its output goes only to the logs.
    pub quiet: bool,
    /// Whether the caller returns as soon as it has started.
    pub detach: bool,
    /// What to look for in its output.
    pub scrape: Patterns,
    /// The sources of its progress.
    pub sources: Sources,
    /// Whether to retry after a transient failure of this attempt.
    pub retry: Option<Retry>,
    /// The program that reports which processes use which GPUs.
    pub devices: UseQuery,
    /// Exit statuses for cases in which the command has none.
    pub statuses: Statuses,
    /// What the tool does beside the command, in a thread, once the command has started.
    pub beside: Option<Beside>,
    /// The tool's decisions about its end.
    pub ending: Box<dyn Ending>,
}

/// Work of a tool beside a command.
#[derive(Clone)]
pub struct Beside(pub Arc<dyn Fn() + Send + Sync>);

impl Debug for Beside {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("Beside")
    }
}

/// The sources of a command's progress and signs of life, besides its output and the metrics that it writes
/// for the suite.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// Whether it is a trainer, whose metric files and checkpoints count.
    pub trainer: bool,
    /// The only file below the run to read metrics from.
    pub metrics: Option<String>,
    /// The name of the step in the metrics.
    pub step_key: Option<String>,
    /// How to recognise its checkpoints.
    pub checkpoint: Option<Checkpoint>,
}

/// When to retry.
#[derive(Clone, Debug)]
pub struct Retry {
    /// Delay before the retry.
    pub delay: Duration,
    /// Exit statuses after which to retry, besides signals, out-of-memory kills and stalls.
    pub exit_codes: Vec<i32>,
}

/// The kind of the command's stdout and stderr.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// A pipe each.
    Pipes,
    /// One pipe for both, which keeps their order.
    Merged,
    /// A terminal of its own.
    Terminal,
}

/// Time limits and intervals of a supervisor.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Time between the request to the main process and TERM to all remaining processes.
    pub grace: Duration,
    /// Time for processes that outlive the main process, and the same again after TERM.
    pub linger: Duration,
    /// Interval of writes of status.json.
    pub heartbeat: Duration,
    /// Time limit of the attempt.
    pub timeout: Option<Duration>,
    /// Time limit without output, metric or checkpoint.
    pub stall: Option<Duration>,
}

impl Task {
    /// Returns the value of a variable for the command.
    pub(super) fn value(&self, name: &str) -> Option<String> {
        match self.env.iter().rev().find(|(changed, _)| changed == name) {
            Some((_, value)) => value.as_ref()?.to_str().map(str::to_owned),
            None => env::var(name).ok(),
        }
    }

    /// Prepares the command for spawning.
    pub(super) fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        if let Some((name, arguments)) = self.arguments.split_first() {
            command.arg0(name).args(arguments);
        }
        self.prepare(&mut command);
        command
    }

    /// Sets a command's environment and directory.
    pub(super) fn prepare(&self, command: &mut Command) {
        change_environment(command, &self.env);
        // Without a change of directory, a process can be spawned without a copy of this one.
        if env::current_dir().ok().as_ref() != Some(&self.cwd) {
            command.current_dir(&self.cwd);
        }
    }
}

/// Sets variables of a command, or removes them.
pub(super) fn change_environment(command: &mut Command, variables: &[Variable]) {
    for (name, value) in variables {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
}
