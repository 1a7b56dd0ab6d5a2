//! The controller of a command line: executes its runs, each in a process of its own, which ends with the
//! controller. It has one thread and forks, so that no run can disturb another.

use crate::attempt::Attempt;
use crate::batch::{Batch, Batches};
use crate::cli::FailFast;
use crate::held_run::PREDECESSOR;
use crate::options::{Executed, Options};
use crate::queue::{Next, Queue};
use crate::tally::{Done, Tally};
use crate::unfinished::Left;
use crate::worker::{PASSED_OVER, Worker};
use nix::sys::signal::Signal;
use run_common::cli::progress::{Counts, Progress};
use run_common::cli::statuses::{Ended, STATUSES};
use run_common::error::{Error, Exit};
use run_common::message::{complain, warn};
use run_common::process::signals::Held;
use run_common::process::spawn::{Side, fork};
use run_common::rundir::attempts::AttemptEnd;
use run_common::rundir::observe::{Observed, Observer};
use run_common::rundir::open::RunDir;
use run_common::rundir::status::Status;
use run_common::rundir::stop::StopRequest;
use run_common::time::{Timestamp, human_seconds};
use run_supervise::pool::Pool;
use std::io::{self, IsTerminal};
use std::mem;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// How often to look for requests to stop a batch.
const LOOK: Duration = Duration::from_secs(1);

/// How long to wait at the end for the lock of the files for people.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often to retry this lock.
const AGAIN: Duration = Duration::from_millis(20);

/// The controller.
pub(crate) struct Controller<'a> {
    options: &'a Options,
    queue: Queue,
    /// The single named run, whose status is the exit status.
    is_one: bool,
    pool: Pool<Worker>,
    batches: Batches,
    /// The batches of the runs so far, each once; `None` for runs without one.
    seen: Vec<Option<usize>>,
    observer: Observer,
    tally: Tally,
    progress: Progress,
    /// Whether to print a line when a run starts or ends, and a summary.
    tells: bool,
    /// When the first run started.
    since: Option<Instant>,
    /// Whether no more runs may start.
    is_closing: bool,
    has_ended_queue: bool,
}

impl<'a> Controller<'a> {
    /// Creates a controller that executes up to `slots` runs at once.
    pub(crate) fn new(options: &'a Options, slots: usize, is_one: bool) -> Result<Self, Error> {
        Ok(Self {
            options,
            queue: Queue::new(options),
            is_one,
            pool: Pool::new(slots)?,
            batches: Batches::default(),
            seen: Vec::new(),
            observer: Observer::of_many(options.owner.as_ref().map(|_| PREDECESSOR)),
            tally: Tally::new(is_one),
            // The output of the runs may go to the terminal.
            progress: Progress::new(options.quiet || !io::stdout().is_terminal(), "{msg}"),
            tells: !is_one && !options.detach && io::stderr().is_terminal(),
            since: None,
            is_closing: false,
            has_ended_queue: false,
        })
    }

