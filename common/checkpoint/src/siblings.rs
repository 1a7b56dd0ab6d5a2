//! Finds files that a checkpoint lacks and its siblings have: for example an optimizer, without which a
//! training would silently continue with a fresh one.

use crate::hugging_face::is_weights;
use crate::integrity::holds_state;
use crate::name::without_mark;
use crate::walk::Candidate;
use crate::words::is_of_results;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use walkdir::WalkDir;

/// Maximum number of files of a checkpoint to examine.
const MOST: usize = 10_000;

/// The checkpoints of a run by family: those in the same directory whose names differ only in numbers.
pub(crate) struct Siblings {
    root: PathBuf,
    families: HashMap<(PathBuf, String), Family>,
}

/// Checkpoints of a family, in the order of their steps.
#[derive(Default)]
struct Family {
    members: Vec<Sibling>,
    /// Whether some may have files that others lack.
    has_files: bool,
}

struct Sibling {
    order: (u64, u64),
    path: PathBuf,
    /// Its companions, if it is a file.
    companions: Option<Vec<PathBuf>>,
    /// Its files: names without their numbers, each with one full name as an example.
    files: OnceLock<BTreeMap<String, String>>,
}

impl Siblings {
    /// Sorts the checkpoints of a run into families.
    pub(crate) fn new(root: &Path, found: &[Candidate]) -> Self {
        let mut families: HashMap<(PathBuf, String), Family> = HashMap::new();
        for one in
            found.iter().filter(|one| one.leads_to.is_none() && one.shards.is_empty() && !one.name.temporary)
        {
            let Some(order) = one.name.order() else { continue };
            let family = families.entry(family(&one.path)).or_default();
            family.has_files |= !one.is_file || !one.companions.is_empty();
            family.members.push(Sibling {
                order,
                path: one.path.clone(),
                companions: one.is_file.then(|| one.companions.clone()),
                files: OnceLock::new(),
            });
        }
        for family in families.values_mut() {
            family.members.sort_by_key(|one| one.order);
        }
        Self { root: root.to_owned(), families }
    }

    /// Returns what a checkpoint lacks that the one before it has; for the first, what all others have, if
    /// there are at least two.
    pub(crate) fn lack(&self, path: &Path, order: Option<(u64, u64)>) -> Option<String> {
        let family = self.families.get(&family(path)).filter(|family| family.has_files)?;
        let (family, order) = (&family.members[..], order?);
        let first = family.partition_point(|one| one.order < order);
        let at = first + family[first..].iter().position(|one| one.path == path)?;
        let own = self.files(&family[at]);
        let lacks = |files: &BTreeMap<String, String>, one: &Sibling| {
            let (_, name) = files.iter().find(|(key, _)| !own.contains_key(*key))?;
            let sibling = one.path.file_name().unwrap_or_default().to_string_lossy();
            Some(format!("lacks '{name}', which '{sibling}' has"))
        };
        let has_files = |one: &&Sibling| !self.files(one).is_empty();
        if let Some(before) = family[..at].iter().rfind(has_files) {
            return lacks(self.files(before), before);
        }
        let mut others = family.iter().skip(at + 1).filter(has_files);
        let (first, second) = (others.next()?, others.next()?);
        let mut common = self.files(first).clone();
        for other in [second].into_iter().chain(others) {
            common.retain(|key, _| self.files(other).contains_key(key));
        }
        lacks(&common, first)
    }

    fn files<'a>(&self, one: &'a Sibling) -> &'a BTreeMap<String, String> {
        one.files.get_or_init(|| match &one.companions {
            Some(companions) => {
                let names =
                    companions.iter().map(|path| path.file_name().unwrap_or_default().to_string_lossy());
                names.map(|name| (without_numbers(&name), name.into_owned())).collect()
            }
            None => state_in(&self.root.join(&one.path)),
        })
    }
}

/// Returns the state files and directories in a directory; weights have many names, and formats require them
/// anyway.
fn state_in(top: &Path) -> BTreeMap<String, String> {
    let entries = WalkDir::new(top).min_depth(1).into_iter().take(MOST).flatten();
    let names =
        entries.filter_map(|entry| Some(entry.path().strip_prefix(top).ok()?.to_string_lossy().into_owned()));
    let of_state = names.filter(|name| {
        let lower = name.to_ascii_lowercase();
        holds_state(&lower) && !is_weights(&lower) && !is_of_results(&lower)
    });
    of_state.map(|name| (without_ending(&without_numbers(&name)).to_owned(), name)).collect()
}

/// Returns the directory of a checkpoint and its name without numbers.
fn family(path: &Path) -> (PathBuf, String) {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    (path.parent().unwrap_or(Path::new("")).to_owned(), without_numbers(&without_mark(&name).0))
}

/// Removes the numbers from a name, each with the separator before it: `rng_state_0.pth` belongs to one of
/// several processes, `rng_state.pth` to the only one.
fn without_numbers(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for c in name.chars() {
        if c.is_ascii_digit() {
            if text.ends_with(['_', '-']) {
                text.pop();
            }
        } else {
            text.push(c);
        }
    }
    text
}

/// Removes the extension of a name: `optimizer.pt` and `optimizer.bin` are the same part.
fn without_ending(name: &str) -> &str {
    let from = name.rfind('/').map_or(0, |slash| slash + 1);
    name[from..].rfind('.').filter(|&dot| dot > 0).map_or(name, |dot| &name[..from + dot])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_endings_tell_no_files_apart() {
        for (one, other) in [
            ("rng_state_0.pth", "rng_state.pth"),
            ("optimizer.bin", "optimizer.pt"),
            ("global_step500/zero_rank_1.pt", "global_step1000/zero_rank_0.pt"),
            ("opt010000.pt", "opt020000.pt"),
        ] {
            let key = |name: &str| without_ending(&without_numbers(name)).to_owned();
            assert_eq!(key(one), key(other));
        }
        assert_ne!(without_ending("a.b/c"), "a");
    }
}
