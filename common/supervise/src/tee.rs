//! The log tee: reads the command's output, appends it to the logs, and passes it on.
//!
//! One thread reads both streams, so that lines are stamped in the order of arrival. Reading continues even if
//! a log cannot be written: the command must never block because of a full disk.

use super::combine::{Brought, CombinedLog};
use super::combined::Stream;
use super::log::{Log, Muted, Unlogged};
use super::scraped::Scraped;
use nix::fcntl::{FcntlArg, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use run_common::message::warn;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Bytes to read at once: a quarter of the pipe, which is as large as the kernel allows.
const BLOCK: usize = 256 << 10;

/// Size of the command's pipes once it writes, so that a burst does not wait for the disk.
pub(super) const PIPE: i32 = 1 << 20;

/// Reads below this size that follow each other faster than [`HURRY`] are a flood of small writes.
const SMALL: usize = 16 << 10;

/// See [`SMALL`].
const HURRY: Duration = Duration::from_micros(40);

/// Pause that lets a flood of small writes gather in the pipe. Otherwise each write of the command would wake
/// this thread.
const NAP: Duration = Duration::from_micros(100);

/// A stream of the command: its input, its log, and where to pass it on.
#[derive(Debug)]
pub(super) struct Source {
    /// Which stream it is.
    pub(super) stream: Stream,
    /// Read end of its pipe, or the master side of a terminal; non-blocking.
    pub(super) input: File,
    /// Its log.
    pub(super) log: Log,
    /// The command's side of a terminal, held open because the command may close it and open it again.
    #[expect(dead_code, reason = "it is held open")]
    pub(super) other_side: Option<OwnedFd>,
    /// Where to pass the output on; non-blocking.
    pub(super) onward: Option<File>,
}

/// State shared by the tee and the supervisor.
#[derive(Debug)]
struct Shared {
    /// Time of the last output in milliseconds since 1970; 0 before the first.
    last_output: AtomicI64,
    /// The same time in milliseconds since the tee started, by the monotonic clock.
    last_activity: AtomicU64,
    /// Number of bytes that could not be written to a log.
    lost: AtomicU64,
    /// Whether this was because the disk was full.
    full: AtomicBool,
    /// Whether no process is left that could write: read the rest of the pipes, and end.
    finish: AtomicBool,
    /// Wakes the thread when `finish` is set.
    wake: EventFd,
}

/// A tee. Its thread is started with the first output, because many commands write nothing.
#[derive(Debug)]
pub(super) struct Tee {
    shared: Arc<Shared>,
    started: Instant,
    state: State,
    /// Whether no thread could be started.
    is_hopeless: bool,
    /// Flags that end writing to the logs.
    muted: Vec<Muted>,
    /// The output that the log of the last stream lacks; the last stream is stderr, if stderr is separate.
    unlogged: Unlogged,
}

#[derive(Debug)]
enum State {
    /// No output yet; these streams are still open.
    Idle(Box<Worker>, Vec<Source>),
    Working(JoinHandle<()>),
}

impl Tee {
    /// Prepares to read. After [`Self::finish`], a reader of the output that takes nothing for `patience` is
    /// given up.
    pub(super) fn new(
        sources: Vec<Source>,
        combined: Log,
        scraped: Option<Scraped>,
        patience: Duration,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            last_output: AtomicI64::default(),
            last_activity: AtomicU64::default(),
            lost: AtomicU64::default(),
            full: AtomicBool::default(),
            finish: AtomicBool::default(),
            wake: EventFd::from_flags(EfdFlags::EFD_CLOEXEC)?,
        });
        let started = Instant::now();
        let muted = sources.iter().map(|source| &source.log).chain([&combined]).map(Log::muted).collect();
        let unlogged = sources.last().map(|source| source.log.unlogged()).unwrap_or_default();
        let worker = Worker {
            shared: Arc::clone(&shared),
            patience,
            combined: CombinedLog::new(combined, scraped),
            blocks: Vec::new(),
            started,
        };
        Ok(Self {
            shared,
            started,
            state: State::Idle(Box::new(worker), sources),
            is_hopeless: false,
            muted,
            unlogged,
        })
    }

    /// Returns descriptors that become readable with the first output.
    pub(super) fn awaited(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let sources = match &self.state {
            State::Idle(_, sources) if !self.is_hopeless => sources.as_slice(),
            State::Idle(..) | State::Working(_) => &[],
        };
        sources.iter().map(|source| source.input.as_fd())
    }

    /// Starts the thread if there is output. If no thread can be started, fails once; the output then waits for
    /// [`Self::finish`].
    pub(super) fn look(&mut self) -> io::Result<()> {
        let State::Idle(_, sources) = &mut self.state else { return Ok(()) };
        if !have_output(sources) || self.is_hopeless {
            return Ok(());
        }
        for source in sources.iter() {
            let _ = fcntl(&source.input, FcntlArg::F_SETPIPE_SZ(PIPE)); // the default 64 KiB are enough
        }
        let (hand_over, work) = sync_channel::<(Box<Worker>, Vec<Source>)>(1);
        let run = move || {
            if let Ok((mut worker, sources)) = work.recv() {
                worker.run(sources);
            }
        };
        let thread = thread::Builder::new().name("tee".to_owned()).spawn(run);
        self.is_hopeless = thread.is_err();
        let thread = thread?;
        if let State::Idle(worker, sources) = std::mem::replace(&mut self.state, State::Working(thread)) {
            let _ = hand_over.send((worker, sources)); // the thread runs, and receives it
        }
        Ok(())
    }

    /// Returns the state of the output so far.
    pub(super) fn seen(&self) -> Seen {
        self.shared.seen()
    }

    /// Returns the output that the log of the last stream lacks; the last stream is stderr, if stderr is
    /// separate.
    pub(super) fn unlogged(&self) -> Unlogged {
        Unlogged::clone(&self.unlogged)
    }

    /// Ends writing to the logs, which another attempt owns now.
    pub(super) fn mute(&self) {
        self.muted.iter().for_each(|muted| muted.store(true, Ordering::Relaxed));
    }

    /// Returns the time of the last output, or else of the start of the tee.
    pub(super) fn last_activity(&self) -> Instant {
        self.started + Duration::from_millis(self.shared.last_activity.load(Ordering::Relaxed))
    }

    /// Reads the rest of the pipes, and ends the tee.
    pub(super) fn finish(self) -> Seen {
        self.shared.finish.store(true, Ordering::Release);
        match self.state {
            State::Idle(mut worker, mut sources) => {
                if have_output(&mut sources) {
                    worker.run(sources);
                }
            }
            State::Working(thread) => {
                let _ = self.shared.wake.write(1); // fails only if the counter is at its maximum
                let _ = thread.join(); // a panic aborts the process
            }
        }
        self.shared.seen()
    }
}

