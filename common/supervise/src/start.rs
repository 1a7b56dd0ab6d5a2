//! The start of an attempt: its record, then its command; and why a command cannot be started.

use super::main_process::MainProcess;
use super::supervisor::Supervisor;
use super::task::{Output, Task};
use run_common::error::plain;
use run_common::message::{tool, warn};
use run_common::process::spawn;
use run_common::rundir::status::Outcome;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Stdio;

/// Tells the monitor that the command has started.
#[derive(Debug)]
pub(super) struct Report(File);

impl Report {
    /// Creates the notifier from the writing end of a pipe.
    pub(super) fn new(write: OwnedFd) -> Self {
        Self(write.into())
    }

    fn started(&self, pid: i32) {
        let _ = (&self.0).write_all(&pid.to_ne_bytes()); // a killed monitor is noticed elsewhere
    }
}

/// Why a command was not started.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unstarted {
    /// The exit status.
    status: u8,
    reason: String,
}

impl Supervisor<'_> {
    /// Records the start and starts the command, with these descriptors as its stdout and stderr.
    pub(super) fn start(
        &mut self,
        stdout: OwnedFd,
        stderr: OwnedFd,
        report: &Report,
    ) -> Result<(), Unstarted> {
        let failed = |reason| Unstarted { status: self.task.statuses.failed, reason };
        self.records
            .begin()
            .map_err(|error| failed(format!("{} cannot write the record: {}", tool(), plain(&error))))?;
        let mut command = self.task.command();
        let terminal = match self.task.output {
            Output::Terminal => {
                drop(stderr);
                Some(stdout)
            }
            Output::Pipes | Output::Merged => {
                command.stdout(Stdio::from(stdout)).stderr(Stdio::from(stderr));
                None
            }
        };
        // Without --stdin, our stdin is /dev/null by now.
        if let (Some(terminal), true) = (&terminal, self.task.stdin) {
            let stdin = terminal.try_clone();
            command.stdin(stdin.map_err(|error| failed(format!("{} failed: {}", tool(), plain(&error))))?);
        }
        let pid = spawn::start(&mut command, terminal.as_ref()).map_err(|error| {
            let shown = self.records.start().command.first().map_or("", String::as_str); // contains no secret
            why_not(self.task, shown, &error)
        })?;
        self.main = MainProcess::started(pid);
        self.records.note_child(pid);
        self.records.make_room();
        report.started(pid);
        self.begin_beside();
        Ok(())
    }

    /// Reports and records that the command did not start; returns the exit status.
    pub(super) fn finish_unstarted(mut self, unstarted: Unstarted) -> u8 {
        let Unstarted { status, reason } = unstarted;
        warn(&reason);
        if !self.task.cwd.is_dir() {
            warn("--resume with the command after -- executes it in the current directory");
        }
        let mut end = self.end(Outcome::Failed, Some(reason));
        end.exit_code = Some(status.into());
        self.write_end(&end);
        self.after_end(&end);
        status
    }
}

/// Returns why a command, `shown` by this name, did not start.
fn why_not(task: &Task, shown: &str, error: &io::Error) -> Unstarted {
    let statuses = task.statuses;
    let program = Path::new(&task.program);
    let (status, reason) = match error.kind() {
        _ if !task.cwd.is_dir() => {
            (statuses.failed, format!("cannot enter '{}': there is no such directory", task.cwd.display()))
        }
        io::ErrorKind::NotFound if program.components().count() > 1 && task.cwd.join(program).exists() => {
            (statuses.not_found, format!("command not found: the interpreter that '{shown}' names"))
        }
        io::ErrorKind::NotFound => (statuses.not_found, format!("command not found: {shown}")),
        _ => (statuses.cannot_execute, format!("cannot execute '{shown}': {}", plain(error))),
    };
    Unstarted { status, reason }
}
