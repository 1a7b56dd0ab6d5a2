//! What files are one checkpoint, and whether the steps of a run begin again with each epoch. By names alone.

use crate::checkpoint::Label;
use crate::name::{Name, Role};
use crate::walk::Candidate;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Files that are parts of one checkpoint agree in this: the directory, the epoch and step, or else the labels.
type Key = (PathBuf, Option<(u64, u64)>, Vec<Label>);

/// Gives parts to the checkpoint that they lie beside: the optimizer to the model, the weights that were
/// averaged to those that were trained. Parts alone are none, and what several may own belongs to none.
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
    // A directory that is called otherwise, `global_step100_hf`, is no second one of that step.
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

/// Forgets the epochs of a run whose steps go on through all of them: there they tell nothing more.
pub(crate) fn forget_epochs<'a>(names: impl Iterator<Item = &'a mut Name>) {
    let names: Vec<&mut Name> = names.collect();
    let mut counts: Vec<(u64, u64)> =
        names.iter().filter_map(|name| Some((name.epoch?, name.step?))).collect();
    counts.sort_unstable();
    // From one epoch to the next the step does not grow.
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
