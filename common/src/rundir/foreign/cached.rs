//! Caches the contents of a file or directory that many runs share, so that it is read once for all of them.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Maximum number of cached files. Runs are sorted by path, so those of a batch follow each other.
const KEPT: usize = 2;

/// Version of a file: identity, length, and time of its last change.
type Stamp = (u64, u64, u64, i64, i64);

/// The files that were read last.
pub(super) struct Cached<T>(Mutex<Vec<(PathBuf, Stamp, Arc<T>)>>);

impl<T> Cached<T> {
    pub(super) const fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    /// Returns the result of `read` for a file, cached until the file changes; `None` if there is no such file.
    pub(super) fn get(&self, path: &Path, read: impl FnOnce(&Path) -> T) -> Option<Arc<T>> {
        let found = fs::metadata(path).ok()?;
        let stamp = (found.dev(), found.ino(), found.len(), found.mtime(), found.mtime_nsec());
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((.., known)) = kept.iter().find(|(known, then, _)| known == path && *then == stamp) {
            return Some(Arc::clone(known));
        }
        let value = Arc::new(read(path));
        kept.retain(|(known, ..)| known != path);
        kept.truncate(KEPT - 1);
        kept.insert(0, (path.to_owned(), stamp, Arc::clone(&value)));
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    #[test]
    fn a_file_is_read_once_until_it_changes() {
        let dir = TempDir::new().unwrap();
        let (cached, mut reads) = (Cached::new(), 0);
        let mut get = |name: &str| {
            let read = |path: &Path| {
                reads += 1;
                fs::read_to_string(path).unwrap()
            };
            let value = cached.get(&dir.path().join(name), read);
            (value.map(|value| (*value).clone()), reads)
        };
        for name in ["a", "b", "c"] {
            fs::write(dir.path().join(name), name).unwrap();
        }
        let value = |text: &str| Some(text.to_owned());
        assert_eq!(get("none"), (None, 0));
        assert_eq!(get("a"), (value("a"), 1));
        assert_eq!(get("b"), (value("b"), 2));
        assert_eq!(get("a"), (value("a"), 2));
        assert_eq!(get("c"), (value("c"), 3)); // evicts a
        assert_eq!(get("b"), (value("b"), 3));
        assert_eq!(get("a"), (value("a"), 4));
        fs::write(dir.path().join("a"), "changed").unwrap();
        assert_eq!(get("a"), (value("changed"), 5));
    }
}
