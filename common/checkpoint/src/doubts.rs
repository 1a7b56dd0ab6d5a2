//! Ambiguities in the names of checkpoints.

use crate::checkpoint::listed;
use crate::count::Unit;
use crate::discover::Names;
use crate::name::Role;
use crate::walk::{Candidate, Walked, walk};
use run_common::text::printable;
use std::path::PathBuf;

impl Names<'_> {
    /// Returns a sentence for each ambiguity of names below a run. There are two: more files have the extension
    /// of a checkpoint but no recognised name than have a step in their names; some names count epochs and
    /// others steps. With a recorded pattern, the only doubt is a pattern that matches nothing although
    /// checkpoints would be recognised without it.
    pub fn doubts(&self) -> Vec<String> {
        let Walked { unknown, candidates, .. } = &self.walked;
        let Some(pattern) = self.recorded.and_then(|recorded| recorded.pattern.as_deref()) else {
            return of_names(unknown, candidates);
        };
        if !candidates.is_empty() {
            return Vec::new();
        }
        let Ok(Walked { unknown, candidates, .. }) = walk(self.layout.root(), None) else {
            return Vec::new();
        };
        let others = candidates.iter().map(|one| &one.path).chain(&unknown).map(PathBuf::as_path);
        let shown = listed(others);
        if candidates.is_empty() && unknown.is_empty() {
            return Vec::new();
        }
        vec![format!("nothing matches the checkpoint pattern '{}', but there is {shown}", printable(pattern))]
    }
}

/// Returns the ambiguities of names without a pattern.
fn of_names(unknown: &[PathBuf], candidates: &[Candidate]) -> Vec<String> {
    let is_known = |one: &&Candidate| one.name.step.is_some() && one.name.role == Role::Main;
    let known = candidates.iter().filter(is_known).count();
    let mut doubts = Vec::new();
    if unknown.len() > known {
        let shown = listed(unknown.iter().map(PathBuf::as_path));
        doubts.push(match unknown.len() {
            1 => format!("1 file looks like a checkpoint and is not recognised ({shown}); name it with --checkpoint"),
            count => format!(
                "{count} files look like checkpoints and are not recognised ({shown}); name them with --checkpoint"
            ),
        });
    }
    // A checkpoint named `best` does not count as the latest.
    let count = |unit: Unit| {
        let of_unit = move |one: &&Candidate| one.name.unit == unit && one.name.labels.is_empty();
        candidates.iter().filter(is_known).filter(of_unit).map(|one| one.path.as_path())
    };
    let others = [(Unit::Steps, "steps"), (Unit::Unknown, "something else")];
    let other = others.into_iter().find(|(unit, _)| count(*unit).next().is_some());
    if let Some((unit, what)) = other.filter(|_| count(Unit::Epochs).next().is_some()) {
        let (epochs, others) = (listed(count(Unit::Epochs)), listed(count(unit)));
        doubts.push(format!(
            "{epochs} count epochs and {others} {what}; taking the greatest number as the latest; choose with --checkpoint"
        ));
    }
    doubts
}
