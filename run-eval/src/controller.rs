//! The controller: looks for checkpoints, executes an evaluation of each in a process of its own, and
//! consolidates after each. It has one thread and forks, so that whatever becomes of one evaluation is
//! nothing to the others.

use crate::cli::{Args, Pick};
use crate::consolidate::consolidate;
use crate::evaluate::{Ready, Setting, prepare, refuse, try_out};
use crate::plan::{Found, Job, Session};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use run_common::cli::operands::open_runs;
use run_common::cli::out::Out;
use run_common::cli::progress::{Counts, Progress};
use run_common::cli::statuses::STATUSES;
use run_common::error::{Error, Exit};
use run_common::json::json_number;
use run_common::message::{complain, warn};
use run_common::process::identity::{Process, Signal as ProcessSignal};
use run_common::process::signals::Held;
use run_common::process::spawn::{Side, fork};
use run_common::process::tree::signal_all;
use run_common::rundir::evaluation::Measured;
use run_common::rundir::observe::{Observed, Observer};
use run_common::rundir::open::RunDir;
use run_common::rundir::status::Status;
use run_supervise::pool::Pool;
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::{BTreeSet, HashSet, VecDeque};
use std::env;
use std::path::Path;
use std::time::{Duration, Instant};

/// How often a followed run is looked at, at most.
const LOOK: Duration = Duration::from_secs(1);

/// A look at a run takes at most this part of the time.
const SHARE: u32 = 20;

/// Writing the table takes at most this part of the time, while evaluations end.
const TABLE_SHARE: u32 = 10;

/// Evaluates what is asked for; returns the status to exit with, also of what fails.
#[expect(clippy::unnecessary_wraps, reason = "what executes commands has its own status for failures")]
pub(crate) fn run(args: &Args) -> Result<u8, Error> {
    Ok(evaluate(args).unwrap_or_else(|error| {
        if error.is_broken_pipe() {
            return Exit::Ok as u8; // the reader has seen enough
        }
        complain(&error);
        error.exit() as u8
    }))
}

fn evaluate(args: &Args) -> Result<u8, Error> {
    if args.checkpoint.is_some() && args.runs.len() > 1 {
        return Err(Error::usage("--checkpoint is of one run"));
    }
    let slots = args.slots.count()?;
    let files = raise_limit();
    let setting = Setting::find()?;
    let (sessions, status) = open(args, &setting)?;
    let mut controller = Controller {
        args,
        files,
        sessions,
        queue: VecDeque::new(),
        pool: Pool::new(slots)?,
        next_look: Instant::now(),
        stale: BTreeSet::new(),
        next_table: Instant::now(),
        setting,
        observer: Observer::default(),
        counts: Counts::default(),
        progress: Progress::new(true, "[{bar:30}] {pos}/{len} {msg}"),
        out: Out::stdout(),
        is_heard: true,
        status,
    };
    controller.look(false)?;
    controller.work()
}

/// Lets this process open as many files as it may, for each run has two that are locked, and one more for
/// each link that leads to checkpoints; returns the limit that was in force, which is the commands'.
fn raise_limit() -> Option<(u64, u64)> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).ok()?;
    Some((soft, hard))
}

/// Opens the runs; returns a session for each, and the status of what cannot be opened.
fn open(args: &Args, setting: &Setting) -> Result<(Vec<Session>, u8), Error> {
    let (mut sessions, mut status) = (Vec::new(), 0);
    let mut known = HashSet::new();
    for run in open_runs(&args.runs, &args.runs_dir.path(), args.null) {
        let session = match run {
            Ok(run) if !known.insert(run.absolute()) => continue,
            run => run.and_then(|run| Session::open(args, &run)),
        };
        match session {
            Ok(session) => {
                try_out(args, &session, setting)?;
                sessions.push(session);
            }
            Err(error) => {
                complain(&error);
                status = status.max(error.exit() as u8);
            }
        }
    }
    Ok((sessions, status))
}

/// An evaluation at work.
#[derive(Debug)]
struct Working {
    job: Job,
    dir: RunDir,
}

struct Controller<'a> {
    args: &'a Args,
    /// How many files a process could open before.
    files: Option<(u64, u64)>,
    sessions: Vec<Session>,
    queue: VecDeque<Job>,
    pool: Pool<Working>,
    /// When followed runs are looked at again.
    next_look: Instant,
    /// Sessions whose table lacks an evaluation, and when it is written.
    stale: BTreeSet<usize>,
    next_table: Instant,
    setting: Setting,
    observer: Observer,
    counts: Counts,
    progress: Progress,
    out: Out,
    /// Somebody reads it.
    is_heard: bool,
    status: u8,
}

