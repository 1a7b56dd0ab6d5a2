//! The front: executes one run itself, and of several each in a process of its own, which ends with
//! it. It has one thread and forks, so that whatever becomes of one run is nothing to the others.

use crate::attempt::{How, Taken, again, execute, give_up, take};
use crate::batch::{Batch, Batches};
use crate::cli::Args;
use crate::progress::{Counts, Progress};
use crate::queue::{Next, Queue};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, dup2_stderr, dup2_stdin, dup2_stdout, setsid};
use run_common::cli::operands::Operand;
use run_common::error::{Error, Exit};
use run_common::message::{complain, warn};
use run_common::process::identity::{Process, Stat};
use run_common::process::spawn::{Side, fork};
use run_common::rundir::observe::Observer;
use run_common::rundir::open::{RunDir, read_document};
use run_common::rundir::status::{AttemptEnd, Status};
use run_common::supervise::{FAILED, Retry};
use run_common::time::human_seconds;
use std::fs::{File, OpenOptions};
use std::io;
use std::mem;
use std::os::fd::AsFd;
use std::time::Duration;

/// How often requests to stop a batch are looked for.
const LOOK: Duration = Duration::from_secs(1);

/// How often a run is looked at whose process of the front was killed.
const SOON: Duration = Duration::from_millis(50);

/// Tells the front that another process has the run, which is passed over.
const PASSED_OVER: u8 = 64;

/// The longest time between two attempts.
const LONGEST: Duration = Duration::from_secs(3600);

/// Executes a command in one run or several; returns the status to exit with.
pub(crate) fn run(args: &Args) -> Result<u8, Error> {
    if let ([name], 0) = (args.runs.as_slice(), args.retries)
        && name != "-"
        && let Operand::Run(run) = Operand::named(name, &args.runs_dir.path())?
    {
        if args.slots.gpu(1).is_some() {
            return Err(Error::usage("one run takes one slot of --gpus"));
        }
        let gpu = args.slots.gpu(0).cloned();
        if args.unfinished && Observer::default().observe(&run)?.state.status == Status::Completed {
            return Ok(0);
        }
        let resume = args.resume || args.unfinished;
        return execute(args, take(&run, resume, args.take_over)?, How { resume, gpu, ..How::default() });
    }
    if args.stdin {
        return Err(Error::usage("--stdin is for one run"));
    }
    if args.detach {
        // What is wrong with the operands can be said now alone.
        for name in args.runs.iter().filter(|name| *name != "-") {
            Operand::named(name, &args.runs_dir.path())?;
        }
    }
    if args.detach && detach()? == Side::Child {
        return Ok(Front::new(args)?.work());
    } else if args.detach {
        return Ok(0);
    }
    Ok(Front::new(args)?.work())
}

/// Leaves the caller's process behind; stdin, which may bring runs, is kept.
fn detach() -> Result<Side, Error> {
    let failed = |error: io::Error| Error::new(Exit::System, "cannot detach").because(error);
    let side = fork().map_err(failed)?;
    if side == Side::Child {
        let null = null().map_err(failed)?;
        let moved = setsid().and_then(|_| dup2_stdout(&null)).and_then(|()| dup2_stderr(&null));
        moved.map_err(|error| failed(error.into()))?;
    }
    Ok(side)
}

fn null() -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open("/dev/null")
}

/// Says that another front has a run.
fn pass_over(run: &RunDir) {
    warn(&format!("'{}' is executed by another run-exec, and passed over", run.layout().root().display()));
}

/// A run at work.
struct Working {
    run: RunDir,
    pid: i32,
    /// The slot of `--gpus` that it has.
    slot: usize,
    batch: Option<usize>,
    /// Number of the last attempt before.
    before: u32,
    /// Attempts that were made again.
    retries: u32,
    /// The lock, held between attempts too.
    taken: Option<Taken>,
    /// Its process was killed, and its supervisor is ending the run.
    is_orphan: bool,
}

