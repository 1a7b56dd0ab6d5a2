//! Selects checkpoints of a run by the words of `--steps`.

use crate::cli::Pick;
use run_checkpoint::{Checkpoint, Label, latest, listed, passed_over, ties};
use std::collections::BTreeMap;
use std::path::Path;

/// The selected checkpoints of a run.
#[derive(Debug)]
pub(crate) struct Selection {
    /// In the order in which they were listed.
    pub(crate) checkpoints: Vec<Checkpoint>,
    /// A sentence for each requested checkpoint that does not exist.
    pub(crate) missing: Vec<String>,
    /// A sentence for each choice among several checkpoints of the same step.
    pub(crate) left_out: Vec<String>,
}

/// Selects checkpoints from all of a run, which are in the order of their steps.
pub(crate) fn select(picks: &[Pick], all: Vec<Checkpoint>) -> Selection {
    // Of several with the same step, prefer one with the step in its name, then a complete one, then the last.
    let rank = |at: usize| (all[at].is_named, all[at].is_complete(), at);
    let mut steps: BTreeMap<(u64, u64), usize> = BTreeMap::new();
    for (at, one) in all.iter().enumerate() {
        if let Some(order) = one.order() {
            let known = steps.entry(order).or_insert(at);
            if rank(at) > rank(*known) {
                *known = at;
            }
        }
    }
    let mut wanted: Vec<usize> = Vec::new();
    let mut missing = Vec::new();
    for pick in picks {
        match pick {
            Pick::All | Pick::New => wanted.extend(steps.values()),
            Pick::Latest => {
                let order = latest(&all).and_then(Checkpoint::order);
                let is_it = |one: &Checkpoint| order.is_some() && one.order() == order && one.is_complete();
                wanted.extend((0..all.len()).filter(|&at| is_it(&all[at])).max_by_key(|&at| rank(at)));
            }
            Pick::Step(step) => {
                let before = wanted.len();
                wanted.extend(steps.iter().filter(|((_, known), _)| known == step).map(|(_, at)| *at));
                if wanted.len() == before {
                    missing.push(format!("no checkpoint has step {step}"));
                }
            }
            Pick::Labelled(label) => match labelled(&all, *label) {
                Some(at) => wanted.push(at),
                None => missing.push(format!("no checkpoint is called '{}'", label.word())),
            },
        }
    }
    let is_open = |pick: &Pick| matches!(pick, Pick::All | Pick::Latest | Pick::New);
    if wanted.is_empty() && picks.iter().any(is_open) {
        // A program that overwrites its only checkpoint may not record a step.
        match labelled(&all, Label::Last).filter(|_| steps.is_empty()) {
            Some(at) => wanted.push(at),
            None => missing.push(why_nothing(&all)),
        }
    }
    wanted.sort_unstable();
    wanted.dedup();
    let left_out = wanted.iter().filter_map(|&at| left_out(&all, &all[at])).collect();
    let mut all: Vec<Option<Checkpoint>> = all.into_iter().map(Some).collect();
    let checkpoints = wanted.into_iter().filter_map(|at| all[at].take()).collect();
    Selection { checkpoints, missing, left_out }
}

/// Returns the last checkpoint with this label, a complete one if possible.
fn labelled(all: &[Checkpoint], label: Label) -> Option<usize> {
    let those = all.iter().enumerate().filter(|(_, one)| one.labels.contains(&label));
    those.max_by_key(|(at, one)| (one.is_complete(), *at)).map(|(at, _)| at)
}

/// Returns a sentence about checkpoints with the same step as the selected one.
fn left_out(all: &[Checkpoint], one: &Checkpoint) -> Option<String> {
    let others: Vec<&Path> = ties(all, one).map(|other| other.path.as_path()).collect();
    let count = one.count().filter(|_| !others.is_empty())?;
    let (path, others) = (one.path.display(), listed(others.into_iter()));
    Some(format!(
        "has several checkpoints at {count}: evaluating '{path}', not {others}; choose with --checkpoint"
    ))
}

/// Returns why `all`, `new` or `latest` select nothing.
fn why_nothing(all: &[Checkpoint]) -> String {
    if all.is_empty() {
        return "there are no checkpoints".to_owned();
    }
    match passed_over(all).max_by_key(|(one, _)| one.order()) {
        Some((one, why)) => {
            let (path, why) = (one.path.display(), sentence(why));
            format!("no complete checkpoint has a step; skipping '{path}': {why}")
        }
        None => "no checkpoint has a step; try --steps final, best or last".to_owned(),
    }
}

