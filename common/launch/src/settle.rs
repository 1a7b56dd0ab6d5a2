//! Determines the state of runs whose records are not enough: runs that wait for a job, and runs whose job is
//! not visible from here. Asks about all of them at once.

use crate::cache::{Asked, Told, ask};
use crate::contract::{Answer, Known, SLURM};
use crate::ending::{NOT_AGAIN, is_of_scheduler};
use crate::launcher::of_query;
use run_common::fsio::read_small;
use run_common::message::warn;
use run_common::pipeline::in_order;
use run_common::process::identity::Life;
use run_common::rundir::launch::{FREE_GPUS, Launch};
use run_common::rundir::layout::Layout;
use run_common::rundir::observe::{Observed, Observer, Verdict};
use run_common::rundir::recorded::{Queued, State};
use run_common::rundir::status::Status;
use run_common::time::Timestamp;
use serde::Deserialize;
use std::collections::{BTreeMap, HashSet};
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread;

/// A run is dead if two looks, this many seconds apart, find its job gone: its record may arrive late.
const SECOND_LOOK: f64 = 60.0;

/// Seconds after which a submission without progress counts as interrupted, if its process is not visible.
const LONGEST_SUBMISSION: f64 = 900.0;

/// Seconds after the end of an attempt during which its job may be started again without a note in the record.
const RESTART: f64 = 86400.0;

/// Returns whether the state of a run depends on its launcher.
pub fn needs_launcher(run: &Observed) -> bool {
    match run.status() {
        _ if run.run.layout().foreign().is_some() => false,
        Status::Queued => true,
        Status::Stale => run.is_elsewhere() && run.leftovers.is_empty(),
        // Its job may be started again.
        Status::Dead => matches!(run.recorded.state, State::Running(_)),
        Status::Stopped | Status::Failed => {
            let is_recent = run.end_time().is_some_and(|end| Timestamp::now().seconds_since(end) < RESTART);
            is_recent && run.reason().is_some_and(|why| is_of_scheduler(why) && !why.contains(NOT_AGAIN))
        }
        _ => false,
    }
}

/// Asks the launchers of runs about their jobs, and determines the state of the runs. Runs with sufficient
/// records stay as they are.
pub fn settle<'a>(observer: &Observer, runs: impl IntoIterator<Item = &'a mut Observed>) {
    let mut runs: Vec<&mut Observed> = runs.into_iter().filter(|run| needs_launcher(run)).collect();
    // By launcher and arguments: the indices of runs, and their submissions.
    let mut asked = BTreeMap::<_, Vec<(usize, Launch)>>::new();
    // By list of runs that wait until a launcher takes more jobs: its last job; and all runs of these lists.
    let (mut lists, mut waiting) = (BTreeMap::<PathBuf, Option<String>>::new(), HashSet::new());
    let mut launches = Vec::new();
    let layouts: Vec<&Layout> = runs.iter().map(|run| run.run.layout()).collect();
    let Ok(()) = in_order(layouts, Launch::read, |launch| {
        launches.push(launch);
        Ok::<(), Infallible>(())
    });
    for ((at, run), launch) in runs.iter_mut().enumerate().zip(launches) {
        match launch {
            Ok(Some(launch)) if launch.run_id == run.recorded.run_id => {
                if run.status().has_ended() && !launch.requeue {
                    continue;
                }
                if launch.job.is_some() {
                    asked
                        .entry((launch.launcher.clone(), of_query(&launch.launcher, &launch.args)))
                        .or_default()
                        .push((at, launch));
                } else if let Some(list) = launch.list.clone().filter(|_| run.status() == Status::Queued) {
                    wait_for_room(run, &launch, &list);
                    let last = lists.entry(list).or_insert_with_key(|list| last_job(list)).clone();
                    if run.status() == Status::Queued && last.is_some() {
                        asked
                            .entry((launch.launcher.clone(), of_query(&launch.launcher, &launch.args)))
                            .or_default()
                            .push((at, Launch { job: last, ..launch }));
                        waiting.insert(at);
                    }
                } else {
                    unsubmitted(run, &launch);
                }
            }
            _ if run.status() == Status::Queued => {
                run.verdict = Verdict::Dead("nothing is recorded of its job".to_owned());
            }
            _ => {}
        }
    }
    for (of_launcher, answers) in answers_of(asked) {
        if let Some(why) = &answers.failure {
            say_once(why);
        }
        for (at, launch) in of_launcher {
            let (Some(run), Some(job)) = (runs.get_mut(at), launch.job) else { continue };
            let told = answers.told.get(&job).filter(|_| answers.failure.is_none());
            if !waiting.contains(&at) {
                conclude(observer, run, &job, told);
            } else if told.is_some_and(|told| told.answer.state == Known::Gone && told.gone_s >= SECOND_LOOK)
            {
                let reason = run.reason().unwrap_or_default().to_owned();
                wait(run, format!("{reason}; its last job, {job}, has ended: submit it with --unfinished"));
            }
        }
    }
}

/// Runs that one launcher is asked about, by index, and their submissions.
type OfLauncher = Vec<(usize, Launch)>;

