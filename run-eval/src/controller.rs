//! The controller: looks for checkpoints, evaluates each in a process of its own, and consolidates after
//! each. It has one thread and forks, so that no evaluation can disturb another.

use crate::cli::Pick;
use crate::consolidate::consolidate;
use crate::decide::Decision;
use crate::job::Job;
use crate::look::look;
use crate::open_files::OpenFiles;
use crate::options::Options;
use crate::prepare::{Prepared, Provenance, prepare};
use crate::record::refuse;
use crate::report::Reporter;
use crate::session::Session;
use nix::sys::signal::Signal;
use run_checkpoint::Watcher;
use run_common::cli::progress::{Counts, Progress};
use run_common::cli::statuses::{Ended, STATUSES};
use run_common::error::{Error, Exit};
use run_common::message::{complain, warn};
use run_common::process::identity::{Process, Signal as ProcessSignal};
use run_common::process::signals::Held;
use run_common::process::spawn::{Side, fork};
use run_common::process::tree::signal_all;
use run_common::rundir::observe::Observer;
use run_common::rundir::open::RunDir;
use run_common::rundir::status::Status;
use run_supervise::pool::Pool;
use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

/// How often to check whether a followed run has ended.
const OBSERVE: Duration = Duration::from_secs(1);

/// While evaluations end, writing the table takes at most this part of the time.
const TABLE_SHARE: u32 = 10;

/// A running evaluation.
#[derive(Debug)]
struct Working {
    job: Job,
    dir: RunDir,
}

/// Evaluates the checkpoints of all runs of a command line.
pub(crate) struct Controller {
    options: Options,
    open_files: OpenFiles,
    sessions: Vec<Session>,
    queue: VecDeque<Job>,
    pool: Pool<Working>,
    /// Notices changes in followed runs.
    watcher: Watcher,
    /// When to check followed runs again.
    next_look: Instant,
    /// Sessions whose table lacks an evaluation, and when to write the table.
    behind: BTreeSet<usize>,
    next_table: Instant,
    provenance: Provenance,
    observer: Observer,
    counts: Counts,
    progress: Progress,
    reporter: Reporter,
    status: u8,
}

impl Controller {
    /// Creates a controller for these runs; `status` is the exit status for runs that could not be opened.
    pub(crate) fn new(
        options: Options,
        sessions: Vec<Session>,
        provenance: Provenance,
        open_files: OpenFiles,
        status: u8,
    ) -> Result<Self, Error> {
        Ok(Self {
            pool: Pool::new(options.jobs)?,
            reporter: Reporter::new(options.json),
            options,
            open_files,
            sessions,
            queue: VecDeque::new(),
            watcher: Watcher::new(),
            next_look: Instant::now(),
            behind: BTreeSet::new(),
            next_table: Instant::now(),
            provenance,
            observer: Observer::of_many(None),
            counts: Counts::default(),
            progress: Progress::new(true, "[{bar:30}] {pos}/{len} {msg}"),
            status,
        })
    }

    /// Evaluates until nothing is left to do; returns the exit status. Also returns in the forked process of
    /// each evaluation.
    pub(crate) fn work(mut self) -> Result<Ended, Error> {
        self.look(false)?;
        loop {
            self.reap()?;
            self.consolidate();
            if !self.is_ending() && Instant::now() >= self.next_look {
                self.look(true)?;
            }
            while !self.is_ending()
                && let Some(slot) = self.pool.free_slot()
                && let Some(job) = self.queue.pop_front()
            {
                if let Some(status) = self.start(job, slot) {
                    return Ok(Ended::With(status));
                }
            }
            let is_over = self.is_ending()
                || self.queue.is_empty() && !self.sessions.iter().any(|session| session.is_followed);
            if self.pool.is_empty() && is_over {
                break;
            }
            self.show_progress();
            self.wait();
        }
        self.finish()
    }

    /// Returns whether no more evaluations may begin.
    fn is_ending(&self) -> bool {
        self.pool.ended_by().is_some()
    }

    fn show_progress(&self) {
        let titles: Vec<String> = self.pool.jobs().map(|working| self.title(&working.job)).collect();
        let mut said = vec![titles.join(", ")];
        if self.counts.failed > 0 {
            said.push(format!("{} failed", self.counts.failed));
        }
        self.progress.show(self.counts, Some(titles.len() + self.queue.len()), said);
    }

