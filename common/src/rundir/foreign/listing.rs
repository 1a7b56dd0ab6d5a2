//! The names in a directory, which identify a layout.

use super::fields::Fields;
use std::ffi::OsStr;
use std::fs::{self, FileType};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Maximum number of files to list in a directory; a directory with more is a data set. All directories are
/// listed.
const FILES: usize = 20_000;

/// The names in a directory.
#[derive(Debug)]
pub struct Listing {
    path: PathBuf,
    /// The entries that are files, directories or links, sorted by name.
    entries: Vec<(Box<OsStr>, Kind)>,
}

/// What an entry is, without following links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::rundir) enum Kind {
    File,
    Directory,
    Link,
    Other,
}

impl Kind {
    fn of(kind: FileType) -> Self {
        if kind.is_file() {
            Self::File
        } else if kind.is_dir() {
            Self::Directory
        } else if kind.is_symlink() {
            Self::Link
        } else {
            Self::Other
        }
    }
}

impl Listing {
    /// Reads a directory.
    pub fn read(path: &Path) -> io::Result<Self> {
        let mut entries = Vec::new();
        let mut files = 0;
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            let Ok(kind) = entry.file_type() else { continue }; // removed meanwhile
            let kind = Kind::of(kind);
            files += usize::from(kind == Kind::File);
            if kind != Kind::File || files <= FILES {
                entries.push((entry.file_name().into_boxed_os_str(), kind));
            }
        }
        entries.sort_unstable_by(|(one, _), (other, _)| one.as_bytes().cmp(other.as_bytes()));
        Ok(Self { path: path.to_owned(), entries })
    }

    /// Returns the directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns its name.
    pub fn name(&self) -> &OsStr {
        self.path.file_name().unwrap_or_default()
    }

    /// Returns the names of its entries and their kinds, by name.
    pub(in crate::rundir) fn entries(&self) -> impl Iterator<Item = (&OsStr, Kind)> {
        self.entries.iter().map(|(name, kind)| (&**name, *kind))
    }

    /// Returns whether there is a file of this name, or a link to one.
    pub fn has_file(&self, name: &str) -> bool {
        self.is(name, Kind::File, Path::is_file)
    }

    /// Returns whether there is a directory of this name, or a link to one.
    pub fn has_dir(&self, name: &str) -> bool {
        self.is(name, Kind::Directory, Path::is_dir)
    }

    /// Returns whether there is an entry of this name.
    pub(in crate::rundir) fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    fn find(&self, name: &str) -> Option<Kind> {
        let found = self.entries.binary_search_by(|(known, _)| known.as_bytes().cmp(name.as_bytes()));
        found.ok().map(|at| self.entries[at].1)
    }

    fn is(&self, name: &str, wanted: Kind, leads_there: impl Fn(&Path) -> bool) -> bool {
        self.find(name).is_some_and(|found| match found {
            Kind::Link => leads_there(&self.path.join(name)),
            kind => kind == wanted,
        })
    }

    /// Returns whether there is a file whose name meets a condition; names that are not UTF-8 are ignored.
    pub fn any_file(&self, is_such: impl Fn(&str) -> bool) -> bool {
        let may_be = |kind| matches!(kind, Kind::File | Kind::Link);
        self.entries.iter().any(|(name, kind)| may_be(*kind) && name.to_str().is_some_and(&is_such))
    }

    /// Returns whether there is a directory whose name meets a condition; names that are not UTF-8 are ignored.
    pub fn any_dir(&self, is_such: impl Fn(&str) -> bool) -> bool {
        let may_be = |kind| matches!(kind, Kind::Directory | Kind::Link);
        self.entries.iter().any(|(name, kind)| may_be(*kind) && name.to_str().is_some_and(&is_such))
    }

    /// Reads a small JSON object in the directory, for a layout whose names alone do not identify it.
    pub fn document(&self, name: &str) -> Option<Fields> {
        if self.has_file(name) { Fields::read(&self.path.join(name), &mut Vec::new()) } else { None }
    }
}
