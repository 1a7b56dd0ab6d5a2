//! Checks a manifest before use: anyone who can write to a store can forge one.

use super::entry::{Entry, File, Kind, Place, ROOT};
use super::key::{self, BATCH};
use super::manifest::{Manifest, SetKind};
use run_common::rundir::layout::BATCH_FILES;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Bytes of a path: Linux must be able to open the path below the directory to which it is restored.
const PATH: usize = 3000;
/// Bytes of a part of a path.
const NAME: usize = 255;
/// The least size of a part.
const LEAST_PART: u64 = 1 << 20;

/// Checks that entries stay below their directory, occur once and have no file or link above them, and that
/// sizes and parts agree. The entries are in the order of their places: the content of a directory follows the
/// directory.
pub(super) fn check(manifest: &Manifest) -> Result<(), String> {
    let mut total = 0_u64;
    let mut above: Vec<(&Place, bool)> = Vec::new(); // entries above, and whether each is a directory
    for entry in &manifest.entries {
        let Entry { place, kind, absent, .. } = entry;
        let fault = |why: &str| format!("'{}' {why}", place.path.display());
        let is_root = place.path.as_os_str() == ROOT && *kind == Kind::Dir;
        if !is_root {
            check_path(&place.path).map_err(fault)?;
        }
        if manifest.head.kind == SetKind::Batch && !is_of_batch(place) {
            return Err(fault("does not belong to a batch"));
        }
        if place.evaluation.as_deref().is_some_and(|label| !is_name(label)) {
            return Err(fault("has an impossible label of evaluations"));
        }
        if let Kind::File(file) = kind {
            check_file(file, place).map_err(fault)?;
            total = total.checked_add(file.size).ok_or("its sizes exceed all bounds")?;
        }
        while above.last().is_some_and(|(last, _)| !place.is_below(last)) {
            above.pop();
        }
        let is_solid = match above.last() {
            Some((last, _)) if *last == place => return Err(fault("is there twice")),
            Some((_, is_solid)) => *is_solid,
            None => true,
        };
        if !is_solid && absent.is_none() {
            return Err(fault("lies below what is no directory"));
        }
        above.push((place, is_solid && *kind == Kind::Dir));
    }
    Ok(())
}

/// Returns whether a path belongs to a batch itself: its runs have sets of their own.
fn is_of_batch(place: &Place) -> bool {
    let first = place.path.iter().next().unwrap_or_default();
    place.evaluation.is_none() && (first == BATCH || BATCH_FILES.iter().any(|name| first == *name))
}

/// Returns whether text can be the name of a run, batch or label: one part of a path.
pub(crate) fn is_name(text: &str) -> bool {
    check_path(Path::new(text)).is_ok() && !text.contains('/')
}

/// Checks a relative path whose parts are names.
fn check_path(path: &Path) -> Result<(), &'static str> {
    let bytes = path.as_os_str().as_bytes();
    if bytes.len() > PATH {
        return Err("is too long");
    }
    for part in bytes.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." | b".." => return Err("does not stay below the run"),
            part if part.len() > NAME => return Err("is too long"),
            part if part.contains(&0) => return Err("has a NUL in it"),
            _ => {}
        }
    }
    Ok(())
}

fn check_file(file: &File, place: &Place) -> Result<(), &'static str> {
    if i64::try_from(file.size).is_err() {
        return Err("is larger than any file");
    }
    if let Some(parts) = &file.parts {
        let count = u64::try_from(parts.digests.len()).unwrap_or(u64::MAX);
        if parts.size < LEAST_PART || file.size.div_ceil(parts.size) != count {
            return Err("has parts that are not its own");
        }
    }
    if let Some(path) = &file.same_file {
        check_path(path)?;
    }
    match &file.key {
        Some(key) => check_key(key),
        None if key::plain(place).is_none() => Err("has no key"),
        None => Ok(()),
    }
}

