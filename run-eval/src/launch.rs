//! `--slurm` and `--launch`: a job for each run evaluates its checkpoints, one after another. The submission is recorded
//! beside the evaluations, and removed by its job at the end.

use crate::cli::Args;
use crate::decide::Decision;
use crate::look::look;
use crate::options::Options;
use crate::report::Reporter;
use crate::session::Session;
use clap::CommandFactory;
use run_checkpoint::Watcher;
use run_common::cli::statuses::Ended;
use run_common::error::{Error, Exit};
use run_common::message::{complain, warn};
use run_common::process::identity::ProcessId;
use run_common::rundir::SCHEMA;
use run_common::rundir::attempts::JobStart;
use run_common::rundir::evaluations::Evaluations;
use run_common::rundir::launch::Launch;
use run_common::rundir::layout::Layout;
use run_common::rundir::observe::Observer;
use run_common::rundir::status::Status;
use run_common::time::Timestamp;
use run_launch::choice::Choice;
use run_launch::contract::{self, Answer, Known, Launcher, SLURM, Submitted};
use run_launch::hand_over::{hand_over, named};
use run_launch::inside::{Inside, of_launcher};
use run_launch::launcher::{launcher, used};
use run_launch::passed::passed_on;
use run_launch::used;
use std::collections::BTreeMap;
use std::env;
use std::path::Path;
use std::process;
use std::thread::sleep;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// Options of the submitting process, which a job does not get.
const KEPT: [&str; 10] =
    ["runs-dir", "jobs", "gpus", "null", "json", "slurm", "launch", "wait", "requeue", "job"];

/// The file for the messages of a job, beside the record of the submission.
const JOB_LOG: &str = "job.log";

/// Time that processes have to end, twice, after the grace: that of the evaluations.
const LINGER: f64 = 10.0;

/// How long a launcher may take to tell about jobs.
const ANSWER: Duration = Duration::from_secs(30);

/// How often `--wait` looks at the records, and asks the launcher about jobs.
const LOOK: Duration = Duration::from_millis(500);
const ASK: Duration = Duration::from_secs(10);

/// A run that is to be evaluated by a job.
struct Wanted {
    name: String,
    run_id: String,
    evaluations: Evaluations,
    job: contract::Job,
    launch: Launch,
}

impl Wanted {
    fn layout(&self) -> Layout {
        layout(&self.evaluations)
    }
}

/// Names the files of the submission of evaluations.
fn layout(evaluations: &Evaluations) -> Layout {
    Layout::of_evaluation(evaluations.root())
}

/// Submits a job for each run that has something to evaluate; returns how to exit.
pub(crate) fn submit(options: &Options, sessions: Vec<Session>, status: u8) -> Result<Ended, Error> {
    let Some(choice) = &options.launch else { return Ok(Ended::With(status)) };
    let mut status = status;
    let mut fail = |error: &Error| {
        complain(error);
        status = status.max(error.exit() as u8);
    };
    let submission = Uuid::now_v7().to_string();
    let queued = queued(&sessions)?;
    let mut wanted = Vec::new();
    for mut session in sessions {
        if let Some((job, state)) = queued.get(&session.meta.run_id) {
            warn(&format!("skipping '{}': job {job} {state}", session.meta.run_name));
            continue;
        }
        match has_work(&mut session, options, &mut fail) {
            Ok(true) => wanted.push(describe(options, choice, &session, &submission)?),
            Ok(false) => warn(&format!("'{}' has nothing to evaluate", session.meta.run_name)),
            Err(error) => fail(&error),
        }
    }
    if wanted.is_empty() {
        return Ok(Ended::With(status));
    }
    let launcher = launcher(&choice.name, &choice.args);
    let jobs: Vec<contract::Job> = wanted.iter().map(|one| one.job.clone()).collect();
    launcher.check(&jobs)?;
    let limits = launcher.limits()?;
    if choice.name != SLURM
        && let Err(error) = used::note(&choice.name, &choice.args)
    {
        complain(&error.hint("another run-eval will not ask the launcher about the jobs"));
    }
    for one in &wanted {
        one.launch.write(&one.layout())?;
    }
    let together = limits.array_max.unwrap_or(usize::MAX);
    let told = hand_over(launcher.as_ref(), &jobs, together, None).inspect_err(|_| {
        wanted.iter().for_each(take_back);
    })?;
    let (submitted, refused) = note(wanted, told);
    if let Some((count, why)) = refused {
        let noun = if count == 1 { "1 run was".to_owned() } else { format!("{count} runs were") };
        let error = Error::new(Exit::System, format!("{noun} not queued")).because(why);
        fail(&error.hint("the same command submits what is left"));
    }
    if options.waits {
        return Ok(Ended::With(status.max(wait(options, launcher.as_ref(), &submitted)?)));
    }
    Ok(Ended::With(status))
}

