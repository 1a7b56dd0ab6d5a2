//! Files that survive a crash: replaced whole, appended by whole lines, locked. And the one way to open a
//! file: what is read is not waited for, and what is written is no link.

pub mod append;
pub mod atomic;
pub mod lock;
pub mod read;
pub mod write;

pub use read::{open_regular, read_small, with_small};

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Joins parts of a path like [`Path::join`], which allocates twice for each: a listing joins tens of
/// thousands.
pub fn join<const N: usize>(parts: [&Path; N]) -> PathBuf {
    let mut path = PathBuf::with_capacity(parts.iter().map(|part| part.as_os_str().len() + 1).sum());
    path.extend(parts);
    path
}

/// Returns which file a path leads to, whatever its names: device and inode. `None` where it cannot be looked at.
pub fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|found| (found.dev(), found.ino()))
}

/// Says whether both lead to the same file; `None` where one cannot be looked at, as when it was moved away.
pub(crate) fn is_the_same(one: &Path, other: &Path) -> Option<bool> {
    Some(identity(one)? == identity(other)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_joined_as_the_library_does() {
        for [one, two] in [["a", "b"], ["a/", "b"], ["", "b"], ["a", ""], ["a", "/b"], ["/", "b"]] {
            let (one, two) = (Path::new(one), Path::new(two));
            assert_eq!(join([one, two]).as_os_str(), one.join(two).as_os_str());
        }
    }
}
