//! Calls a program of a launcher with its input, and waits for its end for a limited time: the program may hang.

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use run_common::error::{Error, Exit};
use run_common::process::identity::Process;
use run_common::time::human;
use std::io::{self, Read, Write};
use std::mem;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Maximum size of an answer, in bytes.
const MOST: u64 = 64 << 20;

/// Shortest wait for the end of a program's output after the program has ended.
const LAST: Duration = Duration::from_millis(200);

/// Interval of looks at a program that may be killed.
const LOOK: Duration = Duration::from_millis(100);

/// Maximum length of the words that are searched for in a program's standard error, in bytes.
const WORDS: usize = 100;

/// The answer of a program.
#[derive(Debug)]
pub(crate) struct Answered {
    /// Whether the program exited with 0.
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

    /// Returns the line of the standard error of the program that has one of these words, without the program's name.
    pub(crate) fn line_with(&self, words: &[&str]) -> Option<&str> {
        let line = self.stderr.lines().find(|line| words.iter().any(|words| line.contains(words)))?;
        Some(line.rsplit(": ").next().unwrap_or(line).trim())
    }
}

/// Executes a program. If it has not ended after `limit`, kills its process group. Output that is still
/// incomplete then is no answer.
pub(crate) fn call(command: &mut Command, input: Vec<u8>, limit: Duration) -> Result<Answered, Error> {
    let (answered, failure) = call_for_lines(command, input, limit)?;
    failure.map_or(Ok(answered), Err)
}

/// Executes a program like [`call`]. Once its standard error contains these words, the program has this much
/// more time to end; then its process group is killed.
pub(crate) fn call_until(
    command: &mut Command,
    input: Vec<u8>,
    limit: Duration,
    words: (&'static str, Duration),
) -> Result<Answered, Error> {
    let (answered, failure) = execute(command, input, limit, Some(words))?;
    failure.map_or(Ok(answered), Err)
}

/// Executes a program like [`call`]. If the answer is incomplete, returns what there is, with the reason.
pub(crate) fn call_for_lines(
    command: &mut Command,
    input: Vec<u8>,
    limit: Duration,
) -> Result<(Answered, Option<Error>), Error> {
    execute(command, input, limit, None)
}

fn execute(
    command: &mut Command,
    input: Vec<u8>,
    limit: Duration,
    last_words: Option<(&'static str, Duration)>,
) -> Result<(Answered, Option<Error>), Error> {
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
        thread::spawn(move || stdin.write_all(&input)); // a program that does not read its input may still succeed
    }
    let stdout = child.stdout.take().map(|stream| Stream::read(stream, |_| {}));
    let is_over = Arc::new(AtomicBool::new(false));
    let is_known_to_be_over = Arc::clone(&is_over);
    let kill = move |said: &[u8]| {
        let Some((_, patience)) = last_words.filter(|(words, _)| text(said).contains(words)) else { return };
        let since = Instant::now();
        while since.elapsed() < patience && !is_known_to_be_over.load(Ordering::Relaxed) {
            thread::sleep(LOOK);
        }
        if !is_known_to_be_over.load(Ordering::Relaxed) {
            let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL); // it may have ended just now
        }
    };
    let stderr = child.stderr.take().map(|stream| Stream::read(stream, kill));
    let has_ended = has_ended(&process, until);
    if !has_ended {
        let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL); // it may have ended meanwhile
    }
    is_over.store(true, Ordering::Relaxed);
    let status = child.wait().map_err(failed)?;
    // A child of the program may hold its output open.
    let left = LAST.max(until.saturating_duration_since(Instant::now()));
    let (stdout, is_whole) = stdout.map_or_else(Default::default, |stream| stream.end(left));
    let (stderr, _) = stderr.map_or_else(Default::default, |stream| stream.end(LAST));
    let is_too_much = stdout.len() as u64 > MOST;
    let answered = Answered { is_ok: status.success(), stdout: text(&stdout), stderr: text(&stderr) };
    let why = match () {
        () if is_too_much => Some(format!("'{program}' answers more than {} MiB", MOST >> 20)),
        () if !has_ended => {
            let last = answered.stderr.lines().rfind(|line| !line.trim().is_empty());
            let last = last.map(|line| format!(": {}", line.trim())).unwrap_or_default();
            Some(format!("'{program}' has not answered within {}{last}", human(limit)))
        }
        () if !is_whole => Some(format!("'{program}' has ended, but something holds its output open")),
        () => None,
    };
    Ok((answered, why.map(|why| Error::new(Exit::System, why))))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A stream that is read by a thread of its own.
struct Stream {
    bytes: Arc<Mutex<Vec<u8>>>,
    end: Receiver<()>,
}

impl Stream {
    /// Reads the stream. `watch` gets each piece that was read.
    fn read(mut stream: impl Read + Send + 'static, watch: impl Fn(&[u8]) + Send + 'static) -> Self {
        let (done, end) = sync_channel(1);
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let read = Arc::clone(&bytes);
        thread::spawn(move || {
            let mut block = [0; 1 << 14];
            loop {
                let count = match stream.read(&mut block) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Ok(0) | Err(_) => break, // what was read so far counts
                    Ok(count) => count,
                };
                let mut read = read.lock().unwrap_or_else(PoisonError::into_inner);
                read.extend_from_slice(&block[..count]);
                watch(&read[read.len().saturating_sub(count + WORDS)..]);
                if read.len() as u64 > MOST {
                    break;
                }
            }
            let _ = done.send(()); // nobody may wait for the end any more
        });
        Self { bytes, end }
    }

    /// Returns what was read within this time, and whether that is all.
    fn end(self, limit: Duration) -> (Vec<u8>, bool) {
        let is_whole = self.end.recv_timeout(limit).is_ok();
        (mem::take(&mut *self.bytes.lock().unwrap_or_else(PoisonError::into_inner)), is_whole)
    }
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
        let ended = call_until(
            Command::new("sh").args(["-c", "echo >&2 'a: error: It is full, waiting'; sleep 100"]),
            Vec::new(),
            long,
            ("It is full", Duration::ZERO),
        );
        let ended = ended.unwrap();
        assert!(!ended.is_ok && ended.line_with(&["none", "It is full"]) == Some("It is full, waiting"));
        let refused = called("echo >&2 first; echo >&2 ' the reason'; exit 3", &large, long).unwrap();
        assert!(!refused.is_ok && refused.why() == "the reason");
        let started = Instant::now();
        let words = called("sleep 100", b"", Duration::from_millis(100)).unwrap_err();
        assert_eq!(words, "'sh' has not answered within 0.1s");
        let words = called("echo >&2 unreachable; sleep 100", b"", Duration::from_millis(500)).unwrap_err();
        assert_eq!(words, "'sh' has not answered within 0.5s: unreachable");
        let words = called("sleep 100 & echo a", b"", Duration::from_millis(100)).unwrap_err();
        assert_eq!(words, "'sh' has ended, but something holds its output open");
        assert_eq!(called("{ sleep 0.5; echo late; } &", b"", long).unwrap().stdout, "late\n");
        assert_eq!(called("yes", b"", long).unwrap_err(), "'sh' answers more than 64 MiB");
        assert!(started.elapsed() < long);
    }

    #[test]
    fn a_program_that_is_missing_is_named() {
        let error =
            call(&mut Command::new("no-such-program"), Vec::new(), Duration::from_secs(9)).unwrap_err();
        assert_eq!(error.to_string(), "cannot find 'no-such-program': it is not on the PATH");
    }
}
