//! The log tee: reads what the command writes and appends it to the logs, then passes it on.
//!
//! One thread reads both streams, so that their lines are stamped in the order of arrival. A log
//! that cannot be written does not stop the reading: the command must never block on a full disk.

use super::combined::{Combined, Stream};
use crate::error::plain;
use crate::message::warn;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Bytes read at once: a quarter of the pipe, which is made as large as the kernel allows.
const BLOCK: usize = 256 << 10;

/// Size of the command's pipes, so that a burst does not wait for the disk.
pub(super) const PIPE: i32 = 1 << 20;

/// Bytes of combined.log that are gathered before they are written.
const GATHER: usize = 512 << 10;

/// Reads below this size that follow each other faster than [`HURRY`] are a flood of small writes.
const SMALL: usize = 16 << 10;

/// See [`SMALL`].
const HURRY: Duration = Duration::from_micros(40);

/// How long a flood of small writes is left to gather in the pipe, which saves its writer a wake-up
/// of this thread at every write.
const NAP: Duration = Duration::from_micros(100);

/// One of the command's streams: where it comes from, its log, and who else wants it.
#[derive(Debug)]
pub(super) struct Source {
    /// Which one.
    pub(super) stream: Stream,
    /// Read end of its pipe, or a terminal; not blocking.
    pub(super) input: File,
    /// Its log, opened for appending.
    pub(super) log: File,
    /// Name of the log, for messages.
    pub(super) name: &'static str,
    /// Where it is passed on to; not blocking.
    pub(super) onward: Option<File>,
}

/// What the tee and the supervisor tell each other.
#[derive(Debug, Default)]
struct Shared {
    /// Milliseconds since 1970 of the last output; 0 before the first.
    last_output: AtomicI64,
    /// The same in milliseconds since the tee started, by a clock that nobody sets.
    last_activity: AtomicU64,
    /// Bytes that could not be written to a log.
    lost: AtomicU64,
    /// No process is left that could write: take what is in the pipes and end.
    finish: AtomicBool,
}

/// A tee at work.
#[derive(Debug)]
pub(super) struct Tee {
    shared: Arc<Shared>,
    started: Instant,
    wake: UnixStream,
    thread: JoinHandle<()>,
}

impl Tee {
    /// Starts to read. Once [`Self::finish`] was called, a reader of ours that takes nothing for
    /// `patience` is given up.
    pub(super) fn start(sources: Vec<Source>, combined: File, patience: Duration) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let (wake, woken) = UnixStream::pair()?;
        let mut worker = Worker {
            shared: Arc::clone(&shared),
            woken,
            patience,
            combined: Log { file: combined, name: "combined.log", failing: false },
            lines: Combined::default(),
            gathered: Vec::new(),
            started: Instant::now(),
        };
        let started = worker.started;
        let thread = thread::Builder::new().name("tee".to_owned()).spawn(move || worker.run(sources))?;
        Ok(Self { shared, started, wake, thread })
    }

    /// Returns when output last came, in milliseconds since 1970.
    pub(super) fn last_output(&self) -> Option<i64> {
        Some(self.shared.last_output.load(Ordering::Relaxed)).filter(|&millis| millis > 0)
    }

    /// Returns when output last came, or else when the tee started, by a clock that nobody sets.
    pub(super) fn last_activity(&self) -> Instant {
        self.started + Duration::from_millis(self.shared.last_activity.load(Ordering::Relaxed))
    }

    /// Returns the bytes that could not be written to a log so far.
    pub(super) fn lost(&self) -> u64 {
        self.shared.lost.load(Ordering::Relaxed)
    }

    /// Takes what is left in the pipes and ends. Returns when output last came, and the bytes lost.
    pub(super) fn finish(mut self) -> (Option<i64>, u64) {
        self.shared.finish.store(true, Ordering::Release);
        let _ = self.wake.write_all(b"."); // it fails only when the thread has ended by itself
        let shared = Arc::clone(&self.shared);
        let _ = self.thread.join(); // a panic aborts the process
        let last = Some(shared.last_output.load(Ordering::Relaxed)).filter(|&millis| millis > 0);
        (last, shared.lost.load(Ordering::Relaxed))
    }
}

/// A log that may fail, and says so once, and once more when it works again.
#[derive(Debug)]
struct Log {
    file: File,
    name: &'static str,
    failing: bool,
}

