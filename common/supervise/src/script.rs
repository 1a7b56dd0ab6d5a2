//! The tool's shell command that is executed after the end of an attempt has been recorded.

use super::ending::Script;
use super::task::{Task, change_environment};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use run_common::error::plain;
use run_common::message::warn;
use run_common::process::signals::{Signals, is_request, signal_name};
use run_common::process::spawn;
use run_common::rundir::attempts::AttemptEnd;
use std::io;
use std::os::fd::AsFd;
use std::process::{Command, Stdio};

/// Executes the script of a task, if it has one, and waits for it. Its failure is a warning.
pub(super) fn execute(task: &Task, end: &AttemptEnd, signals: &mut Signals) {
    let Some(Script { name, command: text, env }) = task.ending.script(end) else { return };
    let mut command = Command::new("sh");
    command.arg("-c").arg(text).stdin(Stdio::null());
    if let Ok(messages) = io::stderr().as_fd().try_clone_to_owned() {
        command.stdout(Stdio::from(messages)); // its output is for people
    }
    task.prepare(&mut command);
    change_environment(&mut command, &env);
    let failure = match spawn::start(&mut command, None) {
        Ok(pid) => wait_for(pid, signals),
        Err(error) => Some(plain(&error)),
    };
    if let Some(failure) = failure {
        warn(&format!("{name} failed: {failure}"));
    }
}

/// Waits for the script; passes stop requests on to it. Returns its failure.
fn wait_for(pid: i32, signals: &mut Signals) -> Option<String> {
    loop {
        match waitpid(Pid::from_raw(pid), Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(_, 0)) => return None,
            Ok(WaitStatus::Exited(_, status)) => return Some(format!("exit {status}")),
            Ok(WaitStatus::Signaled(_, signal, _)) => {
                return Some(format!("signal {} ({})", signal as i32, signal_name(signal as i32)));
            }
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(error) => return Some(error.desc().to_owned()),
        }
        let mut fds = [PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
        let _ = poll(&mut fds, PollTimeout::NONE); // SIGCHLD arrives here, like all signals
        if signals.pending().into_iter().any(is_request) {
            let _ = killpg(Pid::from_raw(pid), Signal::SIGTERM); // then its group has ended
        }
    }
}
