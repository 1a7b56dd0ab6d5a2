//! Runs below a directory that looks like a run itself, because a program left files beside them.

use super::listing::{Kind, Listing};
use super::{DISTINCT, has_evaluations};
use crate::rundir::layout::{BATCH_DIR, EVAL_RECORD_DIR, RECORD_DIR};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Entries that are looked at in a directory.
const ENTRIES: usize = 10_000;

/// Says whether a directory is a batch or an evaluation of ours, or has runs or batches of ours one or two levels
/// below it. Links are not followed.
pub(super) fn holds_ours(listing: &Listing) -> bool {
    let is_ours = |directory: &Path| {
        [RECORD_DIR, BATCH_DIR].iter().any(|record| fs::symlink_metadata(directory.join(record)).is_ok())
    };
    listing.has_dir(BATCH_DIR)
        || listing.has_dir(EVAL_RECORD_DIR)
        || directories(listing).any(|directory| {
            let entries = fs::read_dir(&directory).into_iter().flatten().flatten().take(ENTRIES);
            is_ours(&directory)
                || entries
                    .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
                    .any(|entry| !is_hidden(&entry.file_name()) && is_ours(&entry.path()))
        })
}

/// Says whether evaluations, or runs of layouts that cannot be mistaken, lie directly in a directory.
pub(super) fn holds_others(listing: &Listing) -> bool {
    directories(listing)
        .filter_map(|directory| Listing::read(&directory).ok())
        .any(|inside| has_evaluations(&inside) || DISTINCT.iter().any(|layout| layout.is_run(&inside)))
}

/// Returns the directories in a directory that may hold runs.
fn directories(listing: &Listing) -> impl Iterator<Item = PathBuf> {
    let may_be = |(name, kind): &(&OsStr, Kind)| *kind == Kind::Directory && !is_hidden(name);
    listing.entries().filter(may_be).map(|(name, _)| listing.path().join(name)).take(ENTRIES)
}

fn is_hidden(name: &OsStr) -> bool {
    name.as_bytes().starts_with(b".")
}
