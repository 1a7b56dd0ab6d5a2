//! What a list of objects gave, whichever protocol it came by.

use crate::store::Object;

/// What a bucket has below a prefix.
#[derive(Debug, Default)]
pub(super) struct Listed {
    /// Objects, by their whole keys.
    pub(super) objects: Vec<Object>,
    /// Prefixes up to the next `/`, if these were asked for.
    pub(super) directories: Vec<String>,
}

impl Listed {
    /// Passes on the objects in the order of their keys, which follow `root`.
    pub(super) fn each(mut self, root: &str, each: &mut dyn FnMut(Object)) {
        for object in &mut self.objects {
            object.key.drain(..root.len());
        }
        if !self.objects.is_sorted_by(|one, other| one.key < other.key) {
            self.objects.sort_unstable_by(|one, other| one.key.cmp(&other.key)); // as some stores list
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
