//! The objects of a set during a backup: which keys are taken, and which contents exist.

use super::journal::{Sending, Uploads};
use super::plan::Old;
use crate::format::digest::Digest;
use crate::format::entry::{Entry, Kind, Place};
use crate::format::key;
use crate::local::hash::{Hashed, PART};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Bound;
use std::sync::Arc;

/// A content at the start of an object.
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
    /// The writer's ID.
    writer: String,
    /// Number of the new manifest.
    number: u64,
    /// Keys that have an object or will have one, with the object's bytes.
    taken: BTreeMap<String, u64>,
    /// The taken keys with capital letters, in small letters: some directories and clouds do not distinguish
    /// them.
    small_letters: BTreeMap<String, u64>,
    /// Taken keys to which this backup stores, with the bytes of the earlier object, if there was one.
    claimed: HashMap<String, Option<u64>>,
    /// Objects that an interrupted backup may have stored under the writer's keys.
    begun: HashMap<String, Sending>,
    /// Keys of uploads of an interrupted backup.
    uploads: HashSet<String>,
    /// Damaged and missing objects of the manifest to continue, with the bytes that they should have.
    lost: HashMap<String, u64>,
    /// Those of them that this backup stores again.
    mended: HashMap<String, u64>,
    /// Keys of contents of one part.
    small: HashMap<Digest, Vec<String>>,
    /// Larger contents, by size.
    large: HashMap<u64, Vec<Arc<Known>>>,
}

impl Objects {
    /// Creates an empty set.
    pub(crate) fn new(keys: &str, writer: &str, number: u64) -> Self {
        Self {
            keys: keys.to_owned(),
            writer: writer.to_owned(),
            number,
            taken: BTreeMap::new(),
            small_letters: BTreeMap::new(),
            claimed: HashMap::new(),
            begun: HashMap::new(),
            uploads: HashSet::new(),
            lost: HashMap::new(),
            mended: HashMap::new(),
            small: HashMap::new(),
            large: HashMap::new(),
        }
    }

    /// Takes over what an interrupted backup began to store, to continue under the same keys.
    pub(crate) fn resume(&mut self, begun: &HashMap<String, Sending>, uploads: &Uploads) {
        self.begun.clone_from(begun);
        self.uploads = uploads.keys().cloned().collect();
    }

    /// Marks objects as damaged or missing: they count as contents of no file, and are stored again under their
    /// keys where a file still has the content.
    pub(crate) fn lose(&mut self, lost: HashMap<String, u64>) {
        self.lost = lost;
    }

    /// Returns whether an object is damaged or missing.
    pub(crate) fn is_lost(&self, key: &str) -> bool {
        self.lost.contains_key(key)
    }

    /// Marks the key of an object as taken, with the object's bytes.
    pub(crate) fn take(&mut self, key: String, size: u64) {
        self.put(key, size);
    }

    /// Sets the bytes of a key, and returns the previous bytes.
    fn put(&mut self, key: String, size: u64) -> Option<u64> {
        if key.contains(char::is_uppercase) {
            self.small_letters.insert(key.to_lowercase(), size);
        }
        self.taken.insert(key, size)
    }

    /// Adds the content of an entry's object.
    pub(crate) fn know(&mut self, entry: &Entry) {
        if let (Kind::File(file), Some(key)) = (&entry.kind, entry.object()) {
            self.learn(key, Hashed::from(file));
        }
    }

    /// Adds the content of an object. Empty contents and lost objects are ignored.
    pub(crate) fn learn(&mut self, key: String, hashed: Hashed) {
        if self.is_lost(&key) {
            return;
        }
        if hashed.size > PART {
            self.large.entry(hashed.size).or_default().push(Arc::new(Known { key, hashed }));
        } else if hashed.size > 0 {
            self.small.entry(hashed.sha256).or_insert_with(|| Vec::with_capacity(1)).push(key); // mostly one
        }
    }

    /// Returns the stored contents of this size, which has several parts.
    pub(crate) fn of_size(&self, size: u64) -> &[Arc<Known>] {
        self.large.get(&size).map_or(&[], Vec::as_slice)
    }

