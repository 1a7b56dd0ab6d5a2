//! Asks a program about the machine or the code, with a time limit, because the program may hang.

use super::identity::Process;
use crate::message::warn;
use crate::time::human;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Maximum size of an answer, in bytes.
const MOST: usize = 16 << 20;

/// Executes a program and returns its output; `None` if it fails. After `limit`, kills its process group and
/// prints a warning.
pub fn answer(command: &mut Command, limit: Duration) -> Option<Vec<u8>> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
    let mut child = command.spawn().ok()?;
    let answered = read(&mut child, Instant::now() + limit);
    if answered.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::TimedOut) {
        let program = command.get_program().display();
        warn(&format!("'{program}' has not answered within {}: continuing without its answer", human(limit)));
    }
    if answered.is_err() {
        let group = Pid::from_raw(i32::try_from(child.id()).ok()?);
        let _ = killpg(group, Signal::SIGKILL); // the process may have ended meanwhile
    }
    let status = child.wait().ok()?;
    answered.ok().filter(|_| status.success())
}

fn read(child: &mut Child, deadline: Instant) -> io::Result<Vec<u8>> {
    let mut stdout = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
    let (mut text, mut block) = (Vec::new(), [0; 4096]);
    loop {
        wait(stdout.as_fd(), deadline)?;
        let length = stdout.read(&mut block)?;
        if length == 0 {
            break;
        }
        text.extend_from_slice(&block[..length]);
        if text.len() > MOST {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
    }
    let process = Process::child(i32::try_from(child.id()).map_err(io::Error::other)?)?;
    wait(process.as_fd(), deadline)?;
    Ok(text)
}

fn wait(fd: BorrowedFd, deadline: Instant) -> io::Result<()> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match poll(
            &mut [PollFd::new(fd, PollFlags::POLLIN)],
            PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX),
        ) {
            Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
            Ok(_) => return Ok(()),
            Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_waited_for_and_a_program_that_hangs_is_ended_with_its_children() {
        let answered = |script: &str, limit| answer(Command::new("sh").args(["-c", script]), limit);
        let long = Duration::from_secs(60);
        assert_eq!(answered("echo a; echo b", long).unwrap(), b"a\nb\n");
        assert_eq!(answered("echo a; exit 1", long), None);
        let short = Duration::from_millis(200);
        let started = Instant::now();
        for script in ["sleep 100", "sleep 100 & wait", "exec >&-; sleep 100", "sleep 100 & echo a"] {
            assert_eq!(answered(script, short), None, "{script}");
        }
        assert!(started.elapsed() < long);
        assert_eq!(answered("yes", long), None);
    }
}
