//! Stamps: identify the version of a file without reading it.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Identity, length and modification time of a file. Equal stamps mean that nothing was written in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    inode: u64,
    /// The length of the file in bytes.
    pub length: u64,
    modified: (i64, i64),
}

impl Stamp {
    /// Returns the stamp of a file with this metadata.
    pub fn of(file: &Metadata) -> Self {
        Self { inode: file.ino(), length: file.len(), modified: (file.mtime(), file.mtime_nsec()) }
    }

    /// Returns the stamp of a file or of a link's target, if it exists.
    pub fn at(path: &Path) -> Option<Self> {
        fs::metadata(path).ok().map(|file| Self::of(&file))
    }
}
