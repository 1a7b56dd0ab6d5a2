//! Where another attempt resumes: the checkpoint, and the number of steps to train for.

use crate::cli::FromStep;
use crate::options::{Executed, Options};
use run_checkpoint::{Checkpoint, Label, Names, Program, latest, listed, passed_over, ties};
use run_common::error::{Error, Exit};
use run_common::message::warn;
use run_common::provenance::hash::sha256_of;
use run_common::rundir::attempts::Attempts;
use run_common::rundir::layout::Layout;
use run_common::rundir::meta::Meta;

/// The point that an attempt resumes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Resume {
    /// The checkpoint, an absolute path, and its step.
    pub(crate) from: Option<(String, Option<u64>)>,
    /// Total number of steps to train for.
    pub(crate) total_steps: Option<u64>,
}

impl Resume {
    /// Starts from the beginning; an error if a certain checkpoint is requested.
    pub(crate) fn none(options: &Options, layout: &Layout, meta: &Meta) -> Result<Self, Error> {
        match options.from_step {
            FromStep::Latest => {
                Ok(Self { from: None, total_steps: options.additional_steps.or(meta.total_steps) })
            }
            FromStep::Step(_) | FromStep::Labelled(_) => {
                Err(Error::new(Exit::BadRun, format!("cannot resume '{}'", layout.root().display()))
                    .because("no attempt has been made yet")
                    .hint("without --from-step it starts from the beginning"))
            }
        }
    }

    /// Chooses the checkpoint to resume from; for a retry, the latest that this run-exec has written, if
    /// `--from-step` has left later ones behind. Reports incomplete checkpoints that are later than the chosen
    /// checkpoint, and whether all are incomplete.
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
        let is_latest = from == FromStep::Latest;
        let names = Names::below(layout, meta.checkpoint.as_ref())?;
        let doubts = if is_latest { names.doubts() } else { Vec::new() };
        let all = if is_latest { names.latest(Program::Ended) } else { names.checkpoints(Program::Ended) };
        let shown = layout.root().display();
        let has_branched = is_retry && from != FromStep::Latest;
        let is_own = |one: &&Checkpoint| has_branched && one.modified() >= options.begun;
        let own: Vec<Checkpoint> = all.iter().filter(is_own).cloned().collect();
        let chosen = match (newest(&own, layout), from) {
            (Some(own), _) => Some(own),
            (None, FromStep::Latest) => newest(&all, layout),
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
        let order = chosen.and_then(Checkpoint::order);
        let is_later = |one: &&Checkpoint| one.is_complete() && order.is_some() && one.order() > order;
        if let Some(later) = all.iter().rfind(is_later) {
            let path = later.path.display();
            warn(&format!(
                "'{path}' of '{shown}' is later and is kept: a resume from the latest would use it"
            ));
        }
        if options.executed == Executed::Resume {
            for doubt in &doubts {
                warn(doubt);
            }
        }
        match (chosen, step) {
            (None, _) if !all.is_empty() => {
                warn(&format!("'{shown}' has no complete checkpoint to resume from"));
            }
            // Many programs save no checkpoints, so warn only if the run was resumed explicitly.
            (None, _) if options.executed == Executed::Resume => {
                warn(&format!("'{shown}' starts from the beginning: it has no checkpoint"));
            }
            (Some(chosen), step)
                if additional_steps.is_some() && (step.is_none() || chosen.epoch.is_some()) =>
            {
                let what = format!("cannot count steps from '{}' of '{shown}'", chosen.path.display());
                let why = match chosen.epoch {
                    Some(epoch) => {
                        format!("its step counts within epoch {epoch}, and steps restart in each epoch")
                    }
                    None => "its step is unknown".to_owned(),
                };
                return Err(Error::new(Exit::BadRun, what).because(why));
            }
            _ => {}
        }
        let total_steps = match additional_steps {
            Some(more) => Some(
                step.unwrap_or(0)
                    .checked_add(more)
                    .ok_or_else(|| Error::usage("--additional-steps is too large"))?,
            ),
            // Not the number that the program itself reported: it will report the number again.
            None => given(layout)?.or(meta.total_steps),
        };
        let path = |chosen: &Checkpoint| layout.root().join(&chosen.path).to_string_lossy().into_owned();
        Ok(Self { from: chosen.map(|chosen| (path(chosen), chosen.step)), total_steps })
    }
}

/// Returns the number of steps given to the last attempt.
fn given(layout: &Layout) -> Result<Option<u64>, Error> {
    let attempts = Attempts::read(layout).map_err(|error| Error::io("read", &layout.attempts(), error))?;
    Ok(attempts.last().and_then(|last| last.start.total_steps))
}

/// Returns the latest complete checkpoint, and reports skipped ones.
fn newest<'a>(all: &'a [Checkpoint], layout: &Layout) -> Option<&'a Checkpoint> {
    let shown = layout.root().display();
    for (passed, why) in passed_over(all) {
        warn(&format!("skipping '{}' of '{shown}': {why}", passed.path.display()));
    }
    let latest = latest(all).inspect(|latest| {
        let called = latest.count().map(|count| format!("the same {count}")).unwrap_or_default();
        say_others(ties(all, latest), latest, &called, layout);
    });
    latest.or_else(|| {
        let chosen = without_step(all)?;
        let path = chosen.path.display();
        warn(&format!("'{shown}' has no complete checkpoint with a step; resuming from '{path}'"));
        Some(chosen)
    })
}