    /// Executes the queue; returns how to exit. Also returns in the forked process of each run.
    pub(crate) fn control(mut self) -> Ended {
        loop {
            if let Some(status) = self.reap() {
                return Ended::With(status);
            }
            let mut awaits = false;
            while !self.is_closing
                && !self.has_ended_queue
                && !awaits
                && let Some(slot) = self.pool.free_slot()
            {
                match self.queue.next() {
                    Next::Run(run) => {
                        if let Some(status) = self.start(&run, slot) {
                            return Ended::With(status);
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
            let reads = awaits || !self.is_closing && self.progress.is_shown() && self.queue.reads_ahead();
            if self.pool.wait(LOOK, reads.then(|| stdin.as_fd()))
                && let Err(error) = self.queue.fill()
            {
                self.fail(&error);
            }
            self.is_closing |= self.pool.ended_by().is_some();
            self.look_at_batches();
        }
        self.finish()
    }

    fn show_progress(&mut self) {
        if !self.progress.is_shown() {
            return;
        }
        let counts = self.tally.counts();
        let (Counts { completed, failed, stopped, .. }, running) = (counts, self.pool.jobs().len());
        let begun = completed + failed + stopped + counts.passed + running;
        if begun == 0 && self.since.is_none() {
            return; // while a pipe is awaited, the other programs of the pipe may use the terminal
        }
        let planned = if self.queue.may_grow() { self.planned() } else { None };
        let to_do = self.queue.left().or_else(|| planned?.checked_sub(begun));
        let total = to_do.map(|to_do| begun + to_do);
        let total = total.map(|total| format!(" of {total}")).unwrap_or_default();
        let mut said = vec![format!("{}{total} done", completed + counts.passed)];
        for (count, word) in [(failed, "failed"), (stopped, "stopped"), (running, "running")] {
            if count > 0 {
                said.push(format!("{count} {word}"));
            }
        }
        said.extend(to_do.map(|to_do| format!("{to_do} to do")));
        self.progress.show(counts, to_do.map(|to_do| to_do + running), said);
    }

    /// Returns the number of runs of the batch that all runs so far are of, while a pipe brings more.
    fn planned(&mut self) -> Option<usize> {
        match *self.seen.as_slice() {
            [only] => self.batches.get(only)?.planned(),
            _ => None,
        }
    }

    fn fail(&mut self, error: &Error) {
        self.progress.aside(|| complain(error));
        self.tally.fail(error.exit());
    }

    /// Starts a run in a process of its own; that process returns with its exit status.
    fn start(&mut self, run: &RunDir, slot: usize) -> Option<u8> {
        let batch = self.batches.of(run, self.options.resumes());
        if !self.seen.contains(&batch) {
            self.seen.push(batch);
        }
        let batch_is_new = self.batches.get(batch).is_some_and(|batch| mem::take(&mut batch.is_new));
        if self.batches.get(batch).is_some_and(Batch::look_for_stop) {
            self.tally.leave_out();
            return None;
        }
        let observed = self.observer.observe(run);
        let worker = match observed.and_then(|observed| Worker::admit(self.options, observed, slot, batch)) {
            Ok(Ok(worker)) => worker,
            Ok(Err(left)) => {
                if left == Left::Completed {
                    self.tally.pass();
                }
                return None;
            }
            Err(error) => {
                self.fail(&error);
                return None;
            }
        };
        if batch_is_new && let Some(batch) = self.batches.get(batch) {
            let slots = self.pool.slots();
            let at_once = if slots > 1 { format!(", {slots} at once") } else { String::new() };
            let totals = batch.totals(self.queue.may_grow(), &self.observer);
            batch.note(&format!("batch started: {totals}{at_once}"), &self.observer);
        }
        self.fork_off(worker, None)
    }

    /// Forks the process of an attempt, which first waits for `delay`. Returns an exit status only in that process.
    fn fork_off(&mut self, worker: Worker, delay: Option<f64>) -> Option<u8> {
        let attempt = worker.attempt(self.options, delay.is_some());
        match fork() {
            Ok(Side::Child(signals)) => Some(self.be_the_process(worker, attempt, delay, signals)),
            Ok(Side::Parent(pid)) => {
                let (batch, name) = (worker.batch, worker.run.layout().name());
                self.pool.add(pid, worker.slot, worker);
                self.since.get_or_insert_with(Instant::now);
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

    /// Continues as the process of one run.
    fn be_the_process(&mut self, worker: Worker, attempt: Attempt, delay: Option<f64>, signals: Held) -> u8 {
        self.progress.forget();
        let options = self.options;
        let done = self.pool.leave(signals).and_then(|()| worker.make(options, attempt, delay));
        match done {
            Ok(ended) => ended.status(), // the controller ends as a shell expects
            Err(error) => {
                complain(&error);
                if self.is_one { STATUSES.failed } else { error.exit() as u8 }
            }
        }
    }

    /// Collects the processes that have ended.
    fn reap(&mut self) -> Option<u8> {
        let is_over = |observer: &Observer, worker: &mut Worker| {
            worker.held = None; // the lock must show whether the run lives
            let observed = observer.observe(&worker.run);
            observed
                .map_or(true, |observed| observed.status().has_ended() || observed.recorded.attempts() == 0)
        };
        while let Some((worker, status)) = self.pool.next_ended(|worker| is_over(&self.observer, worker)) {
            if let Some(status) = self.conclude(worker, status) {
                return Some(status);
            }
        }
        None
    }

    /// Records how an attempt has ended, and retries it if required.
    fn conclude(&mut self, mut worker: Worker, status: Option<i32>) -> Option<u8> {
        let code = status.and_then(|status| u8::try_from(status).ok()).unwrap_or(Exit::No as u8);
        let layout = worker.run.layout();
        let observed = match self.observer.observe(&worker.run) {
            Ok(observed) => observed,
            Err(_) if status.is_some() && !layout.record().exists() => {
                self.tally.removed(code); // its process has reported this
                return None;
            }
            Err(error) => {
                self.fail(&error);
                return None;
            }
        };
        let name = layout.name();
        if self.was_passed_over(&worker, &observed, status) {
            self.note(worker.batch, &format!("run skipped: {name}"));
            return None;
        }
        if let Some(held) = &worker.held
            && let Some(delay) = retry_delay(&observed)
        {
            if !self.is_closing {
                worker.retries += 1;
                let reason = observed.reason().unwrap_or_default();
                self.note(worker.batch, &format!("run ended: {name}: {reason}"));
                return self.fork_off(worker, Some(delay));
            }
            if let Err(error) = held.give_up("run-exec was stopped before another attempt") {
                self.fail(&error);
            }
        }
        let was_executed =
            observed.recorded.attempts() > worker.before || observed.status() == Status::Stopped;
        let done = Done { code, status: observed.status(), was_executed };
        self.tally.add(done);
        if let Some(fail_fast) = self.options.fail_fast
            && was_executed
            && done.status == Status::Failed
            && !self.is_one
        {
            let was_closing = mem::replace(&mut self.is_closing, true);
            if fail_fast == FailFast::StopAll && !was_closing {
                self.stop_all(&name);
            }
        }
        let event = if was_executed { ended_event(&name, &observed) } else { format!("run refused: {name}") };
        self.note(worker.batch, &event);
        None
    }

    /// Stops all active runs because a run has failed.
    fn stop_all(&mut self, failed: &str) {
        let request = StopRequest {
            by: Some("--fail-fast=now".to_owned()),
            why: Some(format!("'{failed}' failed")),
            time: Some(Timestamp::now()),
            ..StopRequest::default()
        };
        for worker in self.pool.jobs() {
            let _ = request.write(&worker.run.layout().stop()); // the signal is enough
        }
        self.pool.signal(Signal::SIGTERM, |_| true);
    }

    /// Returns whether a process has found that another run-exec is executing its run. A command may exit with the same
    /// status, too.
    fn was_passed_over(&self, worker: &Worker, observed: &Observed, status: Option<i32>) -> bool {
        let recorded = &observed.recorded;
        let is_its_own =
            recorded.attempts() > worker.before && recorded.exit_code() == Some(PASSED_OVER.into());
        let passes_over = self.options.executed == Executed::Unfinished;
        !self.is_one && passes_over && status == Some(PASSED_OVER.into()) && !is_its_own
    }

    /// Writes an event to the log of a batch, and prints the event on a terminal.
    fn note(&mut self, batch: Option<usize>, event: &str) {
        if self.tells {
            self.progress.aside(|| warn(event));
        }
        if let Some(batch) = self.batches.get(batch) {
            batch.note(event, &self.observer);
        }
    }

    /// Stops the runs of a batch that was asked to stop; if there is no other batch, nothing is left to do.
    fn look_at_batches(&mut self) {
        self.refresh_batches();
        let mut has_news = false;
        for (number, batch) in self.batches.iter_mut().enumerate() {
            if !batch.look_for_stop() || mem::replace(&mut batch.is_heeded, true) {
                continue;
            }
            has_news = true;
            if let Some(request) = batch.stopped.as_ref().filter(|request| !request.leaves_running) {
                for worker in self.pool.jobs().filter(|worker| worker.batch == Some(number)) {
                    let _ = request.write(&worker.run.layout().stop()); // the signal is enough
                }
                self.pool.signal(Signal::SIGTERM, |worker| worker.batch == Some(number));
            }
        }
        let all_stopped = self.batches.iter_mut().all(|batch| batch.stopped.is_some());
        if has_news && all_stopped && self.pool.jobs().all(|worker| worker.batch.is_some()) {
            self.is_closing = true;
            self.tally.leave_out();
        }
    }

    /// Updates the summaries once started runs have begun, and writes postponed updates.
    fn refresh_batches(&mut self) {
        let has_begun = |worker: &Worker| {
            let observed = self.observer.observe(&worker.run);
            observed.is_ok_and(|observed| observed.recorded.attempts() > worker.before)
        };
        for (number, batch) in self.batches.iter_mut().enumerate().filter(|(_, batch)| batch.is_behind) {
            if self.pool.jobs().filter(|worker| worker.batch == Some(number)).all(has_begun) {
                batch.is_behind = false;
                batch.renew(&self.observer);
            }
        }
        self.batches.catch_up(&self.observer);
    }

    /// Writes the final state of the batches.
    fn finish(mut self) -> Ended {
        self.progress.clear();
        let seconds = self.since.map_or(0.0, |since| since.elapsed().as_secs_f64());
        if let Some(summary) = self.tally.summary(seconds).filter(|_| self.tells) {
            warn(&summary);
        }
        let observer = &self.observer;
        for batch in self.batches.iter_mut().filter(|batch| !batch.is_new) {
            let totals = batch.totals(false, observer);
            let why = match (&batch.stopped, self.pool.ended_by()) {
                (Some(request), _) => format!(", {}", request.words()),
                (None, Some(signal)) => format!(", ended by {signal}"),
                (None, None) => String::new(),
            };
            batch.note(&format!("batch ended: {totals}{why}"), observer);
        }
        let (until, ended_by) = (Instant::now() + PATIENCE, self.pool.ended_by());
        while !self.batches.catch_up(&self.observer)
            && Instant::now() < until
            && self.pool.ended_by() == ended_by
        {
            self.pool.wait(AGAIN, None);
        }
        self.batches.iter_mut().for_each(Batch::give_up);
        for batch in self.batches.iter_mut() {
            if let Some(request) = &batch.stopped {
                warn(&format!("'{}' was {}; continue with --unfinished", batch.name(), request.words()));
            }
        }
        let ended_by = self.pool.ended_by();
        Ended::after(self.tally.status(ended_by), ended_by == Some(Signal::SIGINT))
    }
}

/// Returns the delay before a retry of a run, in seconds, if it is retried.
fn retry_delay(observed: &Observed) -> Option<f64> {
    let recorded = &observed.recorded;
    let end = AttemptEnd::read(observed.run.layout(), &recorded.run_id, recorded.attempts())?;
    end.retry_in_s.filter(|_| observed.status() == Status::Running)
}

/// Returns the event of a run's end, for the log of its batch.
fn ended_event(name: &str, observed: &Observed) -> String {
    let reason = observed.reason().map(|reason| format!(": {reason}")).unwrap_or_default();
    let seconds = observed.end_time().zip(observed.start_time()).map(|(end, start)| end.seconds_since(start));
    let lasted = seconds.map(|seconds| format!(" ({})", human_seconds(seconds))).unwrap_or_default();
    format!("run ended: {name}: {}{reason}{lasted}", observed.status())
}