/// Says whether a run has checkpoints to evaluate, now or later.
fn has_work(session: &mut Session, options: &Options, fail: &mut impl FnMut(&Error)) -> Result<bool, Error> {
    let found = look(session, 0, options, &Observer::of_many(None), &mut Watcher::new())?;
    found.missing.iter().for_each(fail);
    let is_done = |decision: &Decision| matches!(decision, Decision::PassOver(_));
    Ok(options.follow && session.is_followed || !found.decisions.iter().all(is_done))
}

/// Returns the jobs of runs that are queued or being evaluated, and their states.
fn queued(sessions: &[Session]) -> Result<BTreeMap<String, (String, &'static str)>, Error> {
    let mut by_launcher = BTreeMap::<_, Vec<(String, String)>>::new();
    for session in sessions {
        if let Some(Launch { launcher, args, job: Some(job), .. }) =
            Launch::read(&layout(&session.evaluations))?
        {
            by_launcher.entry((launcher, args)).or_default().push((session.meta.run_id.clone(), job));
        }
    }
    let mut queued = BTreeMap::new();
    for ((name, args), jobs) in by_launcher {
        let ids: Vec<String> = jobs.iter().map(|(_, job)| job.clone()).collect();
        let Ok(launcher) = used(&name, &args, None) else { continue }; // somebody else has submitted them
        let answers = launcher.query(&ids, ANSWER)?;
        for ((run_id, job), Answer { state, .. }) in jobs.into_iter().zip(answers) {
            let words = match state {
                Known::Pending => "is pending",
                Known::Started => "evaluates it",
                Known::Gone | Known::Unknown => continue,
            };
            queued.insert(run_id, (job, words));
        }
    }
    Ok(queued)
}

/// Describes the job of a run.
fn describe(
    options: &Options,
    choice: &Choice,
    session: &Session,
    submission: &str,
) -> Result<Wanted, Error> {
    let program =
        env::current_exe().map_err(|error| Error::io("find", Path::new("/proc/self/exe"), error))?;
    let (passed, typed) = passed_on(&Args::command(), &KEPT, env::args_os());
    let mut command = vec![text(&program)?, format!("--job={submission}")];
    command.extend(passed);
    command.push(text(session.run.layout().root())?);
    command.push("--".to_owned());
    command.extend(if typed.is_empty() { options.command.clone() } else { typed });
    let cwd = env::current_dir().map_err(|error| Error::io("find", Path::new("."), error))?;
    let layout = layout(&session.evaluations);
    let name = session.meta.run_name.clone();
    let job = contract::Job {
        run_id: session.meta.run_id.clone(),
        name: layout.name(),
        command,
        cwd: text(&cwd)?,
        output: text(&layout.record().join(JOB_LOG))?,
        grace_s: options.grace.as_secs_f64() + LINGER,
        requeue: options.requeue,
        list: format!("evaluations: {}", options.label),
        at_once: options.slots.given(),
        list_output: layout.root().parent().map(|all| text(&all.join(format!(".{JOB_LOG}")))).transpose()?,
        after: None,
    };
    let launch = Launch {
        schema: SCHEMA,
        run_id: session.meta.run_id.clone(),
        submission: submission.to_owned(),
        launcher: choice.name.clone(),
        args: choice.args.clone(),
        job: None,
        list: None,
        time: Timestamp::now(),
        submitter: ProcessId::myself(),
        kill_wait_s: None,
        requeue: options.requeue,
        restart_ok: true,
        resubmitted: 0,
        resubmit_time: None,
        attempts: 0,
    };
    let (run_id, evaluations) = (session.meta.run_id.clone(), session.evaluations.clone());
    Ok(Wanted { name, run_id, evaluations, job, launch })
}

fn text(path: &Path) -> Result<String, Error> {
    let text = path.to_str().map(str::to_owned);
    text.ok_or_else(|| Error::usage(format!("cannot submit '{}': it is not UTF-8", path.display())))
}

/// Records the outcome of the submission; returns the runs that have jobs, and how many were refused, and why.
fn note(wanted: Vec<Wanted>, told: Vec<Submitted>) -> (Vec<Wanted>, Option<(usize, String)>) {
    let mut submitted: Vec<Wanted> = Vec::new();
    let mut refused = None;
    for (mut one, told) in wanted.into_iter().zip(told) {
        if told.job.is_none() {
            take_back(&one);
            let count = refused.map_or(1, |(count, _)| count + 1);
            refused = Some((count, told.error.unwrap_or_else(|| "the launcher does not say why".to_owned())));
            continue;
        }
        one.launch.job = told.job;
        // The job may have ended already.
        if let Err(error) = if is_open(&one) { one.launch.write(&one.layout()) } else { Ok(()) } {
            complain(&error);
        }
        submitted.push(one);
    }
    let ids: Vec<&str> = submitted.iter().filter_map(|one| one.launch.job.as_deref()).collect();
    let runs = if ids.len() == 1 { "run" } else { "runs" };
    if !ids.is_empty() {
        warn(&format!("queued the evaluations of {} {runs}: {}", ids.len(), named(&ids)));
    }
    (submitted, refused)
}

