//! The directories to restore to: that of the run, and one for each label of its evaluations.

use super::tree::Tree;
use crate::format::digest::Digest;
use crate::format::entry::ROOT;
use crate::format::stamp::Stamp;
use crate::local::root::Stat;
use crate::local::scan::RESTORED;
use run_common::error::{Error, Exit};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A directory to restore to.
#[derive(Debug)]
pub(super) struct Ground {
    /// Path of the directory.
    pub(super) root: PathBuf,
    /// Whether the directory existed before.
    pub(super) exists: bool,
    /// The directory, or its parent if the directory is new.
    tree: Option<Tree>,
    /// Path of the directory in the tree.
    prefix: PathBuf,
}

impl Ground {
    /// Looks for the directory.
    pub(super) fn new(root: PathBuf) -> Result<Self, Error> {
        let failed = |error| Error::io("restore to", &root, error);
        let exists = match fs::metadata(&root) {
            Ok(found) if found.is_dir() => true,
            Ok(_) => return Err(failed(io::ErrorKind::NotADirectory.into())),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            Err(_) if fs::symlink_metadata(&root).is_ok() => {
                return Err(failed(io::Error::other("it is a link to nothing")));
            }
            Err(_) => false,
        };
        let tree = if exists { Some(Tree::open(&root).map_err(failed)?) } else { None };
        let name = root.file_name().map(PathBuf::from).unwrap_or_default();
        Ok(Self { prefix: if exists { PathBuf::new() } else { name }, root, exists, tree })
    }

    /// Creates the parent of a new directory.
    pub(super) fn prepare(&mut self) -> Result<(), Error> {
        if self.tree.is_none() {
            let holder = self.holder();
            let made = fs::create_dir_all(holder).and_then(|()| Tree::open(holder));
            self.tree = Some(made.map_err(|error| Error::io("restore to", holder, error))?);
        }
        Ok(())
    }

    fn holder(&self) -> &Path {
        match self.root.parent() {
            Some(holder) if !holder.as_os_str().is_empty() => holder,
            _ => Path::new("."),
        }
    }

    /// Returns the tree of the paths.
    pub(super) fn tree(&self) -> io::Result<&Tree> {
        self.tree.as_ref().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Returns the path of an entry in the tree.
    pub(super) fn path(&self, path: &Path) -> PathBuf {
        if path.as_os_str() == ROOT { self.prefix.clone() } else { self.prefix.join(path) }
    }

    /// Returns a path in the tree as people read it.
    pub(super) fn shown(&self, path: &Path) -> PathBuf {
        if self.exists { self.root.join(path) } else { self.holder().join(path) }
    }

    /// Returns the state of a path in the tree; none if there is nothing.
    pub(super) fn look(&self, path: &Path) -> Result<Option<Stat>, Error> {
        if !self.exists {
            return Ok(None);
        }
        let found = self.tree().and_then(|tree| tree.look(path));
        found.map_err(|error| Error::io("look at", &self.shown(path), error))
    }

    /// Returns the room on the device of the directory, or of its future place.
    pub(super) fn space(&self) -> Option<Space> {
        let there = self
            .root
            .ancestors()
            .chain([Path::new(".")])
            .find(|path| path.exists() || path == &Path::new("."))?;
        let there = if there.as_os_str().is_empty() { Path::new(".") } else { there };
        let device = rustix::fs::stat(there).ok()?.st_dev;
        let found = rustix::fs::statvfs(there).ok()?;
        Some(Space { device, free: found.f_bavail.saturating_mul(found.f_frsize) })
    }

    /// Returns the bytes that an interrupted restore has already written at a path.
    pub(super) fn taken(&self, path: &Path) -> u64 {
        fs::symlink_metadata(self.shown(path)).map_or(0, |found| found.blocks().saturating_mul(512).max(1))
    }

    /// Sets the time of a directory that existed before.
    pub(super) fn set_mtime(&self, path: &Path, mtime: Stamp) -> io::Result<()> {
        self.tree()?.set_mtime(path, mtime)
    }
}

/// Room on a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Space {
    /// The device.
    pub(super) device: u64,
    /// Bytes that are free.
    pub(super) free: u64,
}

/// Returns the name of an item until it is complete: beside its own name, and the same on each try.
pub(super) fn staged(path: &Path) -> PathBuf {
    let digest = Digest::of(path.as_os_str().as_bytes()).to_string();
    let (begin, end) = RESTORED;
    path.with_file_name(format!("{begin}{}{end}", &digest[..16]))
}

/// Returns the error of a second restore to the same place.
pub(super) fn busy(root: &Path) -> Error {
    Error::new(Exit::Busy, format!("cannot restore to '{}'", root.display()))
        .because("another run-sync restores it")
}
