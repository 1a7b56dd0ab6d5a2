//! The list of hashes that sha256sum(1) reads.

use super::entry::{Entry, Kind};
use super::key;
use std::collections::BTreeMap;

/// Writes the hashes of the objects of a manifest, by key.
pub(crate) fn sums(entries: &[Entry]) -> String {
    let mut lines = BTreeMap::new();
    for entry in entries {
        if let Kind::File(file) = &entry.kind {
            let object = file.key.clone().or_else(|| key::plain(&entry.place));
            lines.extend(object.map(|object| (object, file.sha256)));
        }
    }
    lines.into_iter().map(|(object, digest)| format!("{digest}  {object}\n")).collect() // keys need no escapes
}
