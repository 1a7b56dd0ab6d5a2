//! Files that survive a crash: replaced as a whole, appended by whole lines, locked. All files of a run are
//! opened here: opening for reading never blocks, and links are never written to.

pub mod append;
pub mod atomic;
pub mod lock;
pub mod read;
pub mod rename;
pub mod stamp;
pub mod write;

pub(crate) use read::with_small;
pub use read::{open_if_there, open_regular, read_small};

use std::path::{Path, PathBuf};

/// Joins parts of a path like [`Path::join`], which allocates twice for each: a listing joins tens of
/// thousands.
pub fn join<const N: usize>(parts: [&Path; N]) -> PathBuf {
    let mut path = PathBuf::with_capacity(parts.iter().map(|part| part.as_os_str().len() + 1).sum());
    path.extend(parts);
    path
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