/// Returns the checkpoint that a program without steps resumes from: the one that it overwrites.
fn without_step(all: &[Checkpoint]) -> Option<&Checkpoint> {
    all.iter()
        .filter(|one| one.is_complete() && one.step.is_none())
        .rfind(|one| one.labels.contains(&Label::Last))
}

/// Reports other checkpoints with the same name or step.
fn say_others<'a>(
    others: impl Iterator<Item = &'a Checkpoint>,
    chosen: &Checkpoint,
    called: &str,
    layout: &Layout,
) {
    let others = listed(others.map(|other| other.path.as_path()));
    if !others.is_empty() {
        let (path, shown) = (chosen.path.display(), layout.root().display());
        warn(&format!(
            "resuming from '{path}' of '{shown}', not from {others} of {called}; choose with --checkpoint"
        ));
    }
}

/// Returns the latest complete checkpoint that matches, and reports the others.
fn the_one<'a>(
    all: &'a [Checkpoint],
    called: &str,
    is_it: impl Fn(&Checkpoint) -> bool,
    layout: &Layout,
) -> Result<&'a Checkpoint, Error> {
    let what = format!("cannot resume '{}' from {called}", layout.root().display());
    let those = || all.iter().filter(|one| is_it(one));
    match those().max_by_key(|one| (one.is_complete(), one.order(), one.is_named)) {
        Some(found) if found.is_complete() => {
            let others = those().filter(|other| other.is_complete() && other.path != found.path);
            say_others(others.filter(|other| other.is_named >= found.is_named), found, called, layout);
            Ok(found)
        }
        Some(found) => Err(Error::new(Exit::BadRun, what)
            .because(format!("'{}' is not complete", found.path.display()))
            .hint("run-status(1) says why, and lists the others")),
        None => Err(Error::new(Exit::BadRun, what)
            .because("no such checkpoint")
            .hint("run-status(1) lists the checkpoints")),
    }
}

/// Refuses a run whose config has changed: the result would be a different training run.
fn refuse_changed_config(layout: &Layout, meta: &Meta) -> Result<(), Error> {
    let (Some(file), Some(recorded)) = (&meta.config_file, &meta.config_sha256) else { return Ok(()) };
    let path = layout.root().join(file);
    let now = sha256_of(&path).map_err(|error| Error::io("read", &path, error))?;
    if now == *recorded {
        return Ok(());
    }
    Err(Error::new(Exit::BadRun, format!("cannot resume '{}'", layout.root().display()))
        .because(format!("its '{file}' has changed since the run was created"))
        .hint("use --allow-config-change to resume anyway, or create a new run with run-new"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Args;
    use clap::Parser;
    use std::fs;
    use std::path::Path;
    use tempfile::TempDir;

    /// Makes a run with complete checkpoints of these names, and one that was cut.
    fn run(names: &[&str]) -> (TempDir, Layout) {
        let dir = TempDir::new().unwrap();
        for name in names {
            let checkpoint = dir.path().join("checkpoints").join(name);
            fs::create_dir_all(&checkpoint).unwrap();
            fs::write(checkpoint.join("state.json"), "{}").unwrap();
        }
        let cut = dir.path().join("checkpoints/step_900.pt");
        fs::create_dir_all(cut.parent().unwrap()).unwrap();
        fs::write(cut, b"PK\x03\x04").unwrap();
        let layout = Layout::new(dir.path());
        (dir, layout)
    }

    /// The name of a checkpoint, its step, and the total.
    type Found = (Option<String>, Option<u64>, Option<u64>);

    /// Returns what is found.
    fn found(names: &[&str], words: &[&str]) -> Result<Found, Exit> {
        let (_dir, layout) = run(names);
        let words =
            ["run-exec", "--resume", "--allow-config-change", "r"].into_iter().chain(words.iter().copied());
        let options = Options::resolve(&Args::parse_from(words)).unwrap();
        let meta = include_str!("../../tests/fixtures/0.1/runs/scraped/.run/meta.json");
        let meta = Meta { total_steps: Some(1000), ..serde_json::from_str(meta).unwrap() };
        let resume = Resume::find(&options, false, &layout, &meta).map_err(|error| error.exit())?;
        let name = |path: &str| Path::new(path).file_name().unwrap().to_string_lossy().into_owned();
        let (path, step) = resume.from.map_or((None, None), |(path, step)| (Some(name(&path)), step));
        Ok((path, step, resume.total_steps))
    }

    #[test]
    fn the_latest_complete_checkpoint_is_gone_on_from_or_the_one_that_is_asked_for() {
        let some = |name: &str, step, total| Ok((Some(name.to_owned()), Some(step), Some(total)));
        let names = ["step_40", "step_200", "step_120"];
        assert_eq!(found(&names, &[]), some("step_200", 200, 1000));
        assert_eq!(found(&names, &["--additional-steps", "50"]), some("step_200", 200, 250));
        assert_eq!(found(&names, &["--from-step", "120"]), some("step_120", 120, 1000));
        assert_eq!(found(&[], &[]), Ok((None, None, Some(1000))));
        assert_eq!(found(&[], &["--additional-steps", "50"]), Ok((None, None, Some(50))));
    }

    #[test]
    fn what_cannot_be_gone_on_from_is_refused() {
        for words in [["--from-step", "900"], ["--from-step", "41"], ["--from-step", "best"]] {
            assert_eq!(found(&["step_40"], &words), Err(Exit::BadRun), "{words:?}");
        }
        let most = u64::MAX.to_string();
        assert_eq!(found(&["step_40"], &["--additional-steps", &most]), Err(Exit::Usage));
    }
}