struct Front<'a> {
    args: &'a Args,
    queue: Queue,
    /// The single run that was named, whose status is the status to exit with.
    is_one: bool,
    jobs: usize,
    working: Vec<Working>,
    batches: Batches,
    observer: Observer,
    signals: SignalFd,
    /// The signals that were let through before.
    mask: SigSet,
    /// What begins next, read ahead to know whether there is more.
    counts: Counts,
    progress: Progress,
    /// No more runs are started.
    is_closing: bool,
    /// The signal that has ended it.
    ended_by: Option<Signal>,
    has_ended_queue: bool,
    status: u8,
}

impl<'a> Front<'a> {
    fn new(args: &'a Args) -> Result<Self, Error> {
        let failed = |error: nix::Error| {
            Error::new(Exit::System, "cannot catch signals").because(io::Error::from(error))
        };
        let mut signals: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGCHLD].into_iter().collect();
        if Stat::of_myself().is_none_or(|stat| stat.ignored & 1 == 0) {
            signals.add(Signal::SIGHUP);
        }
        let mask = signals.thread_swap_mask(SigmaskHow::SIG_BLOCK).map_err(failed)?;
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        let is_one = matches!(args.runs.as_slice(), [name] if name != "-"
            && matches!(Operand::named(name, &args.runs_dir.path()), Ok(Operand::Run(_))));
        Ok(Self {
            args,
            queue: Queue::new(&args.runs, args.runs_dir.path(), args.null),
            is_one,
            jobs: args.slots.count()?,
            working: Vec::new(),
            batches: Batches::default(),
            observer: Observer::default(),
            signals: SignalFd::with_flags(&signals, flags).map_err(failed)?,
            mask,
            counts: Counts::default(),
            progress: Progress::new(args.quiet || args.detach),
            is_closing: false,
            ended_by: None,
            has_ended_queue: false,
            status: 0,
        })
    }

    /// Works the queue off; returns the status to exit with. The processes of the runs return from
    /// here too.
    fn work(mut self) -> u8 {
        loop {
            if let Some(status) = self.reap() {
                return status;
            }
            let mut awaits = false;
            while !self.is_closing && !self.has_ended_queue && self.working.len() < self.jobs && !awaits {
                match self.queue.next() {
                    Next::Run(run) => {
                        if let Some(status) = self.start(run) {
                            return status;
                        }
                    }
                    Next::Failed(error) => self.fail(&error),
                    Next::Awaited => awaits = true,
                    Next::End => self.has_ended_queue = true,
                }
            }
            if self.working.is_empty() && (self.is_closing || self.has_ended_queue) {
                break;
            }
            self.progress.show(self.counts, self.working.len(), self.queue.left());
            self.wait(awaits);
            self.look_at_batches();
        }
        self.finish()
    }

    fn fail(&mut self, error: &Error) {
        self.progress.aside(|| complain(error));
        self.status = self.status.max(error.exit() as u8);
        if self.is_one {
            self.status = FAILED;
        }
    }

    /// Starts a run in a process of its own, from which the status to exit with is returned.
    fn start(&mut self, run: RunDir) -> Option<u8> {
        let overrules = self.args.unfinished || self.args.resume;
        let batch = self.batches.of(&run, overrules);
        let batch_is_new = self.batches.get(batch).is_some_and(|batch| mem::take(&mut batch.is_new));
        if self.batches.get(batch).is_some_and(Batch::look_for_stop) {
            self.status = self.status.max(Exit::No as u8);
            return None;
        }
        let state = match self.observer.observe(&run) {
            Ok(observed) => observed.state,
            Err(error) => {
                self.fail(&error);
                return None;
            }
        };
        if self.args.unfinished {
            match state.status {
                Status::Completed => {
                    self.counts.passed += 1;
                    return None;
                }
                Status::Running => {
                    pass_over(&run);
                    return None;
                }
                Status::Stale => {
                    let what = format!("cannot start '{}'", run.layout().root().display());
                    self.fail(
                        &Error::new(Exit::Busy, what)
                            .because(state.reason.unwrap_or_default())
                            .hint("run-stop(1) ends what is left of it"),
                    );
                    return None;
                }
                _ => {}
            }
        }
        let taken = match self.args.retries {
            0 => None,
            _ => match take(&run, overrules, self.args.take_over) {
                Ok(taken) => Some(taken),
                Err(error) if self.args.unfinished && error.exit() == Exit::Busy => {
                    pass_over(&run);
                    return None;
                }
                Err(error) => {
                    self.fail(&error);
                    return None;
                }
            },
        };
        if batch_is_new && let Some(batch) = self.batches.get(batch) {
            let jobs = self.jobs;
            let at_once = if jobs > 1 { format!(", {jobs} at once") } else { String::new() };
            let totals = batch.totals(&self.observer);
            batch.note(&format!("batch started: {totals}{at_once}"), &self.observer);
        }
        let used = |slot: &usize| self.working.iter().any(|working| working.slot == *slot);
        let slot = (0..self.jobs).find(|slot| !used(slot)).unwrap_or_default();
        let working =
            Working { run, pid: 0, slot, batch, before: state.attempt, retries: 0, taken, is_orphan: false };
        self.launch(working, None)
    }

    /// Forks the process of an attempt, which waits before it when `delay` says so.
    fn launch(&mut self, mut working: Working, delay: Option<f64>) -> Option<u8> {
        let left = self.args.retries - working.retries;
        let exponent = working.retries.min(16);
        let delay_next = self.args.retry_delay.saturating_mul(1 << exponent).min(LONGEST);
        let how = How {
            resume: self.args.resume || self.args.unfinished || delay.is_some(),
            gpu: self.args.slots.gpu(working.slot).cloned(),
            retry: (left > 0).then(|| Retry { delay: delay_next, exit_codes: self.args.retry_on.clone() }),
            parent: Process::myself().ok(),
        };
        match fork() {
            Ok(Side::Child) => Some(self.be_the_process(working, how, delay)),
            Ok(Side::Parent(pid)) => {
                working.pid = pid;
                let (batch, name) = (working.batch, working.run.layout().name());
                self.working.push(working);
                if delay.is_none() {
                    self.note(batch, &format!("run started: {name}"));
                }
                if let Some(batch) = self.batches.get(batch) {
                    batch.is_behind = true;
                }
                None
            }
            Err(error) => {
                self.fail(&Error::new(Exit::System, "cannot fork").because(error));
                None
            }
        }
    }

    /// Goes on as the process of one run.
    fn be_the_process(&mut self, working: Working, how: How, delay: Option<f64>) -> u8 {
        self.progress.forget();
        self.working.clear(); // the locks of other runs are the front's alone
        let prepared = null().and_then(|null| {
            dup2_stdin(&null)?;
            setsid()?; // what the terminal sends goes to the front, which passes it on
            Ok(self.mask.thread_set_mask()?)
        });
        let args = self.args;
        let resume = how.resume;
        let done = match prepared {
            Err(error) => Err(Error::new(Exit::System, "cannot start a process").because(error)),
            Ok(()) => match (working.taken, delay) {
                (Some(taken), Some(delay)) => again(args, taken, how, delay),
                (Some(taken), None) => execute(args, taken, how),
                (None, _) => {
                    take(&working.run, resume, args.take_over).and_then(|taken| execute(args, taken, how))
                }
            },
        };
        match done {
            Ok(status) => status,
            Err(error) if args.unfinished && error.exit() == Exit::Busy => {
                pass_over(&working.run);
                PASSED_OVER
            }
            Err(error) => {
                complain(&error);
                if self.is_one { FAILED } else { error.exit() as u8 }
            }
        }
    }

    /// Takes note of the processes that have ended.
    fn reap(&mut self) -> Option<u8> {
        let mut ended = Vec::new();
        loop {
            match waitpid(None::<Pid>, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, status)) => ended.push((pid.as_raw(), Some(status))),
                Ok(WaitStatus::Signaled(pid, ..)) => ended.push((pid.as_raw(), None)),
                Ok(WaitStatus::StillAlive) | Err(nix::Error::ECHILD) => break,
                Ok(_) | Err(_) => {}
            }
        }
        for (pid, status) in ended {
            let Some(number) = self.working.iter().position(|working| working.pid == pid) else { continue };
            if status.is_none() {
                self.working[number].is_orphan = true;
                self.working[number].taken = None; // whether the run lives is told by its lock
                continue;
            }
            let working = self.working.remove(number);
            if let Some(status) = self.conclude(working, status) {
                return Some(status);
            }
        }
        let orphans: Vec<usize> =
            (0..self.working.len()).rev().filter(|&at| self.working[at].is_orphan).collect();
        for number in orphans {
            let observed = self.observer.observe(&self.working[number].run);
            if observed
                .map_or(true, |observed| observed.state.status.has_ended() || observed.state.attempt == 0)
            {
                let working = self.working.remove(number);
                if let Some(status) = self.conclude(working, None) {
                    return Some(status);
                }
            }
        }
        None
    }

    /// Takes note of how an attempt has ended, and makes another where that is wanted.
    fn conclude(&mut self, mut working: Working, status: Option<i32>) -> Option<u8> {
        if !self.is_one && self.args.unfinished && status == Some(PASSED_OVER.into()) {
            self.note(working.batch, &format!("run passed over: {}", working.run.layout().name()));
            return None;
        }
        let state = match self.observer.observe(&working.run) {
            Ok(observed) => observed.state,
            Err(error) => {
                self.fail(&error);
                return None;
            }
        };
        let layout = working.run.layout();
        let name = layout.name();
        let end: Option<AttemptEnd> = read_document(&layout.result()).ok();
        let retry = end.filter(|end| end.attempt == state.attempt && state.status == Status::Running);
        if let (Some(delay), Some(taken)) = (retry.and_then(|end| end.retry_in_s), &working.taken) {
            if !self.is_closing {
                working.retries += 1;
                let reason = state.reason.unwrap_or_default();
                self.note(working.batch, &format!("run ended: {name}: {reason}"));
                return self.launch(working, Some(delay));
            }
            if let Err(error) = give_up(taken, "run-exec was stopped before another attempt") {
                self.fail(&error);
            }
        }
        let was_executed = state.attempt > working.before || state.status == Status::Stopped;
        match state.status {
            _ if !was_executed => {}
            Status::Completed => self.counts.completed += 1,
            Status::Stopped => self.counts.stopped += 1,
            _ => self.counts.failed += 1,
        }
        let code = status.and_then(|status| u8::try_from(status).ok()).unwrap_or(Exit::No as u8);
        if self.is_one {
            self.status = code;
        } else if !was_executed {
            self.status = self.status.max(if code == 0 { Exit::No as u8 } else { code });
        } else if state.status != Status::Completed {
            self.status = self.status.max(Exit::No as u8);
            self.is_closing |= self.args.fail_fast && state.status == Status::Failed;
        }
        let event = if was_executed {
            let reason = state.reason.map(|reason| format!(": {reason}")).unwrap_or_default();
            let seconds = state.end_time.zip(state.start_time).map(|(end, start)| end.seconds_since(start));
            let lasted = seconds.map(|seconds| format!(" ({})", human_seconds(seconds))).unwrap_or_default();
            format!("run ended: {name}: {}{reason}{lasted}", state.status)
        } else {
            format!("run refused: {name}")
        };
        self.note(working.batch, &event);
        None
    }

    fn note(&mut self, batch: Option<usize>, event: &str) {
        if let Some(batch) = self.batches.get(batch) {
            batch.note(event, &self.observer);
        }
    }

    /// Waits until something happens.
    fn wait(&mut self, awaits_stdin: bool) {
        let pause = if self.working.iter().any(|working| working.is_orphan) { SOON } else { LOOK };
        let stdin = io::stdin();
        let mut fds = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        if awaits_stdin {
            fds.push(PollFd::new(stdin.as_fd(), PollFlags::POLLIN));
        }
        let _ = poll(&mut fds, PollTimeout::try_from(pause).unwrap_or(PollTimeout::MAX)); // all is looked at anyway
        let has_stdin = fds.get(1).is_some_and(|fd| fd.any().unwrap_or(false));
        drop(fds);
        if has_stdin && let Err(error) = self.queue.fill() {
            self.fail(&error);
        }
        while let Ok(Some(signal)) = self.signals.read_signal() {
            let signal =
                i32::try_from(signal.ssi_signo).ok().and_then(|signal| Signal::try_from(signal).ok());
            if let Some(signal @ (Signal::SIGINT | Signal::SIGTERM | Signal::SIGHUP)) = signal {
                self.is_closing = true;
                self.ended_by = self.ended_by.or(Some(signal));
                for working in &self.working {
                    let _ = nix::sys::signal::kill(Pid::from_raw(working.pid), signal); // it has just ended, then
                }
            }
        }
    }

    /// Stops the runs of a batch of which a stop was asked for; when there is no other, there is nothing
    /// more to do.
    fn look_at_batches(&mut self) {
        self.refresh_batches();
        let stops: Vec<bool> =
            self.batches.iter_mut().map(|batch| batch.stopped.is_none() && batch.look_for_stop()).collect();
        for working in &self.working {
            let Some(batch) = working.batch.filter(|&batch| stops[batch]) else { continue };
            let request = self.batches.get(Some(batch)).and_then(|batch| batch.stopped.clone());
            if let Some(request) = request.filter(|request| !request.spares) {
                let _ = request.write(&working.run.layout().stop()); // the signal will do
                let _ = nix::sys::signal::kill(Pid::from_raw(working.pid), Signal::SIGTERM); // likewise
            }
        }
        let all_stopped = self.batches.iter_mut().all(|batch| batch.stopped.is_some());
        if stops.contains(&true) && all_stopped && self.working.iter().all(|working| working.batch.is_some())
        {
            self.is_closing = true;
            self.status = self.status.max(Exit::No as u8);
        }
    }

    /// Writes what all runs do anew when those that were started have begun.
    fn refresh_batches(&mut self) {
        for number in 0..self.batches.len() {
            let has_begun = |working: &Working| {
                let observed = self.observer.observe(&working.run);
                observed.is_ok_and(|observed| observed.state.attempt > working.before)
            };
            let mut working = self.working.iter().filter(|working| working.batch == Some(number));
            if let Some(batch) = self.batches.get(Some(number))
                && batch.is_behind
                && working.all(has_begun)
            {
                batch.is_behind = false;
                batch.renew(&self.observer);
            }
        }
    }

    /// Writes how it all went.
    fn finish(mut self) -> u8 {
        self.progress.clear();
        let observer = &self.observer;
        for batch in self.batches.iter_mut().filter(|batch| !batch.is_new) {
            let totals = batch.totals(observer);
            let why = match (&batch.stopped, self.ended_by) {
                (Some(request), _) => format!(", {}", request.words()),
                (None, Some(signal)) => format!(", ended by {signal}"),
                (None, None) => String::new(),
            };
            batch.note(&format!("batch ended: {totals}{why}"), observer);
        }
        for batch in self.batches.iter_mut() {
            if let Some(request) = &batch.stopped {
                warn(&format!("'{}' was {}; --unfinished goes on with it", batch.name(), request.words()));
            }
        }
        match self.ended_by {
            Some(signal) if !self.is_one => 128 + signal as u8,
            _ => self.status,
        }
    }
}
