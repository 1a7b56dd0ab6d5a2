//! Fingerprints of files with metrics, which distinguish a rewritten file from one that has grown. Used at
//! the start of an attempt, and to separate the rows of attempts.

use crate::fsio::open_regular;
use crate::provenance::hash::sha256;
use crate::rundir::layout::Layout;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

/// Maximum number of bytes in a fingerprint: the header of a table and its first rows.
const HEAD: u64 = 4096;

/// Returns the SHA-256, in hexadecimal, of the beginning of a file as it was when the file had this length, at
/// most of 4,096 bytes. `None` if this length is 0, or if the file is shorter now or cannot be read.
pub fn fingerprint(path: &Path, length: u64) -> Option<String> {
    let wanted = length.min(HEAD);
    if wanted == 0 {
        return None;
    }
    let file = open_regular(path).ok()??;
    if file.metadata().ok()?.len() < length {
        return None;
    }
    let mut head = Vec::new();
    file.take(wanted).read_to_end(&mut head).ok()?;
    (head.len() as u64 == wanted).then(|| sha256(&head))
}

/// Returns the fingerprints of the files with metrics among these files, given their lengths at the start of an
/// attempt. A program may rewrite such files, unlike logs.
pub fn fingerprints(layout: &Layout, lengths: &BTreeMap<String, u64>) -> BTreeMap<String, String> {
    let logs = [layout.stdout(), layout.stderr(), layout.combined(), layout.scraped()];
    let is_log = |name: &str| logs.iter().any(|log| log.file_name().is_some_and(|log| log == name));
    let metrics = lengths.iter().filter(|(name, _)| !is_log(name));
    let known = metrics
        .filter_map(|(name, &length)| Some((name.clone(), fingerprint(&layout.root().join(name), length)?)));
    known.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_grown_is_the_same_and_what_was_written_anew_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("metrics.csv");
        assert_eq!(fingerprint(&path, 5), None);
        std::fs::write(&path, "step\n1\n").unwrap();
        let known = fingerprint(&path, 7);
        assert_eq!(known, Some(sha256(b"step\n1\n")));
        assert_eq!((fingerprint(&path, 0), fingerprint(&path, 8)), (None, None));
        for (content, is_same) in [("step\n1\n2\n", true), ("step\n2\n3\n", false), ("step\n", false)] {
            std::fs::write(&path, content).unwrap();
            assert_eq!(fingerprint(&path, 7) == known, is_same, "{content}");
        }
        std::fs::write(&path, "x".repeat(5000)).unwrap();
        assert_eq!(fingerprint(&path, 5000), Some(sha256("x".repeat(4096).as_bytes())));
        assert_eq!(fingerprint(&path, 5001), None);
    }
}
