//! Where another attempt goes on: the checkpoint, and how many steps there are to take.

use crate::cli::FromStep;
use crate::run::{Executed, Options};
use run_checkpoint::{Checkpoint, Label, Program, discover, discover_latest, latest, passed_over};
use run_common::error::{Error, Exit};
use run_common::message::warn;
use run_common::provenance::hash::sha256_of;
use run_common::rundir::attempts::Attempts;
use run_common::rundir::layout::Layout;
use run_common::rundir::meta::Meta;
use std::path::Path;

/// What an attempt resumes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Resume {
    /// The checkpoint, an absolute path, and its step.
    pub(crate) from: Option<(String, Option<u64>)>,
    /// Number of steps that the training is to take in all.
    pub(crate) total_steps: Option<u64>,
}

impl Resume {
    /// Begins at the beginning; an error where a checkpoint is asked for by its name.
    pub(crate) fn none(options: &Options, layout: &Layout, meta: &Meta) -> Result<Self, Error> {
        match options.from_step {
            FromStep::Latest => {
                Ok(Self { from: None, total_steps: options.additional_steps.or(meta.total_steps) })
            }
            FromStep::Step(_) | FromStep::Labelled(_) => {
                Err(Error::new(Exit::BadRun, format!("cannot resume '{}'", layout.root().display()))
                    .because("there was no attempt before")
                    .hint("without --from-step it starts from the beginning"))
            }
        }
    }

    /// Chooses the checkpoint of a run that was executed before; for a retry the latest that this run-exec
    /// has come to, if `--from-step` has left others behind. Says so when later ones, or all, are not
    /// complete.
    pub(crate) fn find(
        options: &Options,
        is_retry: bool,
        layout: &Layout,
        meta: &Meta,
    ) -> Result<Self, Error> {
        if !options.allow_config_change {
            refuse_changed_config(layout, meta)?;
        }
        let from = options.from_step;
        let additional_steps = options.additional_steps.filter(|_| !is_retry);
        let search = if from == FromStep::Latest { discover_latest } else { discover };
        let all = search(layout, meta.checkpoint.as_ref(), Program::Ended)?;
        let shown = layout.root().display();
        let has_branched = is_retry && from != FromStep::Latest;
        let is_own = |one: &&Checkpoint| has_branched && one.modified() >= options.begun;
        let own: Vec<Checkpoint> = all.iter().filter(is_own).cloned().collect();
        let chosen = match (newest(&own, meta, layout), from) {
            (Some(own), _) => Some(own),
            (None, FromStep::Latest) => newest(&all, meta, layout),
            (None, FromStep::Step(step)) => {
                let is_it = |one: &Checkpoint| one.step == Some(step);
                Some(the_one(&all, &format!("step {step}"), is_it, layout)?)
            }
            (None, FromStep::Labelled(label)) => {
                let is_it = |one: &Checkpoint| one.labels.contains(&label);
                Some(the_one(&all, &format!("'{}'", label.word()), is_it, layout)?)
            }
        };
        let step = chosen.and_then(|chosen| chosen.step);
        let is_later = |one: &&Checkpoint| one.is_complete() && step.is_some() && one.step > step;
        if let Some(later) = all.iter().rfind(is_later) {
            let path = later.path.display();
            warn(&format!(
                "'{path}' of '{shown}' is later, and stays: a resume from the latest would take it"
            ));
        }
        match (chosen, step) {
            (None, _) if !all.is_empty() => {
                warn(&format!("'{shown}' has no complete checkpoint to resume from"));
            }
            // Many programs save none, which is no news where runs are not resumed one by one.
            (None, _) if options.executed == Executed::Resume => {
                warn(&format!("'{shown}' starts from the beginning: it has no checkpoint"));
            }
            (Some(chosen), None) if additional_steps.is_some() => {
                let what = format!("cannot count steps from '{}' of '{shown}'", chosen.path.display());
                return Err(Error::new(Exit::BadRun, what).because("it does not say its step"));
            }
            _ => {}
        }
        let total_steps = match additional_steps {
            Some(more) => Some(
                step.unwrap_or(0)
                    .checked_add(more)
                    .ok_or_else(|| Error::usage("--additional-steps is too large"))?,
            ),
            // Not what the program itself said of the last attempt: it will say so again.
            None => given(layout)?.or(meta.total_steps),
        };
        let path = |chosen: &Checkpoint| layout.root().join(&chosen.path).to_string_lossy().into_owned();
        Ok(Self { from: chosen.map(|chosen| (path(chosen), chosen.step)), total_steps })
    }
}

