//! Calls a program of a launcher with its input. The program may hang, so the wait for its end is limited.

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use run_common::error::{Error, Exit};
use run_common::process::identity::Process;
use run_common::time::human;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

/// Bytes of an answer, at most.
const MOST: u64 = 64 << 20;

/// Longest wait for the end of a program's output after the program has ended: a process that it started may hold the
/// output open.
const LAST: Duration = Duration::from_millis(200);

/// The answer of a program.
#[derive(Debug)]
pub(crate) struct Answered {
    /// The program exited with 0.
    pub(crate) is_ok: bool,
    pub(crate) stdout: String,
    stderr: String,
}

impl Answered {
    /// Returns why the program failed, in its words.
    pub(crate) fn why(&self) -> &str {
        let mut lines = self.stderr.lines().map(str::trim);
        lines.rfind(|line| !line.is_empty()).unwrap_or("it does not say why")
    }

    /// Returns whether the standard error of the program contains these words.
    pub(crate) fn says(&self, words: &str) -> bool {
        self.stderr.contains(words)
    }
}

/// Executes a program. One that has not ended after `limit` is killed, with its process group.
pub(crate) fn call(command: &mut Command, input: Vec<u8>, limit: Duration) -> Result<Answered, Error> {
    let program = command.get_program().to_string_lossy().into_owned();
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => {
            Error::new(Exit::System, format!("cannot find '{program}'")).because("it is not on the PATH")
        }
        _ => Error::new(Exit::System, format!("cannot execute '{program}'")).because(error),
    };
    let until = Instant::now() + limit;
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = command.spawn().map_err(failed)?;
    let pid = i32::try_from(child.id()).unwrap_or_default();
    let process = Process::child(pid).map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        thread::spawn(move || stdin.write_all(&input)); // a program that does not read it says so by its status
    }
    let (stdout, stderr) = (child.stdout.take().map(read), child.stderr.take().map(read));
    if !has_ended(&process, until) {
        let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL); // it may have ended meanwhile
        let _ = child.wait();
        return Err(Error::new(
            Exit::System,
            format!("'{program}' has not answered within {}", human(limit)),
        ));
    }
    let status = child.wait().map_err(failed)?;
    let text = |read: Option<Receiver<Vec<u8>>>| {
        let bytes = read.and_then(|read| read.recv_timeout(LAST).ok()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    Ok(Answered { is_ok: status.success(), stdout: text(stdout), stderr: text(stderr) })
}

/// Reads a stream to its end, in a thread of its own.
fn read(stream: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (done, read) = sync_channel(1);
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = stream.take(MOST).read_to_end(&mut bytes); // what was read counts
        let _ = done.send(bytes); // nobody may wait for it any more
    });
    read
}

fn has_ended(process: &Process, until: Instant) -> bool {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(process.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(0) => return false,
            Err(nix::Error::EINTR) => {}
            Ok(_) | Err(_) => return true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn called(script: &str, input: &[u8], limit: Duration) -> Result<Answered, String> {
        call(Command::new("sh").args(["-c", script]), input.to_vec(), limit)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_program_gets_its_input_and_is_not_waited_for_for_ever() {
        let long = Duration::from_secs(60);
        let large = vec![b'x'; 1 << 20];
        let copied = called("cat", &large, long).unwrap();
        assert!(copied.is_ok && copied.stdout.len() == large.len());
        let refused = called("echo >&2 first; echo >&2 ' the reason'; exit 3", &large, long).unwrap();
        assert!(!refused.is_ok && refused.why() == "the reason");
        let started = Instant::now();
        let words = called("sleep 100", b"", Duration::from_millis(100)).unwrap_err();
        assert_eq!(words, "'sh' has not answered within 0.1s");
        assert_eq!(called("sleep 100 & echo a", b"", long).unwrap().stdout, "", "its output is held open");
        assert!(started.elapsed() < long);
    }

    #[test]
    fn a_program_that_is_missing_is_named() {
        let error =
            call(&mut Command::new("no-such-program"), Vec::new(), Duration::from_secs(9)).unwrap_err();
        assert_eq!(error.to_string(), "cannot find 'no-such-program': it is not on the PATH");
    }
}
