//! The list of hashes that sha256sum(1) reads.

use super::digest::Digest;
use super::entry::{Entry, Kind};
use std::collections::BTreeMap;

/// Writes the hashes of the objects of a manifest, by key. Of an object that grew since one of several entries was
/// stored, the longest content is the present one.
pub(crate) fn sums(entries: &[Entry]) -> String {
    let mut objects: BTreeMap<String, (u64, Digest)> = BTreeMap::new();
    for entry in entries {
        if let (Kind::File(file), Some(key)) = (&entry.kind, entry.object()) {
            let content = (file.size, file.sha256);
            objects.entry(key).and_modify(|known| *known = content.max(*known)).or_insert(content);
        }
    }
    objects.into_iter().map(|(key, (_, digest))| format!("{digest}  {key}\n")).collect() // keys need no escapes
}
