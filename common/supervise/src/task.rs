//! What is executed in a run, with everything that was decided about it.

use super::ending::Ending;
use run_common::cli::statuses::Statuses;
use run_common::provenance::device::UseQuery;
use run_common::rundir::environment::Variable;
use run_common::rundir::layout::Layout;
use run_common::rundir::meta::Checkpoint;
use run_metrics::scrape::Patterns;
use std::env;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// A command to be executed in a run.
#[derive(Debug)]
pub struct Task {
    /// The run's files.
    pub layout: Layout,
    /// What is executed: a path, or a name to be found on the path.
    pub program: OsString,
    /// The command's arguments, the first of which is the name it is called by.
    pub arguments: Vec<OsString>,
    /// Variables to set, or to remove where they would be another run's.
    pub env: Vec<Variable>,
    /// Directory to execute it in.
    pub cwd: PathBuf,
    /// Whether it reads the caller's stdin rather than `/dev/null`.
    pub stdin: bool,
    /// What its stdout and stderr are.
    pub output: Output,
    /// Times.
    pub limits: Limits,
    /// Whether its output goes to the logs alone.
    pub quiet: bool,
    /// Whether the caller returns as soon as it has started.
    pub detach: bool,
    /// What is looked for in its output.
    pub scrape: Patterns,
    /// What tells how far it is.
    pub sources: Sources,
    /// Whether another attempt follows this one, should it end in a way that may pass.
    pub retry: Option<Retry>,
    /// What is asked which processes use which graphics processors.
    pub devices: UseQuery,
    /// Statuses to exit with where the command has none of its own.
    pub statuses: Statuses,
    /// What the tool decides about its end.
    pub ending: Box<dyn Ending>,
}

/// What tells how far a command is, and that it lives, beside its output and the metrics that it writes for
/// the suite.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// Whether it is a trainer, whose files of metrics and checkpoints count.
    pub trainer: bool,
    /// The file below the run that alone holds its metrics.
    pub metrics: Option<String>,
    /// The name of the step in them.
    pub step_key: Option<String>,
    /// What its checkpoints look like.
    pub checkpoint: Option<Checkpoint>,
}

/// When another attempt is made.
#[derive(Clone, Debug)]
pub struct Retry {
    /// Time before it.
    pub delay: Duration,
    /// Exit statuses after which one is made; after a signal, a want of memory and a stall it always is.
    pub exit_codes: Vec<i32>,
}

/// What the command's stdout and stderr are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// A pipe each.
    Pipes,
    /// One pipe for both, which keeps their order.
    Merged,
    /// A terminal of its own.
    Terminal,
}

/// Times that a supervisor keeps.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Between the request to the main process and TERM to all that is left.
    pub grace: Duration,
    /// What outlives the main process has this long, and after TERM again.
    pub linger: Duration,
    /// Between two writes of status.json.
    pub heartbeat: Duration,
    /// For the attempt.
    pub timeout: Option<Duration>,
    /// Without output, metric or checkpoint.
    pub stall: Option<Duration>,
}

impl Task {
    /// Returns the value that a variable of the environment has for the command.
    pub(super) fn value(&self, name: &str) -> Option<String> {
        match self.env.iter().rev().find(|(changed, _)| changed == name) {
            Some((_, value)) => value.as_ref()?.to_str().map(str::to_owned),
            None => env::var(name).ok(),
        }
    }

    /// Makes the command ready to be spawned.
    pub(super) fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        if let Some((name, arguments)) = self.arguments.split_first() {
            command.arg0(name).args(arguments);
        }
        self.prepare(&mut command);
        command
    }

    /// Gives a command the run's environment and directory.
    pub(super) fn prepare(&self, command: &mut Command) {
        change_environment(command, &self.env);
        // A process that stays where it is can be started without a copy of this one.
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
