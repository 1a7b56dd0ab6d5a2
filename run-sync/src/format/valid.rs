//! What a manifest must be before anything is done by it. Whoever can write to a store can forge one.

use super::entry::{Entry, File, Kind, Place};
use super::key;
use super::manifest::Manifest;
use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Bytes of a path, with those of the directory it is restored to: what Linux opens.
const PATH: usize = 3000;
/// Bytes of a part of a path.
const NAME: usize = 255;
/// The least size of a part.
const LEAST_PART: u64 = 1 << 20;

/// Checks that entries stay below their directory, are named once and have no file or link above them, and that
/// sizes and parts agree.
pub(super) fn check(manifest: &Manifest) -> Result<(), String> {
    let mut kinds: HashMap<&Place, &Kind> = HashMap::with_capacity(manifest.entries.len());
    let mut total = 0_u64;
    for entry in &manifest.entries {
        let shown = || entry.place.path.display();
        check_path(&entry.place.path).map_err(|why| format!("'{}' {why}", shown()))?;
        if entry.place.evaluation.as_deref().is_some_and(|label| !is_name(label)) {
            return Err(format!("'{}' has an impossible label of evaluations", shown()));
        }
        if kinds.insert(&entry.place, &entry.kind).is_some() {
            return Err(format!("'{}' is there twice", shown()));
        }
        if let Kind::File(file) = &entry.kind {
            check_file(file, &entry.place).map_err(|why| format!("'{}' {why}", shown()))?;
            total = total.checked_add(file.size).ok_or("its sizes exceed all bounds")?;
        }
    }
    for entry in &manifest.entries {
        check_above(entry, &kinds)?;
    }
    Ok(())
}

/// Says whether text can be a name of a run, batch or label: one part of a path.
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
    check_path(Path::new(key.strip_prefix("../").unwrap_or(key))).map_err(|_| "has a key outside of its set")
}

fn check_above(entry: &Entry, kinds: &HashMap<&Place, &Kind>) -> Result<(), String> {
    let mut place = Place { path: entry.place.path.clone(), evaluation: entry.place.evaluation.clone() };
    while place.path.pop() && !place.path.as_os_str().is_empty() {
        match kinds.get(&place) {
            Some(Kind::Dir) => break, // it was, or will be, looked at itself
            None => {}
            Some(_) if entry.absent.is_some() => break, // a directory that has become a file since
            Some(_) => {
                return Err(format!("'{}' lies below what is no directory", entry.place.path.display()));
            }
        }
    }
    Ok(())
}
