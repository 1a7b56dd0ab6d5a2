//! Finds runs below a directory that looks like a run itself, because a program left files beside them.

use super::listing::{Kind, Listing};
use super::{DISTINCT, has_evaluations, is_hidden_holder};
use crate::rundir::layout::{BATCH_DIR, EVAL_RECORD_DIR, RECORD_DIR};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The record directories of the suite.
const RECORDS: [&str; 2] = [RECORD_DIR, BATCH_DIR];

/// Maximum number of entries to examine in a directory.
const ENTRIES: usize = 10_000;

/// Maximum depth of runs of other systems, and number of runs that make a directory a project.
const DEPTH: usize = 4;
const SEVERAL: usize = 2;

/// The directory in which the RL practice keeps checkpoints. It contains no runs, and may be large.
const CHECKPOINTS: &str = "training_state";

/// Returns whether a directory is a batch or an evaluation of the suite, or contains runs or batches of the
/// suite at one or two levels. Links are not followed.
pub(super) fn holds_ours(listing: &Listing) -> bool {
    if listing.has_dir(BATCH_DIR) || listing.has_dir(EVAL_RECORD_DIR) {
        return true;
    }
    let all: Vec<PathBuf> = directories(listing).filter(|path| !path.ends_with(CHECKPOINTS)).collect();
    let is_counted = !all.is_empty() && counts_directories(listing);
    all.into_iter().filter(|path| !is_counted || links_to(path) != Some(2)).any(|path| {
        Listing::read(&path).is_ok_and(|inside| {
            RECORDS.iter().any(|record| inside.has(record))
                || directories(&inside)
                    .any(|path| RECORDS.iter().any(|record| fs::symlink_metadata(path.join(record)).is_ok()))
        })
    })
}

/// Returns whether the link count of a directory shows the number of directories in it, because each has an
/// entry `..`. Many file systems count these links; others always report 1 or 2.
fn counts_directories(listing: &Listing) -> bool {
    let inside = listing.entries().filter(|(_, kind)| *kind == Kind::Directory).count();
    links_to(listing.path()) == u64::try_from(inside).ok().map(|inside| inside + 2)
}

fn links_to(directory: &Path) -> Option<u64> {
    fs::symlink_metadata(directory).ok().map(|found| found.nlink())
}

/// Returns whether a directory directly contains evaluations or a run of a distinct layout, or several such
/// runs at deeper levels, as in a project. Directories that W&B creates below a run are ignored.
pub(super) fn holds_others(listing: &Listing) -> bool {
    let (mut looked_at, mut runs) = (0, 0);
    let mut left: Vec<_> = directories(listing).map(|path| (path, 1)).collect();
    while let Some((path, depth)) = left.pop() {
        looked_at += 1;
        let Ok(inside) = Listing::read(&path) else { continue };
        if DISTINCT.iter().any(|layout| layout.is_run(&inside)) {
            runs += if depth == 1 { SEVERAL } else { 1 };
        } else if depth == 1 && has_evaluations(&inside) {
            return true;
        } else if depth < DEPTH && looked_at < ENTRIES && !path.ends_with("wandb") {
            left.extend(directories(&inside).map(|path| (path, depth + 1)));
        }
        if runs >= SEVERAL {
            return true;
        }
    }
    false
}

/// Returns the directories in a directory that may contain runs.
fn directories(listing: &Listing) -> impl Iterator<Item = PathBuf> {
    let may_be = |(name, kind): &(&OsStr, Kind)| *kind == Kind::Directory && !is_hidden(name);
    listing.entries().filter(may_be).map(|(name, _)| listing.path().join(name)).take(ENTRIES)
}

fn is_hidden(name: &OsStr) -> bool {
    name.as_bytes().starts_with(b".") && !is_hidden_holder(name)
}
