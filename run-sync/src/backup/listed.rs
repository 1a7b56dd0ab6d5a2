//! The objects in the store, as a backup knows them.

use super::objects::Objects;
use crate::format::entry::{Entry, Kind};
use crate::local::subject::Subject;
use crate::set::Set;
use run_common::error::Error;
use std::collections::HashMap;

/// The keys and sizes of the set's objects, once the store was asked.
#[derive(Default)]
pub(super) struct Listed(pub(super) Option<HashMap<String, u64>>);

impl Listed {
    /// Returns whether the store has the object of an entry; true until the store was asked.
    pub(super) fn has(&self, entry: &Entry) -> bool {
        let (Some(listed), Kind::File(file), Some(key)) = (&self.0, &entry.kind, entry.object()) else {
            return true;
        };
        key.starts_with("../") || listed.get(&key).is_some_and(|size| *size >= file.size)
    }

    /// Asks the store, once.
    pub(super) fn ask(&mut self, set: &Set<'_>, subject: &Subject) -> Result<(), Error> {
        if self.0.is_none() {
            let mut listed = HashMap::new();
            set.objects(subject.kind, &mut |object| _ = listed.insert(object.key, object.size))?;
            self.0 = Some(listed);
        }
        Ok(())
    }

    /// Passes the keys with objects to `objects`.
    pub(super) fn tell(&self, objects: &mut Objects) {
        self.0.iter().flatten().for_each(|(key, size)| objects.take(key.clone(), *size));
    }

    /// Returns the number of known objects.
    pub(super) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, HashMap::len)
    }
}
