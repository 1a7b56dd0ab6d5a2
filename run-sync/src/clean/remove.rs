//! Removes what the stores are proven to have: each file through the directory that holds it, and only if it is
//! still the compared version.

use super::plan::Removal;
use super::prove::shown;
use crate::local::root::{Root, Stat};
use crate::local::scan::Found;
use run_common::error::plain;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, openat, readlinkat, statat, unlinkat};
use rustix::io::Errno;
use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Removes files, and directories once they are empty.
pub(super) struct Remover<'a> {
    root: &'a Root,
    /// The directory that was opened last.
    above: Option<(PathBuf, OwnedFd)>,
    /// The state of files with several names after one of the names was removed.
    since: HashMap<(u64, u64), Stat>,
}

impl<'a> Remover<'a> {
    /// Starts in the directory of a run.
    pub(super) fn new(root: &'a Root) -> Self {
        Self { root, above: None, since: HashMap::new() }
    }

    /// Removes a checkpoint, links to it first. Returns the paths that remain, and why.
    pub(super) fn remove(&mut self, removal: &Removal) -> Vec<(String, String)> {
        let rank = |found: &&Found| match found.stat.kind {
            FileType::Symlink => 0,
            FileType::Directory => 2,
            _ => 1,
        };
        let mut found: Vec<&Found> = removal.found.iter().collect();
        found.sort_by_key(rank);
        let directories = found.partition_point(|found| rank(found) < 2);
        found[directories..].reverse(); // the deepest first
        let mut left = Vec::new();
        for found in found {
            match self.one(found) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {} // someone else removed it
                Err(error) => left.push((shown(found), plain(&error))),
            }
        }
        left
    }

    fn one(&mut self, found: &Found) -> io::Result<()> {
        let path = &found.place.path;
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        self.open(parent)?;
        let Some((_, above)) = &self.above else { return Err(io::ErrorKind::NotFound.into()) };
        if found.stat.kind == FileType::Directory {
            return match unlinkat(above, name, AtFlags::REMOVEDIR) {
                Err(Errno::NOTEMPTY | Errno::EXIST) => Err(io::Error::other("has something else in it")),
                removed => Ok(removed?),
            };
        }
        let now = Stat::from(&statat(above, name, AtFlags::SYMLINK_NOFOLLOW)?);
        let identity = (found.stat.device, found.stat.inode);
        if !now.is_same_version(self.since.get(&identity).unwrap_or(&found.stat)) {
            return Err(io::Error::other("has changed meanwhile"));
        }
        if let Some(target) = &found.target
            && readlinkat(above, name, Vec::new())?.as_bytes() != target.as_bytes()
        {
            return Err(io::Error::other("has changed meanwhile"));
        }
        let has_others = now.links > 1 && found.stat.kind == FileType::RegularFile;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let held = if has_others { Some(openat(above, name, flags, Mode::empty())?) } else { None };
        unlinkat(above, name, AtFlags::empty())?;
        if let Some(held) = held {
            let then = Stat::of(held)?;
            if (then.size, then.mtime) == (now.size, now.mtime) {
                self.since.insert(identity, then);
            }
        }
        Ok(())
    }

    fn open(&mut self, parent: &Path) -> io::Result<()> {
        if self.above.as_ref().is_none_or(|(path, _)| path != parent) {
            self.above = Some((parent.to_owned(), self.root.open_directory(parent)?));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::scan::Scan;
    use std::fs;
    use std::os::unix::fs::symlink;
    use tempfile::TempDir;

    /// Scans a directory of files, calls `meanwhile`, and removes them. Returns the files that remain, and why.
    fn left(files: &[&str], meanwhile: impl FnOnce(&Path)) -> (Vec<String>, String) {
        let dir = TempDir::new().unwrap();
        for file in files {
            let path = dir.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "content").unwrap();
        }
        let root = Root::open(None, dir.path()).unwrap();
        let scan = Scan::of(std::slice::from_ref(&root));
        let found = scan.found.into_iter().filter(|found| found.place.path != Path::new("."));
        let removal = Removal { path: "ckpt".into(), found: found.collect() };
        meanwhile(dir.path());
        let left = Remover::new(&root).remove(&removal);
        let root = Root::open(None, dir.path()).unwrap();
        let now = Scan::of(&[root]).found.into_iter().map(|found| shown(&found)).skip(1).collect();
        (now, left.into_iter().map(|(path, why)| format!("{path}: {why}\n")).collect())
    }

    #[test]
    fn what_was_scanned_is_removed_and_nothing_else() {
        let nothing = (Vec::new(), String::new());
        assert_eq!(left(&["a", "b/c", "b/d/e"], |_| {}), nothing);
        assert_eq!(left(&["a", "b"], |dir| fs::remove_file(dir.join("a")).unwrap()), nothing);
        let changed = "a: has changed meanwhile\n".to_owned();
        let rewritten = |dir: &Path| fs::write(dir.join("a"), "CONTENT").unwrap();
        assert_eq!(left(&["a", "b"], rewritten), (vec!["a".to_owned()], changed.clone()));
        let replaced = |dir: &Path| {
            fs::write(dir.join("new"), "content").unwrap();
            fs::rename(dir.join("new"), dir.join("a")).unwrap();
        };
        assert_eq!(left(&["a", "b"], replaced), (vec!["a".to_owned()], changed.clone()));
        let linked = |dir: &Path| {
            fs::rename(dir.join("a"), dir.join("x")).unwrap();
            symlink("x", dir.join("a")).unwrap();
        };
        assert_eq!(left(&["a"], linked), (vec!["a".to_owned(), "x".to_owned()], changed));
    }

    #[test]
    fn nothing_is_reached_through_a_directory_that_has_become_a_link() {
        let elsewhere = TempDir::new().unwrap();
        let (now, why) = left(&["ckpt/a", "ckpt/b"], |dir| {
            fs::rename(dir.join("ckpt"), elsewhere.path().join("ckpt")).unwrap();
            symlink(elsewhere.path().join("ckpt"), dir.join("ckpt")).unwrap();
        });
        assert_eq!(now, ["ckpt"]);
        assert_eq!(why.lines().count(), 3, "{why}");
        assert_eq!(fs::read_dir(elsewhere.path().join("ckpt")).unwrap().count(), 2);
    }

    #[test]
    fn all_names_of_a_file_are_removed() {
        let dir = TempDir::new().unwrap();
        fs::write(dir.path().join("a"), "content").unwrap();
        fs::hard_link(dir.path().join("a"), dir.path().join("b")).unwrap();
        fs::hard_link(dir.path().join("a"), dir.path().join("c")).unwrap();
        let root = Root::open(None, dir.path()).unwrap();
        let found = Scan::of(std::slice::from_ref(&root)).found.into_iter().skip(1).take(2).collect();
        let left = Remover::new(&root).remove(&Removal { path: "a".into(), found });
        assert_eq!((left, fs::read_dir(dir.path()).unwrap().count()), (Vec::new(), 1));
    }
}
