//! What a file is known by, without reading it.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Which file it is, how long, and when it was modified: of two that are equal, nothing was written between
/// them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    inode: u64,
    /// The length of the file in bytes.
    pub length: u64,
    modified: (i64, i64),
}

impl Stamp {
    /// Returns the stamp of a file of which this is known.
    pub fn of(file: &Metadata) -> Self {
        Self { inode: file.ino(), length: file.len(), modified: (file.mtime(), file.mtime_nsec()) }
    }

    /// Returns the stamp of a file, or of what a link leads to, if it is there.
    pub fn at(path: &Path) -> Option<Self> {
        fs::metadata(path).ok().map(|file| Self::of(&file))
    }
}