/// Returns the number of steps that the last attempt was given.
fn given(layout: &Layout) -> Result<Option<u64>, Error> {
    let attempts = Attempts::read(layout).map_err(|error| Error::io("read", &layout.attempts(), error))?;
    Ok(attempts.last().and_then(|last| last.start.total_steps))
}

/// Returns the latest complete checkpoint, and says which were passed over.
fn newest<'a>(all: &'a [Checkpoint], meta: &Meta, layout: &Layout) -> Option<&'a Checkpoint> {
    let shown = layout.root().display();
    for (passed, why) in passed_over(all) {
        warn(&format!("passing over '{}' of '{shown}': {why}", passed.path.display()));
    }
    latest(all).or_else(|| {
        let chosen = without_step(all, meta)?;
        let path = chosen.path.display();
        warn(&format!("'{shown}' has no complete checkpoint with a step; resuming from '{path}'"));
        Some(chosen)
    })
}

/// Returns the checkpoint that a program without steps goes on from: the one that it overwrites, by its name
/// or because it alone was recorded.
fn without_step<'a>(all: &'a [Checkpoint], meta: &Meta) -> Option<&'a Checkpoint> {
    let pattern = meta.checkpoint.as_ref().and_then(|recorded| recorded.pattern.as_deref()).map(Path::new);
    let pattern = pattern.map(|pattern| pattern.strip_prefix(".").unwrap_or(pattern));
    let is_recorded = |one: &Checkpoint| Some(one.path.as_path()) == pattern;
    let is_newest = |one: &&Checkpoint| one.labels.contains(&Label::Last) || is_recorded(one);
    all.iter().filter(|one| one.is_complete() && one.step.is_none()).rfind(is_newest)
}

/// Returns the complete checkpoint that is `called` so; of several the last.
fn the_one<'a>(
    all: &'a [Checkpoint],
    called: &str,
    is_it: impl Fn(&Checkpoint) -> bool,
    layout: &Layout,
) -> Result<&'a Checkpoint, Error> {
    let what = format!("cannot resume '{}' from {called}", layout.root().display());
    match all.iter().filter(|one| is_it(one)).max_by_key(|one| one.is_complete()) {
        Some(found) if found.is_complete() => Ok(found),
        Some(found) => Err(Error::new(Exit::BadRun, what)
            .because(format!("'{}' is not complete", found.path.display()))
            .hint("run-status(1) says why, and lists the others")),
        None => Err(Error::new(Exit::BadRun, what)
            .because("there is no such checkpoint")
            .hint("run-status(1) lists those that there are")),
    }
}

/// Refuses a run whose config is not the one that was recorded: what would go on is another training.
fn refuse_changed_config(layout: &Layout, meta: &Meta) -> Result<(), Error> {
    let (Some(file), Some(recorded)) = (&meta.config_file, &meta.config_sha256) else { return Ok(()) };
    let path = layout.root().join(file);
    let now = sha256_of(&path).map_err(|error| Error::io("read", &path, error))?;
    if now == *recorded {
        return Ok(());
    }
    Err(Error::new(Exit::BadRun, format!("cannot resume '{}'", layout.root().display()))
        .because(format!("'{file}' in it was changed since the run was created"))
        .hint("--allow-config-change resumes it all the same; run-new makes another run"))
}
