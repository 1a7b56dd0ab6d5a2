//! Finds the sets of a store by their names.

use crate::format::key;
use crate::set::SetName;
use crate::store::Store;
use crate::workers;
use run_common::error::{Error, Exit};

/// Directories in a message.
const SHOWN: usize = 5;

/// Finds sets in a store.
pub(crate) struct Names<'a> {
    /// The store.
    pub(crate) store: &'a dyn Store,
    /// Name of the store in messages.
    pub(crate) url: &'a str,
    /// Requests at a time.
    pub(crate) transfers: usize,
}

impl Names<'_> {
    /// Returns all sets of the store; a batch comes before its runs.
    pub(crate) fn all(&self) -> Result<Vec<SetName>, Error> {
        self.below(&self.directories("")?)
    }

    /// Returns the sets that a name stands for: a run, a run in a batch, or a batch and all its runs.
    pub(crate) fn named(&self, name: &str) -> Result<Vec<SetName>, Error> {
        let sets = match SetName::parse(name) {
            Some(SetName { batch: None, name }) => self.below(&[name])?,
            Some(set) if self.has(&set)? => vec![set],
            _ => Vec::new(),
        };
        if sets.is_empty() {
            let what = format!("no backup of '{name}' in {}", self.url);
            let hint = format!("run-sync list --from {} shows which runs it has", self.url);
            return Err(Error::new(Exit::BadRun, what).hint(hint));
        }
        Ok(sets)
    }

    /// Returns whether a store has a set.
    pub(crate) fn has(&self, set: &SetName) -> Result<bool, Error> {
        Ok(self.directories(&set.prefix())?.iter().any(|name| name == key::BACKUP))
    }

    /// Returns the sets at the top of the store with these names, and the sets in batches with these names.
    /// Each name takes a request.
    fn below(&self, names: &[String]) -> Result<Vec<SetName>, Error> {
        let all = workers::map(names, self.transfers, |name| {
            let set = SetName { batch: None, name: name.clone() };
            let names = self.directories(&set.prefix())?;
            Ok((set, names))
        });
        // Sets and candidates for sets.
        let mut found = Vec::new();
        for top in all {
            let (set, names) = top?;
            let has = |name: &str| names.iter().any(|found| found == name);
            let is_set = has(key::BACKUP);
            // A batch, or a directory with the runs of a batch whose own files are not in the store.
            let may_hold = !is_set || has(key::BATCH);
            let batch = set.name.clone();
            found.extend(is_set.then_some((set, true)));
            let runs = names.into_iter().filter(|_| may_hold);
            found.extend(runs.map(|name| (SetName { batch: Some(batch.clone()), name }, false)));
        }
        let are_sets = workers::map(
            &found,
            self.transfers,
            |(set, is_set)| {
                if *is_set { Ok(true) } else { self.has(set) }
            },
        );
        let mut sets = Vec::new();
        for ((set, _), is_set) in found.into_iter().zip(are_sets) {
            sets.extend(is_set?.then_some(set));
        }
        Ok(sets)
    }

    /// Returns the contents of a store without runs, for a message: the user may have meant another place.
    pub(crate) fn what_else(&self) -> Result<String, Error> {
        let names = self.store.list_directories("").map_err(|fault| fault.error("list", "", self.url))?;
        if names.iter().any(|name| name == key::BACKUP) {
            return Ok(": it is the backup of one run; the store is the directory above".to_owned());
        }
        let is_visible = |name: &&String| !name.starts_with('.');
        let names: Vec<&str> = names.iter().filter(is_visible).take(SHOWN).map(String::as_str).collect();
        Ok(if names.is_empty() { String::new() } else { format!("; below are: {}", names.join(", ")) })
    }

    /// Lists the directories below a prefix; leaves out those that cannot be names of ours.
    fn directories(&self, prefix: &str) -> Result<Vec<String>, Error> {
        let names = self.store.list_directories(prefix);
        let names = names.map_err(|fault| fault.error("list", prefix, self.url))?;
        let mut names: Vec<_> = names.iter().filter_map(|name| key::parse_name(name)).collect();
        names.sort_unstable();
        Ok(names)
    }
}
