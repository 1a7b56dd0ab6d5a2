//! The list of hashes that sha256sum(1) reads.

use super::digest::Digest;
use super::entry::{Entry, Kind};
use std::fmt::Write;

/// Bytes of a line in addition to the key.
const BESIDE: usize = 64 + 3;

/// Returns the hashes of a manifest's objects, by key. If an object has grown between several entries, the
/// longest content is the present one.
pub(crate) fn sums(entries: &[Entry]) -> String {
    let mut objects: Vec<(String, u64, Digest)> = Vec::with_capacity(entries.len());
    for entry in entries {
        if let (Kind::File(file), Some(key)) = (&entry.kind, entry.object()) {
            objects.push((key, file.size, file.sha256));
        }
    }
    objects.sort_unstable_by(|one, other| other.cmp(one)); // the longest first
    objects.dedup_by(|next, kept| next.0 == kept.0);
    let mut list = String::with_capacity(objects.iter().map(|(key, ..)| key.len() + BESIDE).sum());
    for (key, _, digest) in objects.iter().rev() {
        let _ = writeln!(list, "{digest}  {key}"); // a string takes all; keys need no escapes
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_object_has_a_line_in_order_with_its_longest_content() {
        let entry = |path: &str, key: Option<&str>, content: &str| -> Entry {
            let sha256 = Digest::of(content.as_bytes());
            let (mtime, size) = ("2026-01-29T12:00:00.000000000Z", content.len());
            serde_json::from_value(json!({
                "path": path, "type": "file", "mtime": mtime, "size": size, "sha256": sha256, "key": key,
            }))
            .unwrap()
        };
        let entries = [
            entry("b", None, "longer"),
            entry("c", Some("b"), "long"),
            entry("d", Some("a/x"), "short"),
            entry("e", Some("b"), "longest"),
        ];
        let line = |key: &str, content: &str| format!("{}  {key}\n", Digest::of(content.as_bytes()));
        assert_eq!(sums(&entries), line("a/x", "short") + &line("b", "longest"));
        assert_eq!(sums(&[]), "");
    }
}
