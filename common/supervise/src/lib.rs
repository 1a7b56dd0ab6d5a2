//! Executes a command in a run and keeps its record: a front, which belongs to the caller, and a
//! supervisor, which belongs to the run, each of which outlives the other. Used by run-exec and run-eval.

mod combine;
pub mod combined;
mod driver;
mod front;
mod gpu;
mod log;
pub mod machine;
mod outcome;
pub mod pool;
pub mod reason;
mod resources;
mod scraped;
mod script;
mod signals;
mod tee;
mod terminal;

pub use front::run;
pub use signals::catch;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use run_common::rundir::environment::Variable;
use run_common::rundir::layout::Layout;
use run_common::rundir::meta::Checkpoint;
use run_metrics::scrape::Patterns;
use std::env;
use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// Status of run-exec when a time limit ended the command, as timeout(1) has it.
pub const TIMED_OUT: u8 = 124;
/// Status of run-exec when it failed itself, or refused.
pub const FAILED: u8 = 125;
/// Status of run-exec when the command cannot be executed.
pub const CANNOT_EXECUTE: u8 = 126;
/// Status of run-exec when the command cannot be found.
pub const NOT_FOUND: u8 = 127;

/// A command to be executed in a run, with everything that was decided about it.
#[derive(Clone, Debug)]
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
    /// Whether another attempt follows this one, should it end in a way that may pass.
    pub retry: Option<Retry>,
    /// What a checkpoint of the run looks like.
    pub checkpoint: Option<Checkpoint>,
    /// Shell command for when the attempt has ended.
    pub on_end: Option<String>,
    /// What is asked about a command that has ended well.
    pub check: Option<Check>,
}

/// Says what is wrong with what a command has left: then it has failed.
pub type Check = fn(&Layout) -> Option<String>;

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
    /// Without output or metric.
    pub stall: Option<Duration>,
}

impl Task {
    /// Makes the command ready to be spawned.
    fn command(&self) -> Command {
        use std::os::unix::process::CommandExt;
        let mut command = Command::new(&self.program);
        if let Some((name, arguments)) = self.arguments.split_first() {
            command.arg0(name).args(arguments);
        }
        self.prepare(&mut command);
        command
    }

    /// Gives a command the run's environment and directory.
    fn prepare(&self, command: &mut Command) {
        for (name, value) in &self.env {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        // A process that stays where it is can be started without a copy of this one.
        if env::current_dir().ok().as_ref() != Some(&self.cwd) {
            command.current_dir(&self.cwd);
        }
    }
}

/// Makes reads and writes of a descriptor return instead of wait.
fn set_nonblocking(fd: impl AsFd) -> io::Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(&fd, FcntlArg::F_GETFL)?);
    fcntl(&fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}
