//! The directory and the record of one evaluation, before its command is executed.

use crate::aside::{forget_measured, set_aside};
use crate::job::Job;
use crate::options::Options;
use crate::session::Session;
use run_common::error::Error;
use run_common::fsio::atomic::{Durability, replace};
use run_common::fsio::write::make_dir;
use run_common::rundir::SCHEMA;
use run_common::rundir::attempts::Attempts;
use run_common::rundir::evaluation::Evaluation;
use run_common::rundir::meta::Meta;
use run_common::rundir::record::{ActiveRun, document};
use run_common::rundir::recorded::{AttemptState, Ended, Recorded, State};
use run_common::rundir::status::{Outcome, Status};
use run_common::time::Timestamp;
use serde::Serialize;
use std::path::Path;
use uuid::Uuid;

/// The directory of an evaluation that is about to begin.
pub(crate) struct Begun {
    pub(crate) active: ActiveRun,
    pub(crate) recorded: Recorded,
    pub(crate) evaluation: Evaluation,
    /// Number of earlier attempts.
    pub(crate) attempts: u32,
}

/// Claims the directory of an evaluation and records what is evaluated. Files of an earlier evaluation are
/// set aside.
pub(crate) fn begin(options: &Options, session: &Session, job: &Job) -> Result<Begun, Error> {
    let dir = session.evaluations.evaluation(&job.name);
    let layout = dir.layout().clone();
    for path in [layout.root(), &layout.record()] {
        make_dir(path).map_err(|error| Error::io("write to", path, error))?;
    }
    let active = dir.activate()?;
    let before = Attempts::read(&layout).map_err(|error| Error::io("read", &layout.attempts(), error))?;
    let attempts = before.last().map_or(0, |last| last.start.attempt);
    set_aside(&layout, attempts).map_err(|error| Error::io("move what is in", layout.root(), error))?;
    let evaluation = Evaluation {
        schema: SCHEMA,
        eval_id: Uuid::now_v7().to_string(),
        run_id: session.meta.run_id.clone(),
        run_name: session.meta.run_name.clone(),
        label: options.label.clone(),
        step: job.checkpoint.step,
        epoch: job.checkpoint.epoch,
        checkpoint: job.shown.clone(),
        content: job.content(),
        command: options.recorded_command.clone(),
        created: Timestamp::now(),
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let meta = Meta { total_steps: None, command: Some(evaluation.command.clone()), ..session.meta.clone() };
    let recorded = Recorded {
        run_id: evaluation.eval_id.clone(),
        run_name: layout.name(),
        created: evaluation.created,
        ..Recorded::created(&meta)
    };
    active.write(&recorded)?; // first, so that an old result is not mistaken for the new one
    forget_measured(&layout)?;
    write(&layout.meta(), &evaluation)?;
    Ok(Begun { active, recorded, evaluation, attempts })
}

/// Records that a checkpoint cannot be evaluated, unless an earlier evaluation exists.
pub(crate) fn refuse(options: &Options, session: &Session, job: &Job, why: &str) -> Result<(), Error> {
    let dir = session.evaluations.evaluation(&job.name);
    if Recorded::read(dir.layout()).is_ok_and(|before| before.status() == Status::Completed) {
        return Ok(());
    }
    let Begun { active, recorded, attempts, .. } = begin(options, session, job)?;
    let ended = Ended {
        attempt: (attempts > 0).then(|| AttemptState::new(attempts)),
        outcome: Outcome::Failed,
        reason: Some(why.to_owned()),
        time: Some(Timestamp::now()),
        exit_code: None,
        signal: None,
    };
    active.write(&Recorded { state: State::Ended(ended), ..recorded })
}

fn write<T: Serialize>(path: &Path, what: &T) -> Result<(), Error> {
    let written = document(what).and_then(|bytes| replace(path, &bytes, Durability::Process));
    written.map_err(|error| Error::io("write", path, error))
}