/// Returns whether there is output to read; removes streams that were closed without output.
fn have_output(sources: &mut Vec<Source>) -> bool {
    let mut have = false;
    sources.retain(|source| {
        let mut fds = [PollFd::new(source.input.as_fd(), PollFlags::POLLIN)];
        let _ = poll(&mut fds, PollTimeout::ZERO); // the next poll reports the same error
        let events = fds[0].revents().unwrap_or(PollFlags::empty());
        have |= events.contains(PollFlags::POLLIN);
        events.is_empty() || events.contains(PollFlags::POLLIN)
    });
    have
}

/// The state of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// Time of the last output in milliseconds since 1970.
    pub(super) last_output: Option<i64>,
    /// Number of bytes that could not be written to their log.
    pub(super) lost: u64,
    /// Whether this was because the disk was full.
    pub(super) full: bool,
}

impl Shared {
    fn seen(&self) -> Seen {
        Seen {
            last_output: Some(self.last_output.load(Ordering::Relaxed)).filter(|&millis| millis > 0),
            lost: self.lost.load(Ordering::Relaxed),
            full: self.full.load(Ordering::Relaxed),
        }
    }
}

#[derive(Debug)]
struct Worker {
    shared: Arc<Shared>,
    patience: Duration,
    combined: CombinedLog,
    /// Blocks that the second thread has finished, or never received.
    blocks: Vec<Arc<Vec<u8>>>,
    started: Instant,
}