    /// Returns the title of an evaluation, for people.
    fn title(&self, job: &Job) -> String {
        match self.sessions.as_slice() {
            [_] => job.title(),
            sessions => format!("{} {}", sessions[job.session].meta.run_name, job.title()),
        }
    }

    fn fail(&mut self, error: &Error) {
        self.progress.aside(|| complain(error));
        self.status = self.status.max(error.exit() as u8);
    }

    /// Looks for checkpoints to evaluate: in all runs, or in the followed runs.
    fn look(&mut self, again: bool) -> Result<(), Error> {
        let awaits_turn = self.awaits_turn();
        for number in 0..self.sessions.len() {
            let session = &mut self.sessions[number];
            if again && (!session.is_followed || awaits_turn) {
                continue;
            }
            match look(session, number, &self.options, &self.observer, &mut self.watcher) {
                Ok(findings) => {
                    findings.missing.iter().for_each(|error| self.fail(error));
                    findings.decisions.into_iter().try_for_each(|decision| self.carry_out(decision))?;
                }
                Err(error) => {
                    session.is_followed = false;
                    self.fail(&error);
                }
            }
        }
        self.next_look = Instant::now() + OBSERVE;
        self.advance();
        Ok(())
    }

    /// Returns whether it is too early to look: with `latest`, the newest checkpoint is chosen when a slot is
    /// free.
    fn awaits_turn(&self) -> bool {
        self.options.wanted.is_only(Pick::Latest)
            && (!self.queue.is_empty() || self.pool.free_slot().is_none())
    }

    /// Looks at the runs that are due.
    fn advance(&mut self) {
        if self.awaits_turn() {
            return;
        }
        let followed = self.sessions.iter().filter(|session| session.is_followed);
        let next = followed.map(|session| session.schedule.next()).min();
        self.next_look = next.map_or(self.next_look, |next| next.min(self.next_look));
    }

    /// Carries out the decision about a checkpoint.
    fn carry_out(&mut self, decision: Decision) -> Result<(), Error> {
        match decision {
            Decision::Evaluate(job) => self.queue.push_back(job),
            Decision::PassOver(job) => {
                self.counts.passed += 1;
                self.report(&job, false)?;
            }
            Decision::Refuse(job, why) => {
                if let Err(error) = refuse(&self.options, &self.sessions[job.session], &job, &why) {
                    self.fail(&error);
                }
                self.tell_failure(&job, &why);
                self.report(&job, true)?;
            }
        }
        Ok(())
    }

    fn tell_failure(&mut self, job: &Job, why: &str) {
        self.counts.failed += 1;
        self.status = self.status.max(Exit::No as u8);
        let name = &self.sessions[job.session].meta.run_name;
        self.progress.aside(|| warn(&format!("'{name}' {}: {why}", job.title())));
    }

    /// Prints a line about an evaluation, for scripts. If the reader is gone, ends all evaluations.
    fn report(&mut self, job: &Job, evaluated: bool) -> Result<(), Error> {
        let had_reader = self.reporter.has_reader();
        self.reporter.evaluation(&self.sessions[job.session], job, &self.observer, evaluated)?;
        if had_reader && !self.reporter.has_reader() {
            self.pool.end(Signal::SIGTERM);
        }
        Ok(())
    }

    /// Starts an evaluation in a process of its own; that process returns with its exit status.
    fn start(&mut self, job: Job, slot: usize) -> Option<u8> {
        let gpu = self.options.gpu(slot);
        let session = &mut self.sessions[job.session];
        let prepared = match prepare(&self.options, session, &job, gpu, &mut self.provenance) {
            Ok(prepared) => prepared,
            Err(error) => {
                session.release(&job);
                self.fail(&error);
                return None;
            }
        };
        let parent = Process::myself().ok();
        let dir = RunDir::of_evaluation(prepared.task.layout.root());
        match fork() {
            Ok(Side::Child(held)) => Some(self.become_evaluation(job.session, prepared, parent, held)),
            Ok(Side::Parent(pid)) => {
                self.pool.add(pid, slot, Working { job, dir });
                None
            }
            Err(error) => {
                self.sessions[job.session].release(&job);
                self.fail(&Error::new(Exit::System, "cannot fork").because(error));
                None
            }
        }
    }

