//! Hands runs to a launcher: all are checked first, then recorded as queued, then submitted together.

use crate::attempt::Attempt;
use crate::held_run::{HeldRun, refuse};
use crate::launch::follow;
use crate::launch::passed::passed_on;
use crate::launch::waiting::{Caller, Waiting, Waits, top_up};
use crate::options::{Executed, Options};
use crate::plan::Plan;
use crate::queue::{Next, Queue};
use crate::settings::Settings;
use crate::tally::Tally;
use crate::unfinished::Left;
use run_common::cli::statuses::Ended;
use run_common::error::{Error, Exit};
use run_common::fsio::atomic::{Durability, sync_file_system};
use run_common::message::{complain, warn};
use run_common::pipeline::in_order;
use run_common::process::identity::ProcessId;
use run_common::rundir::SCHEMA;
use run_common::rundir::batch::BatchDir;
use run_common::rundir::launch::Launch;
use run_common::rundir::meta::Meta;
use run_common::rundir::observe::{Observed, Observer};
use run_common::rundir::open::RunDir;
use run_common::rundir::recorded::{Recorded, State};
use run_common::rundir::status::Status;
use run_common::time::Timestamp;
use run_launch::choice::Choice;
use run_launch::contract::{Job, Limits, SLURM, Submitted};
use run_launch::hand_over::{hand_over, named};
use run_launch::launcher::launcher;
use run_launch::settle::settle;
use run_launch::used;
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// Up to this number of runs each file is synced by itself; of more, the file system is.
const FEW: usize = 4;

/// The file in a run's record for the messages of its job.
pub(crate) const JOB_LOG: &str = "job.log";

/// A run that may be submitted.
struct Candidate {
    run: RunDir,
    meta: Meta,
    settings: Settings,
}

/// A run that is recorded as queued, and its previous record.
struct Handed {
    run: RunDir,
    before: Recorded,
    /// The submission before this one.
    launch_before: Option<Launch>,
    launch: Launch,
}

/// Submits the runs that the operands name; returns how to end.
pub(crate) fn submit(options: &Options) -> Result<Ended, Error> {
    let Some(choice) = &options.launch else { return Ok(Ended::With(0)) };
    let mut tally = Tally::new(false);
    let (candidates, lists) = candidates(options, &mut tally);
    for list in &lists {
        if let Err(error) = top_up(list, Caller::User) {
            complain(&error);
            tally.fail(error.exit());
        }
    }
    if candidates.is_empty() {
        return Ok(Ended::With(tally.status(None)));
    }
    let submission = Uuid::now_v7().to_string();
    let output = list_output(&candidates);
    let jobs = candidates.iter().map(|one| {
        let job = job(options, one, &submission, &candidates)?;
        Ok(Job { list_output: output.as_deref().map(text).transpose()?, ..job })
    });
    let jobs = jobs.collect::<Result<Vec<Job>, Error>>()?;
    let launcher = launcher(&choice.name, &choice.args);
    launcher.check(&jobs)?;
    let limits = launcher.limits()?;
    if choice.name != SLURM
        && let Err(error) = used::note(&choice.name, &choice.args)
    {
        complain(&error.hint("run-status and run-stop will not ask the launcher about the jobs"));
    }
    let (handed, jobs) = queue(options, choice, &submission, limits, candidates, jobs, &mut tally);
    if handed.is_empty() {
        return Ok(Ended::With(tally.status(None)));
    }
    sync(handed.iter().map(|one| &one.run)).inspect_err(|_| handed.iter().for_each(take_back))?;
    let room = jobs.len().min(limits.submit_max.unwrap_or(usize::MAX).max(1));
    let together = limits.array_max.unwrap_or(usize::MAX);
    let mut submitted = match hand_over(launcher.as_ref(), &jobs[..room], together, None) {
        Ok(submitted) => submitted,
        Err(error) => {
            handed.iter().for_each(take_back);
            return Err(error);
        }
    };
    let why = format!("the launcher takes {room} jobs");
    submitted.extend(jobs[room..].iter().map(|job| Submitted::refused(job, &why, true)));
    let (runs, list) = note(options, handed, jobs, submitted, &mut tally);
    if let Some(list) = &list
        && let Err(error) = top_up(list, Caller::Submitter)
    {
        complain(&error); // the jobs will try that again
    }
    if options.waits {
        return follow::follow(runs, tally, list);
    }
    Ok(Ended::With(tally.status(None)))
}

