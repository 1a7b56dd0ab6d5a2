//! Looks for checkpoints to evaluate in a run.

use crate::cli::Pick;
use crate::decide::{Decision, decide};
use crate::job::Job;
use crate::options::{Options, Wanted};
use crate::select::select;
use crate::session::Session;
use run_checkpoint::{self, Checkpoint, Names, Program, UNNOTICED, Watcher};
use run_common::error::{Error, Exit};
use run_common::message::warn;
use run_common::process::identity::Place;
use run_common::rundir::observe::Observer;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Interval of looks at a followed run whose changes cannot be noticed from this host.
const ELSEWHERE: Duration = Duration::from_secs(1);

/// The result of a look at a run.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// Decisions about new checkpoints, in the order of their steps.
    pub(crate) decisions: Vec<Decision>,
    /// Errors for requested checkpoints that do not exist.
    pub(crate) missing: Vec<Error>,
}

/// Looks at the run of session `number`, if a look is due. A run that has ended gets a last look.
pub(crate) fn look(
    session: &mut Session,
    number: usize,
    options: &Options,
    observer: &Observer,
    watcher: &mut Watcher,
) -> Result<Findings, Error> {
    let start = Instant::now();
    let observed = observer.observe(&session.run)?;
    let has_ended = observed.status().has_ended();
    if !has_ended && !session.schedule.is_due(start) {
        return Ok(Findings::default());
    }
    let program = if has_ended { Program::Ended } else { Program::Lives };
    session.is_followed &= !has_ended || !session.pending.is_empty();
    let run = session.run.layout().root().to_owned();
    let recorded = session.meta.checkpoint.as_ref();
    let names = Names::below(session.run.layout(), recorded)?;
    let doubts = if session.seen.is_empty() { names.doubts() } else { Vec::new() };
    let is_latest = options.wanted.is_only(Pick::Latest);
    let all = if is_latest { names.latest(program) } else { names.checkpoints(program) };
    if session.is_followed {
        let is_new = watcher.watch(number, session.run.layout(), recorded, &all);
        let is_noticed = !is_new && observed.recorded.host() == Some(&Place::here().host);
        session.schedule.looked(start, Instant::now(), if is_noticed { UNNOTICED } else { ELSEWHERE });
    }
    let mut findings = Findings::default();
    let chosen = match &options.wanted {
        Wanted::Path(path, step) => vec![at_path(path, *step, &run, all, program)?],
        Wanted::Picks(picks) => {
            let is_empty = all.is_empty();
            let selection = select(picks, all);
            if !session.is_followed {
                let what = format!("cannot evaluate '{}'", run.display());
                let error = |why: String| {
                    let error = Error::new(Exit::BadRun, what.clone()).because(why);
                    match doubts.first() {
                        Some(doubt) if is_empty => error.hint(doubt.clone()),
                        _ => error,
                    }
                };
                findings.missing.extend(selection.missing.into_iter().map(error));
            }
            let doubts = doubts.into_iter().filter(|_| !is_empty).map(|doubt| format!(": {doubt}"));
            let left_out = selection.left_out.into_iter().map(|sentence| format!(" {sentence}"));
            for sentence in doubts.chain(left_out) {
                if !session.said.contains(&sentence) {
                    warn(&format!("'{}'{sentence}", session.meta.run_name));
                    session.said.insert(sentence);
                }
            }
            selection.checkpoints.into_iter().map(|one| (one, run.clone())).collect()
        }
    };
    for (checkpoint, root) in chosen {
        let job = Job::new(number, &run, checkpoint, root);
        let seen = (job.path(), job.checkpoint.step);
        if session.seen.contains(&seen) || session.pending.contains(&job.checkpoint.path) {
            continue;
        }
        session.pins.reach(&run, &job.checkpoint);
        if let Some(decision) = decide(session, job, options, program, observer) {
            session.seen.insert(seen);
            if let Decision::Evaluate(job) = &decision
                && !job.checkpoint.is_named
            {
                session.pending.insert(job.checkpoint.path.clone());
            }
            findings.decisions.push(decision);
        }
    }
    Ok(findings)
}

/// Returns the checkpoint at a path, below the run or anywhere, and the directory that its path is relative to.
fn at_path(
    given: &Path,
    step: Option<u64>,
    run: &Path,
    all: Vec<Checkpoint>,
    program: Program,
) -> Result<(Checkpoint, PathBuf), Error> {
    let here = std::path::absolute(given).unwrap_or_else(|_| given.to_owned());
    let paths = [here, run.join(given)];
    let listed = all.into_iter().find(|one| paths.contains(&run.join(&one.path)));
    let (mut one, root) = match listed {
        Some(one) => (one, run.to_owned()),
        None => {
            let path = paths.into_iter().find(|path| path.exists());
            let looked = path.and_then(|path| {
                let path = if path.file_name().is_none() { path.canonicalize().ok()? } else { path };
                Some((run_checkpoint::at(&path, program)?, path.parent()?.to_owned()))
            });
            looked.ok_or_else(|| {
                Error::new(Exit::BadRun, format!("no checkpoint '{}'", given.display()))
                    .because("no such file or directory, here or in the run")
            })?
        }
    };
    one.step = step.or(one.step);
    Ok((one, root))
}