    /// Continues as the process of one evaluation.
    fn become_evaluation(
        &mut self,
        session: usize,
        prepared: Prepared,
        parent: Option<Process>,
        held: Held,
    ) -> u8 {
        self.progress.forget();
        // Keeps the locks of its own run until the evaluation has ended, and closes those of other runs.
        let session = self.sessions.swap_remove(session);
        self.sessions = vec![session];
        self.open_files.restore();
        let left = self.pool.leave(held);
        let done = left.and_then(|()| run_supervise::run(&prepared.task, prepared.record, parent, None));
        let failed = |error| {
            complain(&error);
            STATUSES.failed
        };
        done.map_or_else(failed, Ended::status)
    }

    /// Collects the evaluations that have ended.
    fn reap(&mut self) -> Result<(), Error> {
        let is_over = |observer: &Observer, working: &Working| {
            observer.observe(&working.dir).map_or(true, |observed| observed.status() != Status::Running)
        };
        while let Some((working, _)) = self.pool.next_ended(|working| is_over(&self.observer, working)) {
            self.conclude(working)?;
        }
        Ok(())
    }

    /// Records how an evaluation has ended.
    fn conclude(&mut self, working: Working) -> Result<(), Error> {
        let Working { job, dir, .. } = working;
        self.sessions[job.session].release(&job);
        let (status, reason) = match self.observer.observe(&dir) {
            Ok(observed) => {
                // Its supervisor and the monitor were both killed.
                signal_all(&observed.leftovers, ProcessSignal::KILL);
                (observed.status(), observed.reason().map(str::to_owned))
            }
            Err(error) => (Status::Failed, Some(error.to_string())),
        };
        match status {
            Status::Completed => self.counts.completed += 1,
            // The evaluation was asked to stop, or had not begun.
            Status::Stopped | Status::Created if self.is_ending() => {
                self.status = self.status.max(Exit::No as u8);
            }
            _ => self.tell_failure(&job, &reason.unwrap_or_else(|| status.to_string())),
        }
        self.behind.insert(job.session);
        self.report(&job, true)
    }

    /// Writes the tables that lack an evaluation. If writing takes long, several evaluations may have ended
    /// since.
    fn consolidate(&mut self) {
        let start = Instant::now();
        if start < self.next_table {
            return;
        }
        while let Some(session) = self.behind.pop_first() {
            if let Err(error) = consolidate(&self.sessions[session].evaluations, &self.observer) {
                self.fail(&error);
            }
            self.next_table = Instant::now() + start.elapsed().saturating_mul(TABLE_SHARE);
        }
    }

    /// Waits until something happens.
    fn wait(&mut self) {
        let mut pause = OBSERVE;
        if self.sessions.iter().any(|session| session.is_followed) {
            pause = pause.min(self.next_look.saturating_duration_since(Instant::now()));
        }
        if !self.behind.is_empty() {
            pause = pause.min(self.next_table.saturating_duration_since(Instant::now()));
        }
        if self.pool.wait(pause, self.watcher.handle()) {
            for number in self.watcher.wait(Duration::ZERO) {
                self.sessions[number].schedule.hasten();
            }
            self.advance();
        }
    }

    /// Consolidates for the last time and prints the paths of the tables.
    fn finish(mut self) -> Result<Ended, Error> {
        self.progress.clear();
        for number in 0..self.sessions.len() {
            match consolidate(&self.sessions[number].evaluations, &self.observer) {
                Ok(()) => self.reporter.table(&self.sessions[number].evaluations)?,
                Err(error) => self.fail(&error),
            }
        }
        if !self.reporter.has_reader() {
            return Ok(Ended::With(Exit::Ok as u8));
        }
        self.reporter.finish()?;
        let ended_by = self.pool.ended_by();
        let status = ended_by.map_or(self.status, |signal| 128 + signal as u8);
        Ok(Ended::after(status, ended_by == Some(Signal::SIGINT)))
    }
}
