//! Removes what was proven to be stored: each file by the directory that holds it, if it still is the very version that
//! was compared.

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
    /// What files with several names became when one of the names was removed.
    since: HashMap<(u64, u64), Stat>,
}

impl<'a> Remover<'a> {
    /// Begins below the directory of a run.
    pub(super) fn new(root: &'a Root) -> Self {
        Self { root, above: None, since: HashMap::new() }
    }

    /// Removes a checkpoint, links to it first. Returns what is left of it: paths, and why.
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
                Err(error) if error.kind() == io::ErrorKind::NotFound => {} // someone else did
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