    /// Returns the key of a stored content of one part, preferring the file's own key.
    pub(crate) fn find(
        &self,
        old: Option<&Old>,
        hashed: &Hashed,
        is_there: &dyn Fn(&str) -> bool,
    ) -> Option<String> {
        if let Some(old) =
            old.filter(|old| (old.hashed.size, old.hashed.sha256) == (hashed.size, hashed.sha256))
        {
            if !self.is_lost(&old.key) {
                return Some(old.key.clone());
            }
            if self.is_own(&old.key) && self.may_mend(old, hashed.size) {
                return None;
            }
        }
        self.small.get(&hashed.sha256)?.iter().find(|key| is_there(key)).cloned()
    }

    /// Returns the key for a content of this size that is not stored yet. The key is that of the file's old
    /// content only if the old content is the start of the new content, and the whole object.
    ///
    /// `content` is the content, if it is known.
    pub(crate) fn key_for(
        &mut self,
        place: &Place,
        old: Option<&Old>,
        is_grown: bool,
        size: u64,
        content: Option<&Hashed>,
    ) -> String {
        let own = old.filter(|old| self.is_own(&old.key));
        let key = match own {
            Some(own) if is_grown && (self.may_grow(own, size, content) || self.may_mend(own, size)) => {
                if let Some((key, size)) = self.lost.remove_entry(&own.key) {
                    self.mended.insert(key, size);
                }
                own.key.clone()
            }
            own => self.choose(place, own.is_none(), size, content),
        };
        let before = self.put(key.clone(), size);
        self.claimed.insert(key.clone(), before);
        key
    }

    /// Returns whether a longer content may replace an object. An object that is longer than the file was also
    /// belongs to another file, which had the same start and has grown, or had the same content under a new
    /// name.
    fn may_grow(&self, old: &Old, size: u64, content: Option<&Hashed>) -> bool {
        let there = self.taken.get(&old.key);
        there == Some(&old.hashed.size) || self.is_begun(&old.key, size, content)
    }

    /// Returns whether a content that begins with a lost one may take its place. An object that is longer has
    /// grown with another file.
    fn may_mend(&self, old: &Old, size: u64) -> bool {
        let is_whole = self.lost.get(&old.key) == Some(&old.hashed.size);
        is_whole && self.taken.get(&old.key).is_none_or(|there| *there <= size)
    }

    /// Gives back a key under which nothing was stored.
    pub(crate) fn release(&mut self, key: &str) {
        self.lost.extend(self.mended.remove_entry(key));
        match self.claimed.remove(key) {
            Some(Some(before)) => _ = self.taken.insert(key.to_owned(), before),
            Some(None) => {
                self.taken.remove(key);
                self.small_letters.remove(&key.to_lowercase());
            }
            None => {}
        }
    }

    /// Records that the upload to continue does not exist.
    pub(crate) fn forget_upload(&mut self, key: &str) {
        self.uploads.remove(key);
    }

    /// Returns whether the key is the writer's own, so that its object may be replaced by a longer content.
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

    /// Returns a key for a new content of a file.
    fn choose(&self, place: &Place, is_first: bool, size: u64, content: Option<&Hashed>) -> String {
        let plain = key::plain(place).filter(|_| is_first).map(|plain| format!("{}{plain}", self.keys));
        let mut chosen = plain.unwrap_or_else(|| key::generation(place, self.number, &self.writer, 1));
        let mut version = 1;
        while !self.is_free(&chosen) && !self.is_begun(&chosen, size, content) {
            chosen = key::generation(place, self.number, &self.writer, version);
            version += 1;
        }
        chosen
    }

    /// Returns whether an interrupted backup was about to store this content, and the existing object can only
    /// be this content: no file of this backup has got the key.
    fn is_begun(&self, key: &str, size: u64, content: Option<&Hashed>) -> bool {
        let is_begun = match content {
            Some(content) => self
                .begun
                .get(key)
                .is_some_and(|begun| (begun.size, begun.sha256) == (content.size, content.sha256)),
            None => self.uploads.contains(key),
        };
        is_begun && !self.claimed.contains_key(key) && self.taken.get(key) == Some(&size)
    }

