//! What the other sets of a batch have: the same large file of several runs, such as a base model, is stored once.

use super::objects::Known;
use crate::format::entry::{Entry, Kind};
use crate::format::key;
use crate::local::hash::Hashed;
use crate::set::{Set, SetName};
use std::collections::HashMap;

/// Bytes of a file for which it pays to look into other sets.
pub(crate) const LEAST: u64 = 1 << 20;

/// The large files of sets of batches that were read or written by this process.
#[derive(Debug, Default)]
pub(crate) struct Batches(HashMap<SetName, Vec<Known>>);

impl Batches {
    /// Takes note of what a set has, for the others of its batch.
    pub(crate) fn add(&mut self, name: &SetName, entries: &[Entry]) {
        let is_large = |entry: &&Entry| matches!(&entry.kind, Kind::File(file) if file.size >= LEAST);
        let known = entries.iter().filter(is_large).filter_map(|entry| {
            let (Kind::File(file), Some(object)) = (&entry.kind, entry.object()) else { return None };
            let is_elsewhere = object.starts_with("../");
            let key = if is_elsewhere { object } else { format!("../{}/{object}", key::name(&name.name)) };
            Some(Known { key, hashed: Hashed::from(file) })
        });
        if name.batch.is_some() {
            self.0.insert(name.clone(), known.collect());
        }
    }

    /// Returns the large files of the other sets of the batch; reads the newest manifests of those that are not
    /// known. What cannot be read is no help, and no failure.
    pub(crate) fn others(&mut self, set: &Set<'_>) -> impl Iterator<Item = &Known> {
        if let Some(batch) = &set.name.batch {
            let names = set.store.list_directories(&format!("{}/", key::name(batch))).unwrap_or_default();
            for name in names.iter().filter_map(|name| key::parse_name(name)) {
                let name = SetName { batch: Some(batch.clone()), name };
                if !name.name.starts_with('.') && name != set.name && !self.0.contains_key(&name) {
                    self.read(&Set { store: set.store, url: set.url, name });
                }
            }
        }
        let is_other = |name: &SetName| *name != set.name && name.batch == set.name.batch;
        self.0.iter().filter(move |(name, _)| is_other(name)).flat_map(|(_, known)| known)
    }

    fn read(&mut self, set: &Set<'_>) {
        let newest = set.history().ok().and_then(|history| history.newest());
        let manifest = newest.and_then(|newest| set.manifest(newest).ok());
        self.add(&set.name, manifest.as_ref().map_or(&[], |manifest| &manifest.entries));
    }
}