/// Finds the runs that can be submitted, and reports what is wrong with the others. Returns the lists of runs that wait
/// as well.
fn candidates(options: &Options, tally: &mut Tally) -> (Vec<Candidate>, BTreeSet<PathBuf>) {
    let observer = Observer::of_many(None);
    let mut named = Vec::new();
    let mut fail = |error: &Error| {
        complain(error);
        tally.fail(error.exit());
    };
    let mut queue = Queue::new(options);
    loop {
        match queue.next() {
            Next::Run(run) => named.push(run),
            Next::Failed(error) => fail(&error),
            Next::Again(words) => warn(&words),
            Next::Awaited => {
                if let Err(error) = queue.fill() {
                    fail(&error);
                }
            }
            Next::End => break,
        }
    }
    let mut observed = Vec::new();
    each(
        named,
        |run| observer.observe(&run),
        |run| match run {
            Ok(run) => observed.push(run),
            Err(error) => fail(&error),
        },
    );
    settle(&observer, observed.iter_mut());
    let (mut candidates, mut lists) = (Vec::new(), BTreeSet::new());
    let mut open = Vec::new();
    for run in observed {
        if run.status() == Status::Queued && options.executed == Executed::Unfinished {
            let launch = Launch::read(run.run.layout()).unwrap_or_default();
            lists.extend(launch.filter(|launch| launch.job.is_none()).and_then(|launch| launch.list));
            continue;
        }
        open.push(run);
    }
    each(
        open,
        |run| candidate(options, run),
        |found| match found {
            Ok(found) => candidates.extend(found),
            Err(error) => fail(&error),
        },
    );
    (candidates, lists)
}

/// Does something with each run, by several threads if there are many runs: the runs may be on a network file system.
/// Passes the results on in the order of the runs.
fn each<T: Send, R: Send>(items: Vec<T>, work: impl Fn(T) -> R + Sync, mut take: impl FnMut(R)) {
    let take = |result| {
        take(result);
        Ok::<(), Infallible>(())
    };
    let Ok(()) = in_order(items, work, take);
}

/// Checks whether a run may be executed, and whether its execution is possible.
fn candidate(options: &Options, observed: Observed) -> Result<Option<Candidate>, Error> {
    if let Some(foreign) = observed.run.layout().foreign() {
        return Err(foreign.refuse("execute", &observed.run));
    }
    if observed.status() == Status::Queued {
        let shown = observed.run.layout().root().display();
        return Err(Error::new(Exit::Busy, format!("cannot submit '{shown}'"))
            .because(format!("it is queued already: {}", observed.reason().unwrap_or("it waits for its job")))
            .hint("run-stop(1) takes it out of the queue"));
    }
    if Left::of(options, &observed)?.is_some() {
        return Ok(None);
    }
    refuse(&observed, options.resumes(), options.take_over)?;
    let Observed { run, recorded, .. } = observed;
    let run = RunDir::at(&run.absolute())?;
    let meta = Meta::read(run.layout())?;
    let settings = Settings::of(options, &run);
    let attempt = Attempt {
        is_resume: options.resumes(),
        is_retry: false,
        gpu: Some("0".to_owned()), // any: others are where it will run
        free: None,
        settings: settings.clone(),
        retry: None,
        parent: None,
    };
    Plan::check(options, &attempt, &run, &meta, &recorded)?;
    Ok(Some(Candidate { run, meta, settings }))
}

/// Describes the job of a run to the launcher.
fn job(options: &Options, of: &Candidate, submission: &str, all: &[Candidate]) -> Result<Job, Error> {
    let program =
        env::current_exe().map_err(|error| Error::io("find", Path::new("/proc/self/exe"), error))?;
    let (passed, typed) = passed_on();
    let mut command = vec![text(&program)?, "--quiet".to_owned(), format!("--job={submission}")];
    command.extend(passed);
    let root = of.run.absolute();
    command.push(text(&root)?);
    if !typed.is_empty() {
        command.push("--".to_owned());
        command.extend(typed);
    }
    let first = all.first().map_or(&of.run, |first| &first.run);
    let list = BatchDir::of(first).map(|batch| batch.layout().name());
    Ok(Job {
        run_id: of.meta.run_id.clone(),
        name: of.run.layout().name(),
        command,
        cwd: text(&here()?)?,
        output: text(&of.run.layout().record().join(JOB_LOG))?,
        grace_s: of.settings.warning().as_secs_f64(),
        requeue: options.requeue,
        list: list.unwrap_or_else(|| format!("{} and {} more", first.layout().name(), all.len() - 1)),
        at_once: options.slots.given(),
        list_output: None,
        after: None,
    })
}

