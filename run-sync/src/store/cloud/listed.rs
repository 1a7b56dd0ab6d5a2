//! The content of a list of objects, in any protocol.

use crate::store::Object;

/// The content of a bucket below a prefix.
#[derive(Debug, Default)]
pub(super) struct Listed {
    /// Objects, with their whole keys.
    pub(super) objects: Vec<Object>,
    /// Prefixes up to the next `/`, if requested.
    pub(super) directories: Vec<String>,
}

impl Listed {
    /// Passes on the objects in the order of their keys, without the prefix `root`.
    pub(super) fn each(mut self, root: &str, each: &mut dyn FnMut(Object)) {
        for object in &mut self.objects {
            object.key.drain(..root.len());
        }
        if !self.objects.is_sorted_by(|one, other| one.key < other.key) {
            self.objects.sort_unstable_by(|one, other| one.key.cmp(&other.key)); // some stores do not sort
            self.objects.dedup_by(|one, other| one.key == other.key);
        }
        self.objects.into_iter().for_each(each);
    }

    /// Returns the names of the directories below a prefix.
    pub(super) fn names(self, below: &str) -> Vec<String> {
        let found = self.directories.iter();
        let mut names: Vec<String> = found
            .filter_map(|found| Some(found.strip_prefix(below)?.trim_end_matches('/').to_owned()))
            .filter(|name| !name.is_empty())
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}
