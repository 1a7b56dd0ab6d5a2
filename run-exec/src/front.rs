//! The front: executes one run itself, and of several each in a process of its own, which ends with
//! it. It has one thread and forks, so that whatever becomes of one run is nothing to the others.

use crate::attempt::{How, Taken, again, execute, give_up, take, way_out};
use crate::batch::{Batch, Batches};
use crate::cli::Args;
use crate::queue::{Next, Queue};
use nix::sys::signal::Signal;
use nix::unistd::{dup2_stderr, dup2_stdout, setsid};
use run_common::cli::operands::Operand;
use run_common::cli::progress::{Counts, Progress};
use run_common::cli::statuses::STATUSES;
use run_common::error::{Error, Exit};
use run_common::fsio::write::open_null;
use run_common::message::{complain, warn};
use run_common::process::identity::Process;
use run_common::process::signals::Held;
use run_common::process::spawn::{Side, check_open, fork};
use run_common::rundir::attempts::AttemptEnd;
use run_common::rundir::observe::Observer;
use run_common::rundir::open::RunDir;
use run_common::rundir::status::Status;
use run_common::time::human_seconds;
use run_supervise::Retry;
use run_supervise::pool::Pool;
use std::io::{self, IsTerminal};
use std::mem;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// How often requests to stop a batch are looked for.
const LOOK: Duration = Duration::from_secs(1);

/// Tells the front that another process has the run, which is passed over.
const PASSED_OVER: u8 = 64;

/// How long the lock of the files for people is waited for in the end.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often they are tried then.
const AGAIN: Duration = Duration::from_millis(20);

/// The longest time between two attempts.
const LONGEST: Duration = Duration::from_secs(3600);

/// Executes a command in one run or several; returns the status to exit with.
pub(crate) fn run(args: &Args) -> Result<u8, Error> {
    if !args.quiet && !args.detach && check_open(1).is_err() {
        warn("stdout is closed: the output is in the logs alone");
    }
    let one = match args.runs.as_slice() {
        [name] if name != "-" => match Operand::named(name, &args.runs_dir.path())? {
            Operand::Run(run) => Some(run),
            Operand::Batch(_) => None,
        },
        _ => None,
    };
    match one {
        Some(run) if args.retries == 0 => execute_one(args, &run),
        one => execute_several(args, one.is_some()),
    }
}

fn execute_one(args: &Args, run: &RunDir) -> Result<u8, Error> {
    if args.slots.gpu(1).is_some() {
        return Err(Error::usage("one run takes one slot of --gpus"));
    }
    if args.unfinished && Observer::default().observe(run)?.status() == Status::Completed {
        return Ok(0);
    }
    let (resume, gpu) = (args.goes_on(), args.slots.gpu(0).cloned());
    execute(args, take(run, resume, args.take_over)?, How { resume, gpu, ..How::default() })
}

/// Executes several runs, or one several times.
fn execute_several(args: &Args, is_one: bool) -> Result<u8, Error> {
    if args.stdin {
        return Err(Error::usage("--stdin is for one run"));
    }
    let slots = args.slots.count()?;
    if args.detach {
        // What is wrong with the operands can be said now alone.
        for name in args.runs.iter().filter(|name| *name != "-") {
            Operand::named(name, &args.runs_dir.path())?;
        }
        if let Side::Parent(_) = detach()? {
            return Ok(0);
        }
    }
    let front = Front {
        args,
        queue: Queue::new(&args.runs, args.runs_dir.path(), args.null),
        is_one,
        pool: Pool::new(slots)?,
        batches: Batches::default(),
        observer: Observer::default(),
        counts: Counts::default(),
        // The output of the runs may go to the terminal.
        progress: Progress::new(args.quiet || args.detach || !io::stdout().is_terminal(), "{msg}"),
        is_closing: false,
        has_ended_queue: false,
        status: 0,
    };
    Ok(front.work())
}

/// Leaves the caller's process behind; stdin, which may bring runs, is kept.
fn detach() -> Result<Side, Error> {
    let failed = |error: io::Error| Error::new(Exit::System, "cannot detach").because(error);
    let side = fork().map_err(failed)?;
    if let Side::Child(_) = side {
        let null = open_null().map_err(failed)?;
        let moved = setsid().and_then(|_| dup2_stdout(&null)).and_then(|()| dup2_stderr(&null));
        moved.map_err(|error| failed(error.into()))?;
    }
    Ok(side)
}