/// Asks all launchers at once, by their names and arguments: several that are silent cost no more time than one.
fn answers_of(asked: BTreeMap<(String, Vec<String>), OfLauncher>) -> Vec<(OfLauncher, Asked)> {
    let jobs = |runs: &OfLauncher| -> Vec<String> {
        runs.iter().filter_map(|(_, launch)| launch.job.clone()).collect()
    };
    thread::scope(|scope| {
        let asking: Vec<_> = asked
            .into_iter()
            .map(|((name, args), runs)| {
                let jobs = jobs(&runs);
                (runs, scope.spawn(move || ask(&name, &args, &jobs)))
            })
            .collect();
        asking.into_iter().filter_map(|(runs, answer)| Some((runs, answer.join().ok()?))).collect()
    })
}

/// Reports why a launcher does not answer, once.
fn say_once(why: &str) {
    static SAID: Mutex<Option<HashSet<String>>> = Mutex::new(None);
    let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
    if said.get_or_insert_default().insert(why.to_owned()) {
        warn(&format!("{why}; what is shown of queued runs is what is recorded"));
    }
}

/// Determines the state of a run that waits in a list until its launcher takes more jobs.
fn wait_for_room(run: &mut Observed, launch: &Launch, list: &Path) {
    let is_there = Layout::new(list).waiting().symlink_metadata().is_ok();
    // The last runs of a list may just have got their jobs.
    let has_job = || Launch::read(run.run.layout()).is_ok_and(|now| now.is_some_and(|now| now.job.is_some()));
    if is_there || has_job() {
        let name = if launch.launcher == SLURM { "Slurm" } else { &launch.launcher };
        wait(run, format!("waits until {name} takes more jobs"));
    } else {
        run.verdict = Verdict::Dead("the list with its job is gone".to_owned());
    }
}

/// Returns the last submitted job of a list of waiting runs.
fn last_job(list: &Path) -> Option<String> {
    #[derive(Deserialize)]
    struct List {
        last: Option<String>,
    }
    let bytes = read_small(&Layout::new(list).waiting()).ok()?;
    serde_json::from_slice::<List>(&bytes).ok()?.last
}

/// Determines the state of a run without a job.
fn unsubmitted(run: &mut Observed, launch: &Launch) {
    let is_over = match launch.submitter.life() {
        Life::Alive(_) => false,
        Life::Gone => true,
        Life::Unseen => {
            let time = launch.resubmit_time.unwrap_or(launch.time);
            Timestamp::now().seconds_since(time) > LONGEST_SUBMISSION
        }
    };
    let waits_for_gpus = launch.launcher == FREE_GPUS;
    match run.status() {
        Status::Queued if is_over && waits_for_gpus => {
            run.verdict = Verdict::Dead("run-exec was killed while it waited for free GPUs".to_owned());
        }
        Status::Queued if is_over => {
            run.verdict = Verdict::Dead("its submission was interrupted".to_owned());
        }
        Status::Queued if !waits_for_gpus => wait(run, "is being submitted".to_owned()),
        _ => {} // the record has the reason for waiting
    }
}

/// Marks a run as queued, for this reason.
fn wait(run: &mut Observed, reason: String) {
    let attempt = run.recorded.attempt().cloned();
    run.recorded.state = State::Queued(Queued { attempt, reason: Some(reason) });
    run.verdict = Verdict::Holds;
}

fn conclude(observer: &Observer, run: &mut Observed, job: &str, told: Option<&Told>) {
    let was_queued = run.status() == Status::Queued;
    let had_ended = run.status().has_ended();
    let ended_by = run.recorded.ended().and_then(|ended| ended.reason.clone());
    let Some(Told { answer: Answer { state, reason, start, .. }, gone_s }) = told else {
        if was_queued {
            wait(run, format!("job {job}"));
        } else if let Some(why) = ended_by
            && run.end_time().is_some_and(|end| Timestamp::now().seconds_since(end) < LONGEST_SUBMISSION)
        {
            wait(run, format!("{why}; job {job} may start again"));
        }
        return;
    };
    let why = reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
    match state {
        Known::Pending => {
            let start =
                start.map(|start| format!(", expected to start {}", start.local())).unwrap_or_default();
            wait(run, format!("job {job} is pending{why}{start}"));
        }
        Known::Started if was_queued => wait(run, format!("job {job} is starting")),
        Known::Unknown if was_queued => wait(run, format!("job {job}")),
        Known::Started | Known::Unknown => {
            if let Some(why) = ended_by {
                wait(run, format!("{why}; job {job} may start again"));
            }
        }
        Known::Gone if had_ended => {}
        Known::Gone => {
            // The run may have started or ended since the last look.
            if let Ok(again) = observer.observe(&run.run) {
                let has_changed = again.status() != run.status();
                *run = again;
                if has_changed {
                    return;
                }
            }
            if *gone_s >= SECOND_LOOK {
                let what = if was_queued { "ended without starting the run" } else { "is gone" };
                run.verdict = Verdict::Dead(format!("job {job} {what}{why}"));
            } else if was_queued {
                wait(run, format!("job {job} has ended{why}, and the run has not begun"));
            }
        }
    }
}