/// Returns the file for messages about all jobs, where all runs have one parent: any of the runs may be removed before the
/// last of them begins.
fn list_output(all: &[Candidate]) -> Option<PathBuf> {
    let roots = all.iter().map(|one| one.run.layout().root());
    let parents: BTreeSet<Option<&Path>> = roots.map(Path::parent).collect();
    let parent = parents.first().copied().flatten().filter(|_| parents.len() == 1)?;
    let batch = BatchDir::of(&all.first()?.run).map(|batch| batch.layout().record());
    Some(batch.map_or_else(|| parent.join(format!(".{JOB_LOG}")), |record| record.join(JOB_LOG)))
}

/// Returns the current directory.
pub(crate) fn here() -> Result<PathBuf, Error> {
    env::current_dir().map_err(|error| Error::io("find", Path::new("."), error))
}

/// Returns a path, or another word of a command line, as the text that a launcher needs.
pub(crate) fn text(path: &Path) -> Result<String, Error> {
    let text = path.to_str().map(str::to_owned);
    text.ok_or_else(|| Error::usage(format!("cannot submit '{}': it is not UTF-8", path.display())))
}

/// Records runs as queued. Leaves out runs that other processes have taken meanwhile.
fn queue(
    options: &Options,
    choice: &Choice,
    submission: &str,
    limits: Limits,
    candidates: Vec<Candidate>,
    jobs: Vec<Job>,
    tally: &mut Tally,
) -> (Vec<Handed>, Vec<Job>) {
    let mut taken = (Vec::new(), Vec::new());
    let durability = durability(candidates.len());
    let queue = |(candidate, job): (Candidate, Job)| {
        let held = HeldRun::take(&candidate.run, options)?;
        let launch = Launch {
            schema: SCHEMA,
            run_id: held.recorded.run_id.clone(),
            submission: submission.to_owned(),
            launcher: choice.name.clone(),
            args: choice.args.clone(),
            job: None,
            list: None,
            time: Timestamp::now(),
            submitter: ProcessId::myself(),
            kill_wait_s: limits.kill_wait_s,
            requeue: options.requeue,
            restart_ok: options.restart_ok,
            resubmitted: 0,
            resubmit_time: None,
            attempts: held.recorded.attempts(),
        };
        let launch_before = Launch::read(held.layout()).unwrap_or_default();
        queue_one(options, &held, &launch, durability)?;
        Ok((Handed { run: candidate.run, before: held.recorded, launch_before, launch }, job))
    };
    let pairs = candidates.into_iter().zip(jobs).collect();
    each(pairs, queue, |queued: Result<(Handed, Job), Error>| match queued {
        Ok((handed, job)) => {
            taken.0.push(handed);
            taken.1.push(job);
        }
        Err(error) => {
            complain(&error);
            tally.fail(error.exit());
        }
    });
    taken
}

fn queue_one(
    options: &Options,
    held: &HeldRun,
    launch: &Launch,
    durability: Durability,
) -> Result<(), Error> {
    let stop = held.layout().stop();
    if stop.symlink_metadata().is_ok() {
        if !options.resumes() {
            return Err(held.refuse_stopped());
        }
        fs::remove_file(&stop).map_err(|error| Error::io("remove", &stop, error))?;
    }
    launch.write_as(held.layout(), durability)?;
    held.active.queue(&held.recorded, held.died.clone(), None, durability)
}

