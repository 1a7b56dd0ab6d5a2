//! The contents of the other sets of a batch: a large file of several runs, such as a base model, is stored
//! once.

use super::objects::Known;
use crate::format::entry::{Entry, Kind};
use crate::format::key;
use crate::local::hash::Hashed;
use crate::set::{Set, SetName};
use crate::workers;
use std::collections::HashMap;

/// Bytes from which on a search in other sets pays.
pub(crate) const LEAST: u64 = 1 << 20;

/// The large files of sets of batches that this process has read or written.
#[derive(Debug, Default)]
pub(crate) struct Batches(HashMap<SetName, Vec<Known>>);

impl Batches {
    /// Adds the files of a set, for the other sets of its batch.
    pub(crate) fn add(&mut self, name: &SetName, entries: &[Entry]) {
        if name.batch.is_some() {
            self.0.insert(name.clone(), large(name, entries));
        }
    }

    /// Returns the large files of the other sets of the batch. Reads the newest manifests of the sets not yet
    /// known, several at a time; a manifest that cannot be read is skipped without an error.
    pub(crate) fn others(&mut self, set: &Set<'_>, transfers: usize) -> impl Iterator<Item = &Known> {
        if let Some(batch) = &set.name.batch {
            let names = set.store.list_directories(&format!("{}/", key::name(batch))).unwrap_or_default();
            let names = names.iter().filter_map(|name| key::parse_name(name));
            let names = names.map(|name| SetName { batch: Some(batch.clone()), name });
            let is_unknown = |name: &SetName| {
                !name.name.starts_with('.') && *name != set.name && !self.0.contains_key(name)
            };
            let unknown: Vec<SetName> = names.filter(is_unknown).collect();
            let read = workers::map(&unknown, transfers, |name| {
                let set = Set { store: set.store, url: set.url, name: name.clone() };
                let newest = set.history().ok().and_then(|history| history.newest());
                let manifest = newest.and_then(|newest| set.manifest(newest).ok());
                manifest.map_or_else(Vec::new, |manifest| large(name, &manifest.entries))
            });
            self.0.extend(unknown.into_iter().zip(read));
        }
        let is_other = |name: &SetName| *name != set.name && name.batch == set.name.batch;
        self.0.iter().filter(move |(name, _)| is_other(name)).flat_map(|(_, known)| known)
    }
}

/// Returns the large files of a set, with the keys by which other sets of the batch refer to them.
fn large(name: &SetName, entries: &[Entry]) -> Vec<Known> {
    let is_large = |entry: &&Entry| matches!(&entry.kind, Kind::File(file) if file.size >= LEAST);
    let known = entries.iter().filter(is_large).filter_map(|entry| {
        let (Kind::File(file), Some(object)) = (&entry.kind, entry.object()) else { return None };
        let is_elsewhere = object.starts_with("../");
        let key = if is_elsewhere { object } else { format!("../{}/{object}", key::name(&name.name)) };
        Some(Known { key, hashed: Hashed::from(file) })
    });
    known.collect()
}
