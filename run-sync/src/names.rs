//! From names to the sets that a store has.

use crate::format::key;
use crate::set::SetName;
use crate::store::Store;
use run_common::error::{Error, Exit};

/// What lies below a name.
#[derive(Clone, Copy)]
struct Below {
    /// Manifests: it is a set.
    is_set: bool,
    /// Runs may lie in it: it is a batch, or holds one of which the own files are not stored.
    may_hold: bool,
}

/// Finds sets in a store.
pub(crate) struct Names<'a> {
    /// The store.
    pub(crate) store: &'a dyn Store,
    /// How messages call it.
    pub(crate) url: &'a str,
}

impl Names<'_> {
    /// Returns all sets of the store, those of a batch after the batch's own.
    pub(crate) fn all(&self) -> Result<Vec<SetName>, Error> {
        let mut sets = Vec::new();
        for name in self.directories("")? {
            self.at(&name, &mut sets)?;
        }
        Ok(sets)
    }

    /// Returns the sets that a name stands for: a run, a run in a batch, or a batch and all its runs.
    pub(crate) fn named(&self, name: &str) -> Result<Vec<SetName>, Error> {
        let mut sets = Vec::new();
        match SetName::parse(name) {
            Some(SetName { batch: None, name }) => self.at(&name, &mut sets)?,
            Some(set) if self.has(&set)? => sets.push(set),
            _ => {}
        }
        if sets.is_empty() {
            let what = format!("no backup of '{name}' in {}", self.url);
            return Err(Error::new(Exit::BadRun, what).hint("run-sync list shows which runs a store has"));
        }
        Ok(sets)
    }

    /// Says whether a store has a set.
    pub(crate) fn has(&self, set: &SetName) -> Result<bool, Error> {
        Ok(self.below(&set.prefix())?.is_set)
    }

    /// Adds the sets at the top of the store that have a name, or lie in the batch of this name.
    fn at(&self, name: &str, sets: &mut Vec<SetName>) -> Result<(), Error> {
        let set = SetName { batch: None, name: name.to_owned() };
        let prefix = set.prefix();
        let below = self.below(&prefix)?;
        if below.is_set {
            sets.push(set);
        }
        if below.may_hold {
            for run in self.directories(&prefix)? {
                let run = SetName { batch: Some(name.to_owned()), name: run };
                if self.has(&run)? {
                    sets.push(run);
                }
            }
        }
        Ok(())
    }

    fn below(&self, prefix: &str) -> Result<Below, Error> {
        let names = self.directories(prefix)?;
        let has = |name: &str| names.iter().any(|found| found == name);
        let is_set = has(key::BACKUP);
        Ok(Below { is_set, may_hold: !is_set || has(key::BATCH) })
    }

    /// Lists the names of directories below a prefix; what cannot be a name of ours is left out.
    fn directories(&self, prefix: &str) -> Result<Vec<String>, Error> {
        let names = self.store.list_directories(prefix);
        let names = names.map_err(|fault| fault.error("list", prefix, self.url))?;
        let mut names: Vec<_> = names.iter().filter_map(|name| key::parse_name(name)).collect();
        names.sort_unstable();
        Ok(names)
    }
}
