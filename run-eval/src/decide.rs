//! Decides about a selected checkpoint: evaluate it now, use an earlier result, or record a failure.

use crate::cli::Pick;
use crate::copy::Method;
use crate::job::Job;
use crate::options::Options;
use crate::select::sentence;
use crate::session::Session;
use run_checkpoint::{Checkpoint, Program, State, look_again};
use run_common::error::plain;
use run_common::message::warn;
use run_common::provenance::redact::redact_command;
use run_common::rundir::evaluation::Evaluation;
use run_common::rundir::observe::Observer;
use run_common::rundir::status::Status;

/// The decision about a checkpoint.
#[derive(Debug)]
pub(crate) enum Decision {
    /// Evaluate it.
    Evaluate(Job),
    /// It cannot be evaluated, for this reason.
    Refuse(Job, String),
    /// It was evaluated before.
    PassOver(Job),
}

/// Decides about a checkpoint, and pins it for its evaluation; `None` to look again later.
pub(crate) fn decide(
    session: &Session,
    job: Job,
    options: &Options,
    program: Program,
    observer: &Observer,
) -> Option<Decision> {
    if !options.force && was_evaluated(session, &job, options, observer) {
        return Some(Decision::PassOver(job));
    }
    match &job.checkpoint.state {
        State::Complete if options.launch.is_some() => Some(Decision::Evaluate(job)), // its job pins it
        State::Complete => pin(session, job, program),
        State::Incomplete(_) if session.is_followed => None,
        State::Incomplete(why) if program == Program::Lives && !options.wanted.names_one() => {
            pass_over(session, &job, &sentence(why));
            None
        }
        State::Incomplete(why) => {
            let why = format!("the checkpoint is incomplete: {}", sentence(why));
            Some(Decision::Refuse(job, why))
        }
    }
}

fn pass_over(session: &Session, job: &Job, why: &str) {
    warn(&format!("skipping '{}' of '{}': {why}", job.shown, session.meta.run_name));
}

/// Pins a checkpoint, so that the trainer cannot change it before its evaluation.
fn pin(session: &Session, mut job: Job, program: Program) -> Option<Decision> {
    let is_own = job.root == session.run.layout().root();
    let Some(pins) = session.pins.for_checkpoint(&job.checkpoint).filter(|_| is_own) else {
        return Some(Decision::Evaluate(job));
    };
    let method = match (program, job.checkpoint.is_named) {
        (Program::Ended, _) => Method::Link,
        (Program::Lives, true) => Method::LinkOrCopy,
        (Program::Lives, false) => Method::Copy,
    };
    match pins.pin(&job.root, &job.checkpoint, method) {
        Ok(()) => {
            let recorded = session.meta.checkpoint.as_ref();
            let pinned = look_again(&pins.root(), &job.checkpoint, recorded, program);
            let is_same = |pinned: &Checkpoint| pinned.is_complete() && pinned.size == job.checkpoint.size;
            if pinned.as_ref().is_some_and(is_same) {
                job.root = pins.root();
                job.is_pinned = true;
                return Some(Decision::Evaluate(job));
            }
            pins.release(&job.checkpoint);
        }
        Err(_) if method == Method::Link => return Some(Decision::Evaluate(job)), // the run has ended: nothing will change it
        Err(error) if job.path().exists() => {
            let why = format!("the checkpoint cannot be pinned: {}", plain(&error));
            return Some(Decision::Refuse(job, why));
        }
        Err(_) => {}
    }
    // The checkpoint was deleted or changed before it was pinned.
    if !session.is_followed {
        pass_over(session, &job, "it was changed or deleted");
    }
    None
}

/// Returns whether the same content was evaluated by the same command.
fn was_evaluated(session: &Session, job: &Job, options: &Options, observer: &Observer) -> bool {
    let dir = session.evaluations.evaluation(&job.name);
    let Ok(before) = Evaluation::read(dir.layout()) else { return false };
    let Ok(observed) = observer.observe(&dir) else { return false };
    let has_result = match observed.status() {
        Status::Completed => true,
        Status::Failed => options.wanted.is_only(Pick::New),
        _ => false,
    };
    has_result
        && before.run_id == session.meta.run_id
        && before.checkpoint == job.shown
        && before.content == job.content()
        && redact_command(&before.command) == options.recorded_command
}