/// Says that another front has a run.
fn pass_over(run: &RunDir) {
    warn(&format!("'{}' is executed by another run-exec, and passed over", run.layout().root().display()));
}

/// A run at work.
struct Working {
    run: RunDir,
    slot: usize,
    batch: Option<usize>,
    /// Number of the last attempt before.
    before: u32,
    /// Attempts that were made again.
    retries: u32,
    /// The lock, held between attempts too.
    taken: Option<Taken>,
}

struct Front<'a> {
    args: &'a Args,
    queue: Queue,
    /// The single run that was named, whose status is the status to exit with.
    is_one: bool,
    pool: Pool<Working>,
    batches: Batches,
    observer: Observer,
    counts: Counts,
    progress: Progress,
    /// No more runs are started.
    is_closing: bool,
    has_ended_queue: bool,
    status: u8,
}

impl Front<'_> {
    /// Works the queue off; returns the status to exit with. The processes of the runs return from
    /// here too.
    fn work(mut self) -> u8 {
        loop {
            if let Some(status) = self.reap() {
                return status;
            }
            let mut awaits = false;
            while !self.is_closing
                && !self.has_ended_queue
                && !awaits
                && let Some(slot) = self.pool.free_slot()
            {
                match self.queue.next() {
                    Next::Run(run) => {
                        if let Some(status) = self.start(run, slot) {
                            return status;
                        }
                    }
                    Next::Failed(error) => self.fail(&error),
                    Next::Again(words) => self.progress.aside(|| warn(&words)),
                    Next::Awaited => awaits = true,
                    Next::End => self.has_ended_queue = true,
                }
            }
            if self.pool.is_empty() && (self.is_closing || self.has_ended_queue) {
                break;
            }
            self.show_progress();
            let stdin = io::stdin();
            if self.pool.wait(LOOK, awaits.then(|| stdin.as_fd()))
                && let Err(error) = self.queue.fill()
            {
                self.fail(&error);
            }
            self.is_closing |= self.pool.ended_by().is_some();
            self.look_at_batches();
        }
        self.finish()
    }

    fn show_progress(&self) {
        let (Counts { completed, failed, stopped, .. }, running) = (self.counts, self.pool.jobs().len());
        let mut said = vec![format!("{completed} done")];
        for (count, word) in [(failed, "failed"), (stopped, "stopped"), (running, "running")] {
            if count > 0 {
                said.push(format!("{count} {word}"));
            }
        }
        let to_do = self.queue.left();
        said.extend(to_do.map(|to_do| format!("{to_do} to do")));
        self.progress.show(self.counts, to_do.map(|to_do| to_do + running), said);
    }

    fn fail(&mut self, error: &Error) {
        self.progress.aside(|| complain(error));
        self.status = self.status.max(error.exit() as u8);
        if self.is_one {
            self.status = STATUSES.failed;
        }
    }

    /// Starts a run in a process of its own, from which the status to exit with is returned.
    fn start(&mut self, run: RunDir, slot: usize) -> Option<u8> {
        let batch = self.batches.of(&run, self.args.goes_on());
        let batch_is_new = self.batches.get(batch).is_some_and(|batch| mem::take(&mut batch.is_new));
        if self.batches.get(batch).is_some_and(Batch::look_for_stop) {
            self.status = self.status.max(Exit::No as u8);
            return None;
        }
        let (before, taken) = match self.admit(&run) {
            Ok(Some(admitted)) => admitted,
            Ok(None) => return None,
            Err(error) => {
                self.fail(&error);
                return None;
            }
        };
        if batch_is_new && let Some(batch) = self.batches.get(batch) {
            let slots = self.pool.slots();
            let at_once = if slots > 1 { format!(", {slots} at once") } else { String::new() };
            let totals = batch.totals(&self.observer);
            batch.note(&format!("batch started: {totals}{at_once}"), &self.observer);
        }
        self.launch(Working { run, slot, batch, before, retries: 0, taken }, None)
    }

    /// Returns the number of a run's last attempt, unless the run is to be passed over; and takes it, when
    /// it is to be kept between attempts.
    fn admit(&mut self, run: &RunDir) -> Result<Option<(u32, Option<Taken>)>, Error> {
        let args = self.args;
        let observed = self.observer.observe(run)?;
        let attempt = observed.recorded.attempts();
        match observed.status() {
            Status::Completed if args.unfinished => {
                self.counts.passed += 1;
                return Ok(None);
            }
            Status::Running if args.unfinished => {
                pass_over(run);
                return Ok(None);
            }
            Status::Stale if args.unfinished && !args.take_over => {
                let what = format!("cannot start '{}'", run.layout().root().display());
                return Err(Error::new(Exit::Busy, what)
                    .because(observed.reason().unwrap_or_default())
                    .hint(way_out(&observed.recorded)));
            }
            _ => {}
        }
        if args.retries == 0 {
            return Ok(Some((attempt, None)));
        }
        match take(run, args.goes_on(), args.take_over) {
            Err(error) if args.unfinished && error.exit() == Exit::Busy => {
                pass_over(run);
                Ok(None)
            }
            taken => Ok(Some((attempt, Some(taken?)))),
        }
    }

    /// Forks the process of an attempt, which waits before it when `delay` says so.
    fn launch(&mut self, working: Working, delay: Option<f64>) -> Option<u8> {
        let left = self.args.retries - working.retries;
        let exponent = working.retries.min(16);
        let delay_next = self.args.retry_delay.saturating_mul(1 << exponent).min(LONGEST);
        let how = How {
            resume: self.args.goes_on() || delay.is_some(),
            is_retry: delay.is_some(),
            gpu: self.args.slots.gpu(working.slot).cloned(),
            retry: (left > 0).then(|| Retry { delay: delay_next, exit_codes: self.args.retry_on.clone() }),
            parent: Process::myself().ok(),
        };
        match fork() {
            Ok(Side::Child(held)) => Some(self.be_the_process(working, how, delay, held)),
            Ok(Side::Parent(pid)) => {
                let (batch, name) = (working.batch, working.run.layout().name());
                self.pool.add(pid, working.slot, working);
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
    fn be_the_process(&mut self, working: Working, how: How, delay: Option<f64>, held: Held) -> u8 {
        self.progress.forget();
        let args = self.args;
        let Working { run, taken, .. } = working;
        let done = self.pool.leave(held).and_then(|()| {
            let taken = match taken {
                Some(taken) => taken,
                None => take(&run, how.resume, args.take_over)?,
            };
            match delay {
                Some(delay) => again(args, taken, how, delay),
                None => execute(args, taken, how),
            }
        });
        match done {
            Ok(status) => status,
            Err(error) if args.unfinished && error.exit() == Exit::Busy => {
                pass_over(&run);
                PASSED_OVER
            }
            Err(error) => {
                complain(&error);
                if self.is_one { STATUSES.failed } else { error.exit() as u8 }
            }
        }
    }

    /// Takes note of the processes that have ended.
    fn reap(&mut self) -> Option<u8> {
        let is_over = |observer: &Observer, working: &mut Working| {
            working.taken = None; // whether the run lives is told by its lock
            let observed = observer.observe(&working.run);
            observed
                .map_or(true, |observed| observed.status().has_ended() || observed.recorded.attempts() == 0)
        };
        while let Some((working, status)) = self.pool.next_ended(|working| is_over(&self.observer, working)) {
            if let Some(status) = self.conclude(working, status) {
                return Some(status);
            }
        }
        None
    }

    /// Takes note of how an attempt has ended, and makes another where that is wanted.
    fn conclude(&mut self, mut working: Working, status: Option<i32>) -> Option<u8> {
        let code = status.and_then(|status| u8::try_from(status).ok()).unwrap_or(Exit::No as u8);
        let layout = working.run.layout();
        let observed = match self.observer.observe(&working.run) {
            Ok(observed) => observed,
            Err(_) if status.is_some() && !layout.record().exists() => {
                // Its process has said that it was removed.
                self.counts.failed += 1;
                self.status = if self.is_one { code } else { self.status.max(Exit::BadRun as u8) };
                return None;
            }
            Err(error) => {
                self.fail(&error);
                return None;
            }
        };
        let name = layout.name();
        let (status_now, attempt) = (observed.status(), observed.recorded.attempts());
        let reason = observed.reason().map(str::to_owned);
        // A command may exit with that status, too.
        let exit_code = observed.recorded.exit_code();
        let is_its_own = attempt > working.before && exit_code == Some(PASSED_OVER.into());
        if !self.is_one && self.args.unfinished && status == Some(PASSED_OVER.into()) && !is_its_own {
            self.note(working.batch, &format!("run passed over: {name}"));
            return None;
        }
        let retry = || {
            let end = AttemptEnd::read(layout, &observed.recorded.run_id, attempt)?;
            end.retry_in_s.filter(|_| status_now == Status::Running)
        };
        if let Some(taken) = &working.taken
            && let Some(delay) = retry()
        {
            if !self.is_closing {
                working.retries += 1;
                let reason = reason.unwrap_or_default();
                self.note(working.batch, &format!("run ended: {name}: {reason}"));
                return self.launch(working, Some(delay));
            }
            if let Err(error) = give_up(taken, "run-exec was stopped before another attempt") {
                self.fail(&error);
            }
        }
        let was_executed = attempt > working.before || status_now == Status::Stopped;
        match status_now {
            _ if !was_executed => {}
            Status::Completed => self.counts.completed += 1,
            Status::Stopped => self.counts.stopped += 1,
            _ => self.counts.failed += 1,
        }
        if self.is_one {
            self.status = code;
        } else if !was_executed {
            self.status = self.status.max(if code == 0 { Exit::No as u8 } else { code });
        } else if status_now != Status::Completed {
            self.status = self.status.max(Exit::No as u8);
            self.is_closing |= self.args.fail_fast && status_now == Status::Failed;
        }
        let event = if was_executed {
            let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
            let seconds =
                observed.end_time().zip(observed.start_time()).map(|(end, start)| end.seconds_since(start));
            let lasted = seconds.map(|seconds| format!(" ({})", human_seconds(seconds))).unwrap_or_default();
            format!("run ended: {name}: {status_now}{reason}{lasted}")
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

    /// Stops the runs of a batch of which a stop was asked for; when there is no other, there is nothing
    /// more to do.
    fn look_at_batches(&mut self) {
        self.refresh_batches();
        let mut has_news = false;
        for (number, batch) in self.batches.iter_mut().enumerate() {
            if !batch.look_for_stop() || mem::replace(&mut batch.is_heeded, true) {
                continue;
            }
            has_news = true;
            if let Some(request) = batch.stopped.as_ref().filter(|request| !request.spares) {
                for working in self.pool.jobs().filter(|working| working.batch == Some(number)) {
                    let _ = request.write(&working.run.layout().stop()); // the signal will do
                }
                self.pool.signal(Signal::SIGTERM, |working| working.batch == Some(number));
            }
        }
        let all_stopped = self.batches.iter_mut().all(|batch| batch.stopped.is_some());
        if has_news && all_stopped && self.pool.jobs().all(|working| working.batch.is_some()) {
            self.is_closing = true;
            self.status = self.status.max(Exit::No as u8);
        }
    }

    /// Writes what all runs do anew when those that were started have begun, and what was left for later.
    fn refresh_batches(&mut self) {
        let has_begun = |working: &Working| {
            let observed = self.observer.observe(&working.run);
            observed.is_ok_and(|observed| observed.recorded.attempts() > working.before)
        };
        for (number, batch) in self.batches.iter_mut().enumerate().filter(|(_, batch)| batch.is_behind) {
            if self.pool.jobs().filter(|working| working.batch == Some(number)).all(has_begun) {
                batch.is_behind = false;
                batch.renew(&self.observer);
            }
        }
        self.catch_up();
    }

    /// Writes the files for people that were left for later; says whether none of them is left.
    fn catch_up(&mut self) -> bool {
        let observer = &self.observer;
        self.batches.iter_mut().fold(true, |all, batch| batch.catch_up(observer) && all)
    }

    /// Writes how it all went.
    fn finish(mut self) -> u8 {
        self.progress.clear();
        let observer = &self.observer;
        for batch in self.batches.iter_mut().filter(|batch| !batch.is_new) {
            let totals = batch.totals(observer);
            let why = match (&batch.stopped, self.pool.ended_by()) {
                (Some(request), _) => format!(", {}", request.words()),
                (None, Some(signal)) => format!(", ended by {signal}"),
                (None, None) => String::new(),
            };
            batch.note(&format!("batch ended: {totals}{why}"), observer);
        }
        let (until, ended_by) = (Instant::now() + PATIENCE, self.pool.ended_by());
        while !self.catch_up() && Instant::now() < until && self.pool.ended_by() == ended_by {
            self.pool.wait(AGAIN, None);
        }
        self.batches.iter_mut().for_each(Batch::give_up);
        for batch in self.batches.iter_mut() {
            if let Some(request) = &batch.stopped {
                warn(&format!("'{}' was {}; --unfinished goes on with it", batch.name(), request.words()));
            }
        }
        match self.pool.ended_by() {
            Some(signal) if !self.is_one => 128 + signal as u8,
            _ => self.status,
        }
    }
}
