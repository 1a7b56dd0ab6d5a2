//! Determines when the files of a run were changed.

use super::listing::Listing;
use crate::time::Timestamp;
use std::collections::VecDeque;
use std::fs::{self, Metadata};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Maximum number of entries to examine in a directory below the run, and in all of them.
const ENTRIES: usize = 1_000;
const ALL: usize = 20_000;

/// Maximum depth of directories below the run: Hydra and Lightning nest three.
const DEPTH: usize = 3;

/// Maximum delay of a file system's clock, in seconds.
const TICK: f64 = 0.02;

/// Returns a number that changes when a file of a run is written, created or removed.
pub(in crate::rundir) fn stamp(run: &Path) -> u64 {
    let hash = |path: &Path, found: &Metadata| {
        let mut hash = DefaultHasher::new();
        (path, found.ino(), found.len(), found.mtime(), found.mtime_nsec()).hash(&mut hash);
        hash.finish()
    };
    // The order of entries in a directory may vary, and must not matter.
    let mut sum = fs::symlink_metadata(run).map_or(0, |found| hash(run, &found));
    each_below(run, &mut |path, found| sum = sum.wrapping_add(hash(path, found)));
    sum
}

/// Returns the time of the last change of a run's files. The time of the run's own directory is ignored,
/// because it changes when a file is removed, too.
pub(super) fn newest_change(run: &Path) -> Option<Timestamp> {
    let mut newest = None;
    each_below(run, &mut |_, found| {
        newest = newest.max(found.modified().ok().and_then(Timestamp::of_system));
    });
    newest
}

/// Returns the earliest modification time among the files of a run.
pub(super) fn oldest_change(run: &Path) -> Option<Timestamp> {
    let mut oldest: Option<Timestamp> = None;
    each_below(run, &mut |_, found| {
        let changed = found.modified().ok().filter(|_| found.is_file()).and_then(Timestamp::of_system);
        oldest = oldest.into_iter().chain(changed).min();
    });
    oldest
}

/// Visits the entries below a run without following links: first all entries at its top, then up to a limit.
fn each_below(run: &Path, visit: &mut dyn FnMut(&Path, &Metadata)) {
    let (mut left, mut directories) = (ALL, VecDeque::from([(run.to_owned(), 0)]));
    while let Some((directory, depth)) = directories.pop_front() {
        let most = if depth == 0 { usize::MAX } else { ENTRIES.min(left) };
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten().take(most) {
            let Ok(found) = entry.metadata() else { continue };
            left -= usize::from(depth > 0);
            let path = entry.path();
            visit(&path, &found);
            if found.is_dir() && depth < DEPTH {
                directories.push_back((path, depth + 1));
            }
        }
    }
}

/// Returns the creation time of a run's directory; `None` if an entry is older, because the directory is a copy
/// then.
pub(super) fn born(run: &Path) -> Option<Timestamp> {
    let born = Timestamp::of_system(fs::metadata(run).ok()?.created().ok()?)?;
    let listing = Listing::read(run).ok()?;
    let modified = |name| Timestamp::of_system(fs::symlink_metadata(run.join(name)).ok()?.modified().ok()?);
    let is_first = |(name, _)| modified(name).is_none_or(|modified| modified.seconds_since(born) >= -TICK);
    listing.entries().take(ENTRIES).all(is_first).then_some(born)
}