/// Records the outcome of the submission; returns the runs that have jobs or wait for them, and the list of those that
/// wait, if there are some.
fn note(
    options: &Options,
    handed: Vec<Handed>,
    jobs: Vec<Job>,
    submitted: Vec<Submitted>,
    tally: &mut Tally,
) -> (Vec<RunDir>, Option<PathBuf>) {
    let (mut sent, mut waits) = (Vec::new(), Vec::new());
    let mut refused: Option<(usize, String)> = None;
    // Somebody has to submit those that wait: a job, or this process.
    let is_followed = options.waits || submitted.iter().any(|told| told.job.is_some());
    for ((one, job), told) in handed.into_iter().zip(jobs).zip(submitted) {
        match told {
            Submitted { job: Some(id), .. } => sent.push((one, id)),
            Submitted { full: true, .. } if is_followed => waits.push((one, job)),
            Submitted { error, .. } => {
                take_back(&one);
                let why = error.unwrap_or_else(|| "the launcher does not say why".to_owned());
                refused = Some((refused.map_or(1, |(count, _)| count + 1), why));
            }
        }
    }
    let list = match keep(&sent, &waits) {
        Ok(list) => list,
        Err(error) => {
            complain(&error);
            tally.fail(error.exit());
            waits.drain(..).for_each(|(one, _)| take_back(&one));
            None
        }
    };
    let ids: Vec<String> = sent.iter().map(|(_, id)| id.clone()).collect();
    if !options.quiet {
        say(&ids, waits.len());
    }
    let durability = durability(sent.len() + waits.len());
    let sent = sent.into_iter().map(|(one, id)| (one, Some(id)));
    let all = sent.chain(waits.into_iter().map(|(one, _)| (one, None)));
    let mut runs = Vec::new();
    let write = |(one, job): (Handed, Option<String>)| {
        let launch = Launch { job, list: list.clone(), ..one.launch };
        if let Err(error) = launch.write_as(one.run.layout(), durability) {
            complain(&error); // the job will say so itself
        }
        one.run
    };
    each(all.collect(), write, |run| runs.push(run));
    if let Err(error) = sync(runs.iter()) {
        complain(&error);
    }
    if let Some((count, why)) = refused {
        let noun = if count == 1 { "1 run was".to_owned() } else { format!("{count} runs were") };
        let error = Error::new(Exit::System, format!("{noun} not queued")).because(why);
        complain(&error.hint("the same command with --unfinished submits what is left"));
        tally.fail(Exit::System);
    }
    (runs, list)
}

/// Returns how the records of a number of runs are written.
fn durability(runs: usize) -> Durability {
    if runs > FEW { Durability::Process } else { Durability::Power }
}

/// Has the records of runs survive a power cut, unless each was synced by itself.
fn sync<'a>(runs: impl Iterator<Item = &'a RunDir>) -> Result<(), Error> {
    let runs: Vec<&RunDir> = runs.collect();
    if durability(runs.len()) == Durability::Power {
        return Ok(());
    }
    let parents: BTreeSet<&Path> = runs.iter().filter_map(|run| run.layout().root().parent()).collect();
    let one = |parent: &Path| sync_file_system(parent).map_err(|error| Error::io("sync", parent, error));
    parents.into_iter().try_for_each(one)
}

/// Keeps the list of runs that wait; returns the run that has it.
fn keep(sent: &[(Handed, String)], waits: &[(Handed, Job)]) -> Result<Option<PathBuf>, Error> {
    let Some((first, _)) = waits.first() else { return Ok(None) };
    let root = |handed: &Handed| handed.run.layout().root().to_owned();
    let runs =
        waits.iter().map(|(one, job)| Waits::new(root(one), one.launch.submission.clone(), job.clone()));
    let roots = sent.iter().map(|(one, _)| root(one)).collect();
    let last = sent.last().map(|(_, id)| id.clone());
    Waiting::keep(&first.launch, roots, runs.collect(), last).map(Some)
}

/// Says which jobs runs have got, and how many runs wait.
fn say(ids: &[String], waits: usize) {
    let noun = |count: usize| if count == 1 { "1 run".to_owned() } else { format!("{count} runs") };
    let all = noun(ids.len() + waits);
    let jobs = if ids.is_empty() { String::new() } else { format!(": {}", named(ids)) };
    match waits {
        0 if ids.is_empty() => {}
        0 => warn(&format!("queued {all}{jobs}")),
        _ => warn(&format!("queued {all}{jobs}; {waits} wait until the launcher takes more jobs")),
    }
}

/// Restores the previous record of a run that has got no job. One that it gets all the same finds nothing to do.
fn take_back(handed: &Handed) {
    let is_its_own = |recorded: &Recorded| {
        let launch = Launch::read(handed.run.layout()).ok().flatten();
        matches!(recorded.state, State::Queued(_))
            && launch.is_some_and(|launch| launch.submission == handed.launch.submission)
    };
    let written = handed.run.clone().activate().and_then(|active| {
        let now = Recorded::read(active.layout())?;
        if !is_its_own(&now) {
            return Ok(());
        }
        active.write(&handed.before)?;
        match &handed.launch_before {
            Some(launch) => launch.write(active.layout()),
            None => Launch::remove(active.layout()),
        }
    });
    if let Err(error) = written {
        complain(&error);
    }
}
