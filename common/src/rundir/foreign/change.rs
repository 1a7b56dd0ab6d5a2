//! When something of a run was written first and last.

use super::listing::{Kind, Listing};
use crate::time::Timestamp;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Entries that are looked at in a directory below the run.
const ENTRIES: usize = 1_000;

/// Returns what differs as soon as a file of a run is written, appears or goes: of those at its top, and of those in
/// directories there.
pub(in crate::rundir) fn stamp(run: &Path) -> u64 {
    let mut hash = DefaultHasher::new();
    let mut add = |path: &Path| {
        if let Ok(found) = fs::symlink_metadata(path) {
            (path, found.ino(), found.len(), found.mtime(), found.mtime_nsec()).hash(&mut hash);
        }
    };
    add(run);
    let Ok(listing) = Listing::read(run) else { return hash.finish() };
    for (name, kind) in listing.entries() {
        let path = run.join(name);
        add(&path);
        if kind == Kind::Directory {
            let inside = fs::read_dir(&path).into_iter().flatten().flatten().take(ENTRIES);
            inside.for_each(|entry| add(&entry.path()));
        }
    }
    hash.finish()
}

/// Seconds by which the clock of a file system may be behind.
const TICK: f64 = 0.02;

/// Returns when a run was changed last: one of its files, or of those in directories of it.
pub(super) fn newest_change(run: &Path) -> Option<Timestamp> {
    let of = |path: &Path| {
        let found = fs::symlink_metadata(path).ok()?;
        Timestamp::of_system(found.modified().ok()?)
    };
    let mut newest = None; // the directory itself tells also of what was removed
    for (name, kind) in Listing::read(run).ok()?.entries() {
        let path = run.join(name);
        newest = newest.max(of(&path));
        if kind == Kind::Directory {
            let inside = fs::read_dir(&path).into_iter().flatten().flatten().take(ENTRIES);
            newest = inside.fold(newest, |newest, entry| newest.max(of(&entry.path())));
        }
    }
    newest
}

/// Returns when the directory of a run was made, unless something in it is older: it was copied, then.
pub(super) fn born(run: &Path) -> Option<Timestamp> {
    let born = Timestamp::of_system(fs::metadata(run).ok()?.created().ok()?)?;
    let listing = Listing::read(run).ok()?;
    let modified = |name| Timestamp::of_system(fs::symlink_metadata(run.join(name)).ok()?.modified().ok()?);
    let is_first = |(name, _)| modified(name).is_none_or(|modified| modified.seconds_since(born) >= -TICK);
    listing.entries().take(ENTRIES).all(is_first).then_some(born)
}