    /// Returns whether no object has this key, or a key that differs only in capital letters.
    fn is_free(&self, key: &str) -> bool {
        let small = key.to_lowercase();
        !self.is_lost(key)
            && is_free(&self.taken, key)
            && is_free(&self.taken, &small)
            && is_free(&self.small_letters, &small)
    }
}

/// Returns whether no object has this key, or a key above or below it; in a directory, these exclude each
/// other.
fn is_free(taken: &BTreeMap<String, u64>, key: &str) -> bool {
    let below = format!("{key}/");
    let from = (Bound::Included(below.as_str()), Bound::Unbounded);
    let is_above = taken.range::<str, _>(from).next().is_some_and(|(next, _)| next.starts_with(&below));
    let mut above = key.match_indices('/').map(|(at, _)| &key[..at]);
    !is_above && !taken.contains_key(key) && !above.any(|above| taken.contains_key(above))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::digest::Digest;

    const WRITER: &str = "0123456789abcdef0123456789abcdef";

    fn place(path: &str) -> Place {
        Place { path: path.into(), evaluation: None }
    }

    fn hashed(text: &str) -> Hashed {
        Hashed { size: text.len() as u64, sha256: Digest::of(text.as_bytes()), parts: None }
    }

    fn old(key: &str, text: &str) -> Old {
        Old { key: key.to_owned(), hashed: hashed(text) }
    }

    #[test]
    fn a_new_file_has_its_own_path_unless_something_is_in_its_way() {
        let mut objects = Objects::new("", WRITER, 7);
        for taken in ["a", "b/c", ".gen/000007-01234567/x"] {
            objects.take(taken.to_owned(), 1);
        }
        let mut key = |path: &str| objects.key_for(&place(path), None, false, 1, None);
        assert_eq!(key("new"), "new");
        assert_eq!(key("a"), ".gen/000007-01234567/a");
        assert_eq!(key("a"), ".gen/000007-01234567-2/a");
        assert_eq!(key("a/below"), ".gen/000007-01234567-3/a/below");
        assert_eq!(key("b"), ".gen/000007-01234567/b");
        assert_eq!(key("b/cd"), "b/cd");
        assert_eq!(key("SHA256SUMS"), ".gen/000007-01234567/SHA256SUMS");
        assert_eq!(key("x"), "x");
    }

    #[test]
    fn no_two_keys_differ_in_capital_letters_alone() {
        let mut objects = Objects::new("", WRITER, 1);
        objects.take("Model.pt".to_owned(), 1);
        let mut key = |path: &str| objects.key_for(&place(path), None, false, 1, None);
        assert_eq!(key("model.pt"), ".gen/000001-01234567/model.pt");
        assert_eq!(key("MODEL.PT"), ".gen/000001-01234567-2/MODEL.PT");
        assert_eq!(key("MODEL.PT/x"), ".gen/000001-01234567-3/MODEL.PT/x", "a directory and a file");
        assert_eq!((key("d/É"), key("D/é")), ("d/É".to_owned(), ".gen/000001-01234567/D/é".to_owned()));
        assert_eq!(
            (key("D/x"), key("d/y")),
            ("D/x".to_owned(), "d/y".to_owned()),
            "a directory of two names"
        );
        assert_eq!(key("New"), "New");
        objects.release("New");
        let mut key = |path: &str| objects.key_for(&place(path), None, false, 1, None);
        assert_eq!((key("new"), key("New")), ("new".to_owned(), ".gen/000001-01234567/New".to_owned()));
    }

    #[test]
    fn only_what_is_the_writers_own_grows_in_its_place() {
        let of_other = ".by/ffffffffffffffffffffffffffffffff/a";
        for (keys, old_key, is_grown, expected) in [
            ("", "a", true, "a"),
            ("", "a", false, ".gen/000007-01234567/a"),
            ("", ".gen/000003-01234567/a", true, ".gen/000003-01234567/a"),
            ("", ".gen/000003-01234567-2/a", true, ".gen/000003-01234567-2/a"),
            ("", ".gen/000003-ffffffff/a", true, "a"),
            ("", of_other, true, "a"),
            ("", "../other/a", true, "a"),
            (".by/w/", "a", true, ".by/w/a"),
            (".by/w/", ".by/w/a", true, ".by/w/a"),
            (".by/w/", ".gen/000003-01234567/a", true, ".gen/000003-01234567/a"),
            (".by/w/", ".by/w/a", false, ".gen/000007-01234567/a"),
        ] {
            let mut objects = Objects::new(keys, WRITER, 7);
            if old_key != "a" || keys.is_empty() {
                objects.take(old_key.to_owned(), 1);
            }
            let key = objects.key_for(&place("a"), Some(&old(old_key, "x")), is_grown, 2, None);
            assert_eq!(key, expected, "{keys:?} {old_key} {is_grown}");
        }
    }

    #[test]
    fn what_was_about_to_be_stored_goes_on_under_its_key_and_nothing_else_does() {
        let begun = |key: &str, text: &str| {
            let Hashed { size, sha256, .. } = hashed(text);
            (key.to_owned(), Sending { key: key.to_owned(), size, sha256 })
        };
        let mut objects = Objects::new("", WRITER, 1);
        objects.take("a".to_owned(), 3);
        objects.resume(&[begun("a", "one")].into(), &Uploads::new());
        let mut key = |text: &str| objects.key_for(&place("a"), None, false, 3, Some(&hashed(text)));
        assert_eq!(key("two"), ".gen/000001-01234567/a");
        assert_eq!(key("one"), "a");
    }

    #[test]
    fn of_files_that_began_alike_one_grows_under_the_key() {
        let key = |objects: &mut Objects, path: &str, text: &str| {
            objects.key_for(&place(path), Some(&old("a", "x")), true, text.len() as u64, Some(&hashed(text)))
        };
        let mut objects = Objects::new("", WRITER, 2);
        objects.take("a".to_owned(), 1);
        assert_eq!(key(&mut objects, "b", "x1"), "a");
        assert_eq!(key(&mut objects, "a", "x2"), ".gen/000002-01234567/a", "in one backup");
        assert_eq!(key(&mut objects, "c", "x34"), ".gen/000002-01234567/c");

        let mut objects = Objects::new("", WRITER, 3);
        objects.take("a".to_owned(), 2);
        assert_eq!(key(&mut objects, "a", "x2"), ".gen/000003-01234567/a", "after another backup");

        let mut objects = Objects::new("", WRITER, 3);
        assert_eq!(key(&mut objects, "a", "x2"), ".gen/000003-01234567/a", "of what nothing is known");
    }

    #[test]
    fn what_was_about_to_grow_goes_on_under_its_key_unless_another_file_has_it() {
        let begun = Hashed { size: 2, ..hashed("x1") };
        let resumed = |size: u64| {
            let mut objects = Objects::new("", WRITER, 2);
            objects.take("a".to_owned(), size);
            let sending = Sending { key: "a".to_owned(), size: 2, sha256: begun.sha256 };
            objects.resume(&[("a".to_owned(), sending)].into(), &Uploads::new());
            objects
        };
        let key = |objects: &mut Objects, text: &str| {
            let size = text.len() as u64;
            objects.key_for(&place("a"), Some(&old("a", "x")), true, size, Some(&hashed(text)))
        };
        for (size, text, expected) in [
            (1, "x1", "a"), // the object was not stored
            (2, "x1", "a"), // the object was stored
            (2, "x2", ".gen/000002-01234567/a"),
            (3, "x1", ".gen/000002-01234567/a"),
        ] {
            assert_eq!(key(&mut resumed(size), text), expected, "{size} {text}");
        }
        let mut objects = resumed(2);
        assert_eq!(key(&mut objects, "x1"), "a");
        assert_eq!(key(&mut objects, "x1"), ".gen/000002-01234567/a");
    }

    #[test]
    fn a_lost_object_is_stored_again_under_its_key_by_the_file_that_has_its_content() {
        let lost = |key: &str, there: Option<u64>| {
            let mut objects = Objects::new("", WRITER, 7);
            objects.lose([(key.to_owned(), 3)].into());
            if let Some(size) = there {
                objects.take(key.to_owned(), size);
            }
            objects.learn(key.to_owned(), hashed("one"));
            objects.learn("copy".to_owned(), hashed("one"));
            objects
        };
        let other = ".gen/000007-01234567/a";
        let of_other = ".by/ffffffffffffffffffffffffffffffff/a";
        for (key, there, text, expected) in [
            ("a", None, "one", "a"),
            ("a", Some(1), "one", "a"),
            ("a", Some(3), "one", "a"),
            ("a", Some(3), "one and more", "a"),
            ("a", Some(5), "one", "copy"), // another file has grown there
            ("a", None, "two", other),
            (".gen/000003-01234567/a", None, "one", ".gen/000003-01234567/a"),
            (of_other, None, "one", "copy"),
            (of_other, None, "one and more", "a"),
        ] {
            let mut objects = lost(key, there);
            let (old, new) = (old(key, "one"), hashed(text));
            let found = objects.find(Some(&old), &new, &|_| true);
            let is_grown = text.starts_with("one");
            let chosen = found
                .unwrap_or_else(|| objects.key_for(&place("a"), Some(&old), is_grown, new.size, Some(&new)));
            assert_eq!(chosen, expected, "{key} {there:?} {text}");
            assert_eq!(objects.is_lost(key), chosen != key, "{key} {there:?} {text}");
            objects.release(key);
            assert!(objects.is_lost(key), "{key} {there:?} {text}");
        }
    }

    #[test]
    fn a_key_that_is_given_back_is_what_it_was() {
        let grow = |objects: &mut Objects, from: &str, to: &str| {
            let size = to.len() as u64;
            objects.key_for(&place("a"), Some(&old("a", from)), true, size, Some(&hashed(to)))
        };
        let mut objects = Objects::new("", WRITER, 2);
        objects.take("a".to_owned(), 1);
        assert_eq!(grow(&mut objects, "x", "x1"), "a");
        objects.release("a");
        assert_eq!(grow(&mut objects, "x", "x2"), "a", "nothing was stored");
        assert_eq!(grow(&mut objects, "x2", "x23"), "a", "the same file goes on");
        objects.release("a");
        assert_eq!(grow(&mut objects, "x", "x4"), ".gen/000002-01234567/a", "the first growth was stored");
        assert_eq!(grow(&mut objects, "x2", "x24"), "a");
        let mut new = |path: &str| objects.key_for(&place(path), None, false, 1, None);
        assert_eq!((new("b"), new("b")), ("b".to_owned(), ".gen/000002-01234567/b".to_owned()));
        objects.release("b");
        let mut new = |path: &str| objects.key_for(&place(path), None, false, 1, None);
        assert_eq!(new("b"), "b");
    }

    #[test]
    fn the_same_content_is_found_that_of_the_file_itself_first() {
        let mut objects = Objects::new("", WRITER, 1);
        for key in ["../gone/a", "b", "c"] {
            objects.learn(key.to_owned(), hashed("same"));
        }
        objects.learn("empty".to_owned(), hashed(""));
        let is_there = |key: &str| !key.starts_with("../");
        assert_eq!(objects.find(None, &hashed("same"), &is_there).as_deref(), Some("b"));
        assert_eq!(objects.find(Some(&old("c", "same")), &hashed("same"), &is_there).as_deref(), Some("c"));
        assert_eq!(objects.find(Some(&old("c", "other")), &hashed("same"), &is_there).as_deref(), Some("b"));
        for text in ["diff", ""] {
            assert_eq!(objects.find(None, &hashed(text), &is_there), None);
        }
    }
}