/// A line of `--json`.
#[derive(Debug, Serialize)]
struct Line<'a> {
    /// The run's directory.
    path: &'a Path,
    run_name: &'a str,
    run_id: &'a str,
    label: &'a str,
    step: Option<u64>,
    checkpoint: &'a str,
    /// The directory of the evaluation.
    out: &'a Path,
    status: Status,
    reason: Option<String>,
    /// Whether it was evaluated now rather than before.
    evaluated: bool,
    duration_s: Option<f64>,
    rows: Option<u64>,
    /// Means over the rows.
    metrics: Option<Map<String, Value>>,
}

impl Controller<'_> {
    /// Works until nothing is left to do; returns the status to exit with. The processes of the
    /// evaluations return from here too.
    fn work(mut self) -> Result<u8, Error> {
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
                    return Ok(status);
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

    /// Says whether no more evaluations are to begin.
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

    /// Says which evaluation it is, for people.
    fn title(&self, job: &Job) -> String {
        let step = match job.name.parse::<u64>() {
            Ok(step) => format!("step {step}"),
            Err(_) => job.name.clone(),
        };
        match self.sessions.as_slice() {
            [_] => step,
            sessions => format!("{} {step}", sessions[job.session].meta.run_name),
        }
    }

    fn fail(&mut self, error: &Error) {
        self.progress.aside(|| complain(error));
        self.status = self.status.max(error.exit() as u8);
    }

    /// Looks what there is to evaluate: in all runs, or in those that are followed.
    fn look(&mut self, again: bool) -> Result<(), Error> {
        let start = Instant::now();
        let args = self.args;
        // The newest is decided about when it is its turn.
        let waits =
            args.steps == [Pick::Latest] && (!self.queue.is_empty() || self.pool.free_slot().is_none());
        for number in 0..self.sessions.len() {
            let session = &mut self.sessions[number];
            if again && (!session.is_followed || waits) {
                continue;
            }
            match session.look(number, args, &self.observer) {
                Ok(found) => found.into_iter().try_for_each(|found| self.take(found))?,
                Err(error) => {
                    session.is_followed = false;
                    self.fail(&error);
                }
            }
        }
        self.next_look = Instant::now() + LOOK.max(start.elapsed().saturating_mul(SHARE));
        Ok(())
    }

    fn take(&mut self, found: Found) -> Result<(), Error> {
        match found {
            Found::Job(job) => self.queue.push_back(job),
            Found::Passed(job) => {
                self.counts.passed += 1;
                self.report(&job, false)?;
            }
            Found::Refused(job, why) => {
                if let Err(error) = refuse(self.args, &self.sessions[job.session], &job, &why) {
                    self.fail(&error);
                }
                self.tell_failure(&job, &why);
                self.report(&job, true)?;
            }
            Found::Missing(error) => self.fail(&error),
        }
        Ok(())
    }

    fn tell_failure(&mut self, job: &Job, why: &str) {
        self.counts.failed += 1;
        self.status = self.status.max(Exit::No as u8);
        let name = &self.sessions[job.session].meta.run_name;
        let step = if job.name.parse::<u64>().is_ok() { "step " } else { "" };
        self.progress.aside(|| warn(&format!("'{name}' {step}{}: {why}", job.name)));
    }

    /// Prints a line about an evaluation, for scripts.
    fn report(&mut self, job: &Job, evaluated: bool) -> Result<(), Error> {
        if !self.args.json || !self.is_heard {
            return Ok(());
        }
        let session = &self.sessions[job.session];
        let dir = session.evaluations.evaluation(&job.name);
        let observed = self.observer.observe(&dir).ok();
        let status = observed.as_ref().map_or(Status::Failed, Observed::status);
        let measured = if status == Status::Completed { Measured::read(dir.layout()).ok() } else { None };
        let out = std::path::absolute(dir.layout().root()).unwrap_or_else(|_| dir.layout().root().to_owned());
        let line = Line {
            path: session.run.layout().root(),
            run_name: &session.meta.run_name,
            run_id: &session.meta.run_id,
            label: &self.args.label,
            step: job.checkpoint.step,
            checkpoint: &job.shown,
            out: &out,
            status,
            reason: observed.as_ref().and_then(|observed| observed.reason().map(str::to_owned)),
            evaluated,
            duration_s: observed.as_ref().and_then(run_common::rundir::observe::Observed::duration_s),
            rows: measured.as_ref().map(|measured| measured.rows),
            metrics: measured.as_ref().map(|measured| {
                measured.means().map(|(name, mean)| (name.to_owned(), json_number(mean))).collect()
            }),
        };
        match self.out.json(&line).and_then(|()| self.out.flush()) {
            Err(error) if error.is_broken_pipe() => {
                self.is_heard = false;
                self.pool.end(Signal::SIGTERM);
                Ok(())
            }
            printed => printed,
        }
    }

    /// Starts an evaluation in a process of its own, from which the status to exit with is returned.
    fn start(&mut self, job: Job, slot: usize) -> Option<u8> {
        let gpu = self.args.slots.gpu(slot);
        let session = &self.sessions[job.session];
        let ready = match prepare(self.args, session, &job, gpu, &mut self.setting) {
            Ok(ready) => ready,
            Err(error) => {
                session.release(&job);
                self.fail(&error);
                return None;
            }
        };
        let parent = Process::myself().ok();
        let dir = RunDir::of_evaluation(ready.task.layout.root());
        match fork() {
            Ok(Side::Child(held)) => Some(self.be_the_process(job.session, ready, parent, held)),
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

    /// Goes on as the process of one evaluation.
    fn be_the_process(&mut self, session: usize, ready: Ready, parent: Option<Process>, held: Held) -> u8 {
        self.progress.forget();
        // The locks of its own run are kept, until the evaluation has ended; those of others are not.
        let session = self.sessions.swap_remove(session);
        self.sessions = vec![session];
        if let Some((soft, hard)) = self.files {
            let _ = setrlimit(Resource::RLIMIT_NOFILE, soft, hard); // more do no harm
        }
        let left = self.pool.leave(held);
        let done = left.and_then(|()| run_supervise::run(&ready.task, ready.record, parent, None));
        done.unwrap_or_else(|error| {
            complain(&error);
            STATUSES.failed
        })
    }

    /// Takes note of the evaluations that have ended.
    fn reap(&mut self) -> Result<(), Error> {
        let is_over = |observer: &Observer, working: &Working| {
            observer.observe(&working.dir).map_or(true, |observed| observed.status() != Status::Running)
        };
        while let Some((working, _)) = self.pool.next_ended(|working| is_over(&self.observer, working)) {
            self.conclude(working)?;
        }
        Ok(())
    }

    /// Takes note of how an evaluation has ended.
    fn conclude(&mut self, working: Working) -> Result<(), Error> {
        let Working { job, dir, .. } = working;
        self.sessions[job.session].release(&job);
        let (status, reason) = match self.observer.observe(&dir) {
            Ok(observed) => {
                // Both who would have ended it were killed.
                signal_all(&observed.leftovers, ProcessSignal::KILL);
                (observed.status(), observed.reason().map(str::to_owned))
            }
            Err(error) => (Status::Failed, Some(error.to_string())),
        };
        match status {
            Status::Completed => self.counts.completed += 1,
            // It was asked to stop, or had not even begun.
            Status::Stopped | Status::Created if self.is_ending() => {
                self.status = self.status.max(Exit::No as u8);
            }
            _ => self.tell_failure(&job, &reason.unwrap_or_else(|| status.to_string())),
        }
        self.stale.insert(job.session);
        self.report(&job, true)
    }

    /// Writes the tables that lack an evaluation. Where that takes long, several may have ended since.
    fn consolidate(&mut self) {
        let start = Instant::now();
        if start < self.next_table {
            return;
        }
        while let Some(session) = self.stale.pop_first() {
            if let Err(error) = consolidate(&self.sessions[session].evaluations, &self.observer) {
                self.fail(&error);
            }
            self.next_table = Instant::now() + start.elapsed().saturating_mul(TABLE_SHARE);
        }
    }

    /// Waits until something happens.
    fn wait(&mut self) {
        let mut pause = LOOK;
        if self.sessions.iter().any(|session| session.is_followed) {
            pause = pause.min(self.next_look.saturating_duration_since(Instant::now()));
        }
        if !self.stale.is_empty() {
            pause = pause.min(self.next_table.saturating_duration_since(Instant::now()));
        }
        self.pool.wait(pause, None);
    }

    /// Consolidates for the last time and says where that is.
    fn finish(mut self) -> Result<u8, Error> {
        self.progress.clear();
        let here = env::current_dir().unwrap_or_default();
        for number in 0..self.sessions.len() {
            let evaluations = &self.sessions[number].evaluations;
            if let Err(error) = consolidate(evaluations, &self.observer) {
                self.fail(&error);
                continue;
            }
            let path = evaluations.consolidated();
            if !self.args.json && path.exists() {
                let shown = path.strip_prefix(&here).unwrap_or(&path);
                self.out.line(&shown.to_string_lossy())?;
            }
        }
        if !self.is_heard {
            return Ok(Exit::Ok as u8);
        }
        self.out.finish()?;
        Ok(self.pool.ended_by().map_or(self.status, |signal| 128 + signal as u8))
    }
}