/// Returns a sentence that says why a checkpoint, or a file in it, is incomplete.
pub(crate) fn sentence(why: &str) -> String {
    if why.starts_with('\'') { why.to_owned() } else { format!("it {why}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use run_checkpoint::{Size, State};

    fn one(path: &str, step: Option<u64>, labels: &[Label], is_complete: bool) -> Checkpoint {
        let state = if is_complete { State::Complete } else { State::Incomplete("is cut short".to_owned()) };
        let is_named = step.is_some_and(|step| path.contains(&step.to_string()));
        let (path, labels) = (path.into(), labels.to_vec());
        Checkpoint {
            parts: Vec::new(),
            path,
            step,
            epoch: None,
            is_named,
            labels,
            size: Size::default(),
            state,
        }
    }

    fn run() -> Vec<Checkpoint> {
        vec![
            one("step_5", Some(5), &[], true),
            one("best", Some(10), &[Label::Best], true),
            one("step_10", Some(10), &[], true),
            one("step_20", Some(20), &[], false),
            one("final", None, &[Label::Final], true),
        ]
    }

    /// Returns the paths that are selected, and what is missing.
    fn selected(picks: &[Pick], all: Vec<Checkpoint>) -> (Vec<String>, Vec<String>) {
        let Selection { checkpoints, missing, .. } = select(picks, all);
        (checkpoints.iter().map(|one| one.path.display().to_string()).collect(), missing)
    }

    fn paths(paths: &[&str]) -> (Vec<String>, Vec<String>) {
        (paths.iter().map(|&path| path.to_owned()).collect(), Vec::new())
    }

    #[test]
    fn of_each_step_one_is_taken_and_that_once() {
        assert_eq!(selected(&[Pick::All], run()), paths(&["step_5", "step_10", "step_20"]));
        assert_eq!(
            selected(&[Pick::Step(10), Pick::All, Pick::New], run()),
            paths(&["step_5", "step_10", "step_20"])
        );
        assert_eq!(selected(&[Pick::Latest], run()), paths(&["step_10"]));
        let best = [Pick::Labelled(Label::Best), Pick::Labelled(Label::Final)];
        assert_eq!(selected(&best, run()), paths(&["best", "final"]));
    }

    #[test]
    fn checkpoints_of_the_same_step_are_reported() {
        let all = || ["ba9_step5", "step_5", "best"].map(|path| one(path, Some(5), &[], true)).to_vec();
        let Selection { checkpoints, left_out, .. } = select(&[Pick::All], all());
        assert_eq!(checkpoints.len(), 1);
        assert_eq!(
            left_out,
            [
                "has several checkpoints at step 5: evaluating 'step_5', not 'ba9_step5'; choose with --checkpoint"
            ]
        );
        let mut of_epochs = all();
        of_epochs[1].epoch = Some(1);
        of_epochs[0].epoch = Some(2);
        let Selection { checkpoints, left_out, .. } = select(&[Pick::Step(5)], of_epochs);
        assert_eq!((checkpoints.len(), left_out.len()), (3, 0));
    }

    #[test]
    fn a_checkpoint_without_a_step_is_taken_where_it_is_overwritten() {
        let all =
            vec![one("best.pt", None, &[Label::Best], true), one("ckpt.pt", None, &[Label::Last], true)];
        assert_eq!(selected(&[Pick::All], all.clone()), paths(&["ckpt.pt"]));
        assert_eq!(selected(&[Pick::Latest], all), paths(&["ckpt.pt"]));
    }

    #[test]
    fn what_is_not_there_is_missing_and_the_rest_is_taken() {
        let picks = [Pick::Step(11), Pick::Labelled(Label::Last), Pick::Step(5)];
        let (found, missing) = selected(&picks, run());
        assert_eq!(found, ["step_5"]);
        assert_eq!(missing, ["no checkpoint has step 11", "no checkpoint is called 'last'"]);
    }

    #[test]
    fn the_reason_is_given_if_nothing_can_be_taken() {
        let why = |all: Vec<Checkpoint>| selected(&[Pick::Latest], all).1.concat();
        assert_eq!(why(Vec::new()), "there are no checkpoints");
        assert_eq!(
            why(vec![one("step_20", Some(20), &[], false)]),
            "no complete checkpoint has a step; skipping 'step_20': it is cut short"
        );
        assert_eq!(
            why(vec![one("final", None, &[Label::Final], true)]),
            "no checkpoint has a step; try --steps final, best or last"
        );
        assert_eq!(why(run()), "");
    }
}
