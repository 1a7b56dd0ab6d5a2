//! The objects of a set while a backup is made: which keys are taken, and which contents are there.

use super::journal::{Sending, Uploads};
use super::plan::Old;
use crate::format::entry::{Entry, Kind, Place};
use crate::format::key;
use crate::local::hash::Hashed;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::Bound;
use std::sync::Arc;

/// A content that an object begins with.
#[derive(Debug)]
pub(crate) struct Known {
    /// Key of the object below the set.
    pub(crate) key: String,
    /// The content.
    pub(crate) hashed: Hashed,
}

/// The objects of a set.
#[derive(Debug)]
pub(crate) struct Objects {
    /// Prefix of the writer's own keys.
    keys: String,
    /// Who writes.
    writer: String,
    /// Number of the manifest.
    number: u64,
    taken: BTreeSet<String>,
    /// Keys among them that had no object before.
    chosen: HashSet<String>,
    /// What an interrupted backup may have stored under a key of ours.
    begun: HashMap<String, Sending>,
    /// Keys of uploads of an interrupted backup.
    uploads: HashSet<String>,
    by_size: HashMap<u64, Vec<Arc<Known>>>,
}

impl Objects {
    /// Begins with nothing.
    pub(crate) fn new(keys: &str, writer: &str, number: u64) -> Self {
        Self {
            keys: keys.to_owned(),
            writer: writer.to_owned(),
            number,
            taken: BTreeSet::new(),
            chosen: HashSet::new(),
            begun: HashMap::new(),
            uploads: HashSet::new(),
            by_size: HashMap::new(),
        }
    }

    /// Takes note of what an interrupted backup has begun to store: it goes on under the same keys.
    pub(crate) fn resume(&mut self, begun: &HashMap<String, Sending>, uploads: &Uploads) {
        self.begun.clone_from(begun);
        self.uploads = uploads.keys().cloned().collect();
    }

    /// Takes note of a key that has an object.
    pub(crate) fn take(&mut self, key: String) {
        self.taken.insert(key);
    }

    /// Takes note of what an entry says of its object.
    pub(crate) fn know(&mut self, entry: &Entry) {
        if let (Kind::File(file), Some(key)) = (&entry.kind, entry.object()) {
            self.learn(key, Hashed::from(file));
        }
    }

    /// Takes note of the content of an object. Nothing is gained from empty ones.
    pub(crate) fn learn(&mut self, key: String, hashed: Hashed) {
        if hashed.size > 0 {
            self.by_size.entry(hashed.size).or_default().push(Arc::new(Known { key, hashed }));
        }
    }

    /// Returns the contents of a size.
    pub(crate) fn of_size(&self, size: u64) -> &[Arc<Known>] {
        self.by_size.get(&size).map_or(&[], Vec::as_slice)
    }

    /// Returns the key of a content, that of its own file first.
    pub(crate) fn find(
        &self,
        old: Option<&Old>,
        hashed: &Hashed,
        is_there: &dyn Fn(&str) -> bool,
    ) -> Option<String> {
        if let Some(old) =
            old.filter(|old| (old.hashed.size, old.hashed.sha256) == (hashed.size, hashed.sha256))
        {
            return Some(old.key.clone());
        }
        let mut same = self.of_size(hashed.size).iter().filter(|known| known.hashed.sha256 == hashed.sha256);
        same.find(|known| is_there(&known.key)).map(|known| known.key.clone())
    }

    /// Returns the key under which a content is stored that is nowhere yet. It replaces the content of the file before
    /// only where that is its beginning.
    ///
    /// `content` is what will be stored, where that is known.
    pub(crate) fn key_for(
        &mut self,
        place: &Place,
        old: Option<&Old>,
        is_grown: bool,
        content: Option<&Hashed>,
    ) -> String {
        let own = old.filter(|old| self.is_own(&old.key));
        match own {
            Some(own) if is_grown => own.key.clone(),
            own => self.choose(place, own.is_none(), content),
        }
    }

    /// Gives a key back under which nothing was stored.
    pub(crate) fn release(&mut self, key: &str) {
        if self.chosen.remove(key) {
            self.taken.remove(key);
        }
    }

    /// Takes note that an upload which was to be continued is none.
    pub(crate) fn forget_upload(&mut self, key: &str) {
        self.uploads.remove(key);
    }

    /// Says whether the object of a key may be stored anew with more at its end: the key is the writer's own.
    fn is_own(&self, key: &str) -> bool {
        let is_foreign = key.starts_with("../") || key.starts_with(".by/") && self.keys.is_empty();
        match key.strip_prefix(".gen/") {
            Some(rest) => {
                let writer = self.writer.get(..8).unwrap_or(&self.writer);
                rest.split_once('/')
                    .is_some_and(|(generation, _)| generation.split('-').nth(1) == Some(writer))
            }
            None => !is_foreign && key.starts_with(&self.keys),
        }
    }

    /// Returns a key for a new content of a file, and takes it.
    fn choose(&mut self, place: &Place, is_first: bool, content: Option<&Hashed>) -> String {
        let plain = key::plain(place).filter(|_| is_first).map(|plain| format!("{}{plain}", self.keys));
        let mut chosen = plain.unwrap_or_else(|| key::generation(place, self.number, &self.writer, 1));
        let mut version = 1;
        while !self.is_free(&chosen) && !self.is_begun(&chosen, content) {
            chosen = key::generation(place, self.number, &self.writer, version);
            version += 1;
        }
        if self.taken.insert(chosen.clone()) {
            self.chosen.insert(chosen.clone());
        }
        chosen
    }

    /// Says whether an interrupted backup was about to store just this.
    fn is_begun(&self, key: &str, content: Option<&Hashed>) -> bool {
        match content {
            Some(content) => self
                .begun
                .get(key)
                .is_some_and(|begun| (begun.size, begun.sha256) == (content.size, content.sha256)),
            None => self.uploads.contains(key),
        }
    }

    /// Says whether no object has a key, or one above or below it: in a directory these cannot be side by side.
    fn is_free(&self, key: &str) -> bool {
        let below = format!("{key}/");
        let from = (Bound::Included(below.as_str()), Bound::Unbounded);
        let is_above = self.taken.range::<str, _>(from).next().is_some_and(|next| next.starts_with(&below));
        let mut above = key.match_indices('/').map(|(at, _)| &key[..at]);
        !is_above && !self.taken.contains(key) && !above.any(|above| self.taken.contains(above))
    }
}