impl Worker {
    fn run(&mut self, mut open: Vec<Source>) {
        let mut last_read = Instant::now();
        while !open.is_empty() {
            let finishing = self.shared.finish.load(Ordering::Acquire);
            let ready = if finishing { [true; 2] } else { self.wait(&open) };
            let mut ready = ready.into_iter();
            let mut idle = true;
            open.retain_mut(|source| {
                if ready.next() != Some(true) {
                    return true;
                }
                match self.read(source) {
                    Ok(0) => false,
                    Ok(count) => {
                        idle = false;
                        let now = Instant::now();
                        let activity = u64::try_from((now - self.started).as_millis()).unwrap_or(u64::MAX);
                        self.shared.last_activity.store(activity, Ordering::Relaxed);
                        if !finishing && count < SMALL && now - last_read < HURRY {
                            thread::sleep(NAP);
                        }
                        last_read = now;
                        true
                    }
                    Err(error) if is_passing(&error) => true,
                    Err(_) => false, // the other side of a terminal was closed
                }
            });
            if finishing && idle {
                break;
            }
        }
        self.combined.finish(now_micros());
    }

    /// Waits until a stream is readable or `wake` is; returns which streams are readable.
    fn wait(&mut self, open: &[Source]) -> [bool; 2] {
        let mut fds: Vec<PollFd> =
            open.iter().map(|source| PollFd::new(source.input.as_fd(), PollFlags::POLLIN)).collect();
        fds.push(PollFd::new(self.shared.wake.as_fd(), PollFlags::POLLIN));
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) => [0, 1].map(|stream| fds[stream].any().unwrap_or(false)),
            Err(_) => [false; 2],
        }
    }

    /// Reads a block of a stream, writes it to the logs, and passes it on.
    fn read(&mut self, source: &mut Source) -> io::Result<usize> {
        let mut block = self.take_block();
        let Some(bytes) = Arc::get_mut(&mut block) else { return Ok(0) };
        let length = match source.input.read(bytes) {
            Ok(length) if length > 0 => length,
            nothing => {
                self.blocks.push(block);
                return nothing;
            }
        };
        let now = now_micros();
        self.shared.last_output.store(now / 1000, Ordering::Relaxed);
        self.combined.add(Brought { stream: source.stream, block: Arc::clone(&block), length, now });
        let lost = source.log.append(&block[..length]);
        if lost > 0 {
            self.shared.lost.fetch_add(lost as u64, Ordering::Relaxed);
            self.shared.full.store(source.log.was_full(), Ordering::Relaxed);
        }
        if let Some(onward) = &mut source.onward
            && !self.pass_on(onward, &block[..length])
        {
            source.onward = None;
        }
        self.blocks.push(block);
        Ok(length)
    }

    /// Returns a block that no other thread uses.
    fn take_block(&mut self) -> Arc<Vec<u8>> {
        let free = self.blocks.iter().position(|block| Arc::strong_count(block) == 1);
        match free {
            Some(free) => self.blocks.swap_remove(free),
            None => Arc::new(vec![0; BLOCK]), // bounded by the queue of the second thread
        }
    }

    /// Passes bytes on to the caller, at the caller's speed. `false` if the caller is gone, or takes nothing
    /// after all processes of the run have ended.
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
                        warn("the output is not being read; the rest goes only to the logs");
                        return false;
                    }
                    let mut fds = [
                        PollFd::new(onward.as_fd(), PollFlags::POLLOUT),
                        PollFd::new(self.shared.wake.as_fd(), PollFlags::POLLIN),
                    ];
                    // `wake` stays readable, so it is polled only until `finish` is set.
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

fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

fn now_micros() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
