//! Groups files into checkpoints, and determines whether the steps of a run restart in each epoch. By names
//! alone.

use crate::checkpoint::Label;
use crate::name::{Name, Role};
use crate::walk::Candidate;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Files with the same key belong to one checkpoint: the directory, the epoch and step, or else the labels.
type Key = (PathBuf, Option<(u64, u64)>, Vec<Label>);

/// Assigns parts to the checkpoint beside them: the optimizer to the model, averaged weights to trained ones.
/// Parts without a model are not a checkpoint. A part that may belong to several checkpoints is left out.
pub(crate) fn with_parts(found: Vec<Candidate>) -> Vec<Candidate> {
    let mut kept: Vec<Candidate> = Vec::with_capacity(found.len());
    let mut groups: BTreeMap<Key, Vec<Candidate>> = BTreeMap::new();
    for one in found {
        let is_own_file = one.is_file && one.leads_to.is_none();
        if !is_own_file {
            kept.extend((one.name.role != Role::Part).then_some(one));
            continue;
        }
        let mut labels = one.name.labels.clone();
        labels.sort_unstable();
        let above = one.path.parent().unwrap_or(Path::new("")).to_owned();
        groups.entry((above, one.name.order(), labels)).or_default().push(one);
    }
    // A directory with an additional word, `global_step100_hf`, is not a second checkpoint of the step.
    let key = |one: &Candidate| (one.path.parent().unwrap_or(Path::new("")).to_owned(), one.name.order());
    let plain: BTreeSet<_> = kept.iter().filter(|one| one.name.role == Role::Main).map(key).collect();
    kept.retain(|one| one.name.role == Role::Main || !plain.contains(&key(one)));
    for group in groups.into_values() {
        let role =
            if group.iter().any(|one| one.name.role == Role::Main) { Role::Main } else { Role::Second };
        let (mut mains, others): (Vec<_>, Vec<_>) = group.into_iter().partition(|one| one.name.role == role);
        if let [main] = &mut mains[..] {
            main.companions = others.into_iter().map(|one| one.path).collect();
        }
        kept.append(&mut mains);
    }
    kept
}

/// Drops the epochs of a run whose steps continue through all epochs: they are redundant there.
pub(crate) fn forget_epochs<'a>(names: impl Iterator<Item = &'a mut Name>) {
    let names: Vec<&mut Name> = names.collect();
    let mut counts: Vec<(u64, u64)> =
        names.iter().filter_map(|name| Some((name.epoch?, name.step?))).collect();
    counts.sort_unstable();
    // Steps restart if a later epoch begins at a step that is not greater.
    let begins_again = counts.windows(2).any(|pair| pair[0].0 < pair[1].0 && pair[1].1 <= pair[0].1);
    if !begins_again {
        for name in names {
            name.epoch = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(counts: &[(u64, u64)]) -> bool {
        let name =
            |&(epoch, step): &(u64, u64)| Name { step: Some(step), epoch: Some(epoch), ..Name::default() };
        let mut names: Vec<Name> = counts.iter().map(name).collect();
        names.push(Name { step: Some(7), ..Name::default() });
        forget_epochs(names.iter_mut());
        names[0].epoch.is_some()
    }

    #[test]
    fn epochs_count_where_steps_begin_again() {
        assert!(!kept(&[(1, 100), (2, 200), (2, 150), (3, 300)]));
        assert!(kept(&[(2, 50), (1, 100)]));
        assert!(kept(&[(1, 100), (2, 100)]));
        assert!(kept(&[(1, 100), (2, 150), (2, 200), (3, 120)]));
        assert!(!kept(&[(1, 100), (1, 50)]));
    }
}