impl Log {
    /// Appends bytes; returns how many could not be.
    fn append(&mut self, mut bytes: &[u8]) -> usize {
        while !bytes.is_empty() {
            match self.file.write(bytes) {
                Ok(count) => {
                    bytes = &bytes[count..];
                    if self.failing && count > 0 {
                        self.failing = false;
                        warn(&format!("{} can be written again; what came in between is lost", self.name));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    if !std::mem::replace(&mut self.failing, true) {
                        warn(&format!(
                            "cannot write '{}': {}; the command goes on and its output is LOST",
                            self.name,
                            plain(&error)
                        ));
                    }
                    return bytes.len();
                }
            }
        }
        0
    }
}

struct Worker {
    shared: Arc<Shared>,
    woken: UnixStream,
    patience: Duration,
    combined: Log,
    lines: Combined,
    gathered: Vec<u8>,
    started: Instant,
}

impl Worker {
    fn run(&mut self, sources: Vec<Source>) {
        let mut open: Vec<(Source, Log)> = Vec::new();
        for source in sources {
            match source.log.try_clone() {
                Ok(file) => {
                    let log = Log { file, name: source.name, failing: false };
                    open.push((source, log));
                }
                Err(error) => warn(&format!("cannot use '{}': {}", source.name, plain(&error))),
            }
        }
        let mut block = vec![0; BLOCK];
        let mut last_read = Instant::now();
        while !open.is_empty() {
            let finishing = self.shared.finish.load(Ordering::Acquire);
            if !finishing && self.wait(&open).is_err() {
                return;
            }
            let mut idle = true;
            open.retain_mut(|(source, log)| match source.input.read(&mut block) {
                Ok(0) => false,
                Ok(count) => {
                    idle = false;
                    self.take(source, log, &block[..count]);
                    let now = Instant::now();
                    let activity = u64::try_from((now - self.started).as_millis()).unwrap_or(u64::MAX);
                    self.shared.last_activity.store(activity, Ordering::Relaxed);
                    if !finishing && count < SMALL && now - last_read < HURRY {
                        thread::sleep(NAP);
                    }
                    last_read = now;
                    true
                }
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) =>
                {
                    true
                }
                Err(_) => false, // a terminal whose other side was closed
            });
            if finishing && idle {
                break;
            }
        }
        let mut last = std::mem::take(&mut self.gathered);
        self.lines.finish(now_micros(), &mut last);
        self.combined.append(&last);
    }

    /// Waits until a stream can be read or the supervisor calls.
    fn wait(&mut self, open: &[(Source, Log)]) -> io::Result<()> {
        let mut fds: Vec<PollFd> =
            open.iter().map(|(source, _)| PollFd::new(source.input.as_fd(), PollFlags::POLLIN)).collect();
        fds.push(PollFd::new(self.woken.as_fd(), PollFlags::POLLIN));
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(nix::Error::EINTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Deals with what a stream brought: its own log first, which is the truth.
    fn take(&mut self, source: &mut Source, log: &mut Log, bytes: &[u8]) {
        let now = now_micros();
        self.shared.last_output.store(now / 1000, Ordering::Relaxed);
        let lost = log.append(bytes);
        self.shared.lost.fetch_add(lost as u64, Ordering::Relaxed);
        // A short line costs many times its length, so the block is taken in parts.
        for part in bytes.chunks(SMALL) {
            self.lines.push(source.stream, part, now, &mut self.gathered);
            if self.gathered.len() >= GATHER {
                self.combined.append(&self.gathered);
                self.gathered.clear();
            }
        }
        self.combined.append(&self.gathered);
        self.gathered.clear();
        if let Some(onward) = &mut source.onward
            && !self.pass_on(onward, bytes)
        {
            source.onward = None;
        }
    }

    /// Passes bytes on to the caller, as fast as it takes them; `false` when it is gone, or takes
    /// nothing although all processes of the run have ended.
    fn pass_on(&self, onward: &mut File, mut bytes: &[u8]) -> bool {
        let mut stuck: Option<Instant> = None;
        while !bytes.is_empty() {
            match onward.write(bytes) {
                Ok(count) => {
                    bytes = &bytes[count..];
                    stuck = None;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let finishing = self.shared.finish.load(Ordering::Acquire);
                    if finishing && stuck.get_or_insert_with(Instant::now).elapsed() >= self.patience {
                        warn("the output is not being read; the rest of it is in the logs alone");
                        return false;
                    }
                    let mut fds = [
                        PollFd::new(onward.as_fd(), PollFlags::POLLOUT),
                        PollFd::new(self.woken.as_fd(), PollFlags::POLLIN),
                    ];
                    // The call to finish stays readable, so it is not polled for once it came.
                    let watched = if finishing { &mut fds[..1] } else { &mut fds[..] };
                    let timeout = if finishing { PollTimeout::from(100u8) } else { PollTimeout::NONE };
                    if poll(watched, timeout).is_err_and(|error| error != nix::Error::EINTR) {
                        return false;
                    }
                }
                Err(_) => return false,
            }
        }
        true
    }
}

fn now_micros() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