fn take_back(one: &Wanted) {
    if let Err(error) = Launch::remove(&one.layout()) {
        complain(&error);
    }
}

/// Says whether the job of a submission has not ended.
fn is_open(one: &Wanted) -> bool {
    let now = Launch::read(&one.layout()).ok().flatten();
    now.is_some_and(|now| now.submission == one.launch.submission)
}

/// Waits until all jobs have ended, and prints the tables; returns the exit status.
fn wait(options: &Options, launcher: &dyn Launcher, all: &[Wanted]) -> Result<u8, Error> {
    let mut left: Vec<(&Wanted, bool)> = all.iter().map(|one| (one, false)).collect();
    let (mut asked, mut status) = (Instant::now(), 0);
    while !left.is_empty() {
        sleep(LOOK);
        left.retain(|(one, _)| is_open(one));
        if asked.elapsed() < ASK || left.is_empty() {
            continue;
        }
        asked = Instant::now();
        let ids: Vec<String> = left.iter().filter_map(|(one, _)| one.launch.job.clone()).collect();
        let answers = match launcher.query(&ids, ANSWER) {
            Ok(answers) => answers,
            Err(error) => {
                complain(&error); // the records tell, too
                continue;
            }
        };
        // A record may come late: a job is lost if it is gone at two looks.
        left = left
            .into_iter()
            .zip(answers)
            .filter_map(|((one, was_gone), Answer { job, state, reason, .. })| {
                let is_gone = state == Known::Gone;
                if !(is_gone && was_gone && is_open(one)) {
                    return Some((one, is_gone));
                }
                let why = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
                warn(&format!("'{}': job {job} has ended without an end of its evaluations{why}", one.name));
                status = Exit::No as u8;
                None
            })
            .collect();
    }
    let (observer, mut reporter) = (Observer::of_many(None), Reporter::new(options.json));
    for one in all {
        for (dir, evaluation) in one.evaluations.all()? {
            let observed = observer.observe(&dir)?;
            if observed.status() != Status::Completed && evaluation.run_id == one.run_id {
                let why = observed.reason().map(|why| format!(": {why}")).unwrap_or_default();
                warn(&format!("'{}' {}: {}{why}", one.name, dir.layout().name(), observed.status()));
                status = Exit::No as u8;
            }
        }
        reporter.table(&one.evaluations)?;
    }
    reporter.finish()?;
    Ok(status)
}

/// Returns what to record of the job that evaluates a run, if one does.
pub(crate) fn job_of(options: &Options, session: &Session) -> Option<JobStart> {
    let launch = Launch::read(&layout(&session.evaluations)).ok().flatten();
    let launch = launch.filter(|launch| Some(&launch.submission) == options.submission.as_ref());
    match launch {
        Some(launch) if launch.launcher != SLURM => of_launcher(&launch),
        _ => Inside::find().map(|job| job.start),
    }
}

/// The job that this process is.
pub(crate) struct Job {
    layout: Layout,
    submission: String,
    inside: Option<Inside>,
    process: u32,
}

impl Job {
    /// Finds the submission of the job; `None` if its run was submitted again since.
    pub(crate) fn find(sessions: &[Session], submission: String) -> Result<Option<Self>, Error> {
        let [session] = sessions else { return Err(Error::usage("--job is for one run")) };
        let layout = layout(&session.evaluations);
        let launch = Launch::read(&layout)?;
        if launch.is_none_or(|launch| launch.submission != submission) {
            let name = &session.meta.run_name;
            warn(&format!("'{name}' was submitted again: there is nothing left for this job to do"));
            return Ok(None);
        }
        Ok(Some(Self { layout, submission, inside: Inside::find(), process: process::id() }))
    }

    /// Removes the submission, unless there is another one. Processes that were forked off do nothing.
    pub(crate) fn end(self) {
        if process::id() != self.process {
            return;
        }
        if let Some(inside) = self.inside {
            inside.clean();
        }
        let is_own = |launch: Launch| launch.submission == self.submission;
        if Launch::read(&self.layout).is_ok_and(|launch| launch.is_some_and(is_own))
            && let Err(error) = Launch::remove(&self.layout)
        {
            complain(&error);
        }
    }
}
