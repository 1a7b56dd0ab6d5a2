//! What a file is known by, without reading it.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

/// Which file it is, how long, and when it was modified: of two that are equal, nothing was written between
/// them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    inode: u64,
    pub(super) length: u64,
    modified: (i64, i64),
}

impl Stamp {
    pub(super) fn of(file: &Metadata) -> Self {
        Self { inode: file.ino(), length: file.len(), modified: (file.mtime(), file.mtime_nsec()) }
    }
}