/// Checks a key: below the set, or below another set of the batch.
fn check_key(key: &str) -> Result<(), &'static str> {
    let is_outside = check_path(Path::new(key.strip_prefix("../").unwrap_or(key))).is_err();
    if is_outside || key.chars().any(char::is_control) { Err("has a key outside of its set") } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::super::digest::Digest;
    use super::super::entry::{Absent, Parts};
    use super::super::manifest::{Head, Verified};
    use super::super::stamp::Stamp;
    use super::*;
    use run_common::time::Timestamp;

    fn entry(path: &str, kind: Kind) -> Entry {
        let place = Place { evaluation: None, path: path.into() };
        Entry { place, kind, mode: 0o644, mtime: Stamp::new(0, 0), absent: None }
    }

    fn gone(entry: Entry) -> Entry {
        Entry { absent: Some(Absent::Gone), ..entry }
    }

    fn content(size: u64) -> File {
        File {
            size,
            sha256: Digest::of(b""),
            parts: None,
            key: None,
            sparse: false,
            prefix: false,
            same_file: None,
            identity: None,
        }
    }

    fn file(path: &str) -> Entry {
        entry(path, Kind::File(content(1)))
    }

    fn keyed(path: &str, key: &str) -> Entry {
        entry(path, Kind::File(File { key: Some(key.to_owned()), ..content(1) }))
    }

    fn dir(path: &str) -> Entry {
        entry(path, Kind::Dir)
    }

    fn link(path: &str) -> Entry {
        entry(path, Kind::Link("/etc".into()))
    }

    fn parts(size: u64, part: u64, count: usize) -> Entry {
        let parts = Parts { size: part, digests: vec![Digest::of(b""); count] };
        entry("f", Kind::File(File { parts: Some(parts), ..content(size) }))
    }

    /// Writes a manifest of these entries, and parses it again.
    fn read(entries: Vec<Entry>) -> Result<Manifest, String> {
        read_set(SetKind::Run, entries)
    }

    fn read_set(kind: SetKind, entries: Vec<Entry>) -> Result<Manifest, String> {
        let head = Head {
            schema: Head::SCHEMA,
            number: 1,
            parent: None,
            kind,
            run_id: "id".to_owned(),
            run_name: "trial".to_owned(),
            batch: None,
            created: Timestamp::from_millis(0).unwrap(),
            host: "host".to_owned(),
            writer: "w".to_owned(),
            tool_version: "0".to_owned(),
            keys: String::new(),
            status: "completed".to_owned(),
            verified: Verified::Read,
        };
        Manifest::parse(&Manifest { head, entries }.to_bytes().unwrap())
    }

    #[test]
    fn what_reaches_outside_is_refused_whole() {
        let outside = "does not stay below the run";
        let cases = [
            (file("../x"), outside),
            (file("a/../../x"), outside),
            (file("/etc/passwd"), outside),
            (file("a//b"), outside),
            (file("a/"), outside),
            (file("./a"), outside),
            (file("."), outside),
            (dir("a/."), outside),
            (file(""), outside),
            (file(&"x".repeat(256)), "is too long"),
            (file("a\0b"), "has a NUL in it"),
            (file(".gen/x"), "has no key"),
            (keyed("a", "../../x"), "has a key outside of its set"),
            (keyed("a", "/x"), "has a key outside of its set"),
            (keyed("a", "x\ny"), "has a key outside of its set"),
            (entry("a", Kind::File(content(1 << 63))), "is larger than any file"),
            (parts(3 << 20, 1 << 20, 2), "has parts that are not its own"),
            (parts(3, 1, 3), "has parts that are not its own"),
            (parts(1, u64::MAX, 0), "has parts that are not its own"),
        ];
        for (entry, why) in cases {
            let shown = format!("'{}' {why}", entry.place.path.display());
            assert_eq!(read(vec![file("b"), entry]).unwrap_err(), shown);
        }
        let label = |label: &str| {
            let evaluation = Some(label.to_owned());
            Entry { place: Place { evaluation, path: "x".into() }, ..file("x") }
        };
        for wrong in ["..", "", "a/b", "."] {
            assert_eq!(read(vec![label(wrong)]).unwrap_err(), "'x' has an impossible label of evaluations");
        }
        read(vec![label("gsm8k"), file("x"), dir("."), keyed("y", "../other/.gen/000001-w/y")]).unwrap();
        let huge = || entry("a", Kind::File(content(1 << 62)));
        read(vec![huge()]).unwrap(); // the disk decides
        let many = (0..4).map(|at| Entry { place: file(&format!("f{at}")).place, ..huge() });
        assert_eq!(read(many.collect()).unwrap_err(), "its sizes exceed all bounds");
    }

    #[test]
    fn nothing_lies_below_a_link_or_a_file_or_is_there_twice() {
        let below = |path: &str| Err(format!("'{path}' lies below what is no directory"));
        let cases = [
            (vec![link("a"), file("a/x")], below("a/x")),
            (vec![file("a/b/c"), file("a-b"), file("a")], below("a/b/c")),
            (vec![dir("a"), link("a/b"), dir("a/b/c")], below("a/b/c")),
            (vec![gone(link("a")), file("a/x")], below("a/x")),
            (vec![file("a"), gone(dir("a/b")), file("a/b/c")], below("a/b/c")),
            (vec![file("a"), dir("b"), file("a")], Err("'a' is there twice".to_owned())),
            (vec![gone(file("a")), file("a")], Err("'a' is there twice".to_owned())),
            (vec![file("a"), gone(file("a/x")), gone(dir("a/y")), gone(file("a/y/z"))], Ok(())),
            (vec![dir("."), dir("a"), dir("a/b"), file("a/b/c"), file("a.b"), link("a/d")], Ok(())),
            (vec![file("no/directory/is/listed")], Ok(())),
        ];
        for (entries, expected) in cases {
            let shown = format!("{entries:?}");
            assert_eq!(read(entries).map(drop), expected, "{shown}");
        }
    }

    #[test]
    fn a_batch_has_none_of_the_files_of_its_runs() {
        let own = [dir(".batch"), file(".batch/batch.json"), file("master_log.txt")];
        read_set(SetKind::Batch, own.into()).unwrap();
        for other in ["a/checkpoints/x", "x", ".batches/x"] {
            let refused = read_set(SetKind::Batch, vec![file(other)]).unwrap_err();
            assert_eq!(refused, format!("'{other}' does not belong to a batch"));
        }
    }

    #[test]
    fn entries_are_read_in_the_order_of_their_places() {
        let manifest = read(vec![file("b"), file("a/x"), file("a.x"), dir("a"), dir(".")]).unwrap();
        let paths: Vec<_> = manifest.entries.iter().map(|entry| entry.place.path.to_str().unwrap()).collect();
        assert_eq!(paths, [".", "a", "a/x", "a.x", "b"]);
    }
}
