//! Opens items below a directory, and reaches nothing through a link.

use super::beneath::open_beneath;
use crate::format::entry::{File as Content, Identity};
use crate::format::stamp::Stamp;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat as Found, fstat, open, openat, statat};
use rustix::io::retry_on_intr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// A directory to back up: a run, a batch, or the evaluations of a run under one label.
#[derive(Debug)]
pub(crate) struct Root {
    /// Label of the evaluations in the directory; none for the run or batch itself.
    pub(crate) evaluation: Option<String>,
    /// Path of the directory, which may be a link.
    pub(crate) path: PathBuf,
    /// The names in the directory that belong to the set, if not all do.
    pub(crate) only: Option<&'static [&'static str]>,
    directory: OwnedFd,
}

/// The facts of stat(2) about a file, directory or link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    /// The type of the item.
    pub(crate) kind: FileType,
    /// The device of the file system.
    pub(crate) device: u64,
    /// The inode on this device.
    pub(crate) inode: u64,
    /// Number of names.
    pub(crate) links: u64,
    /// Permissions.
    pub(crate) mode: u32,
    /// Bytes.
    pub(crate) size: u64,
    /// Bytes on disk.
    pub(crate) taken: u64,
    /// Time of the last modification.
    pub(crate) mtime: Stamp,
    /// Time of the last change of the content or inode.
    pub(crate) ctime: Stamp,
}

impl Root {
    /// Opens a directory.
    pub(crate) fn open(evaluation: Option<&str>, path: &Path) -> io::Result<Self> {
        let directory = open_dir(|flags| open(path, flags, Mode::empty()))?;
        Ok(Self { evaluation: evaluation.map(str::to_owned), path: path.to_owned(), only: None, directory })
    }

    /// Restricts the directory to these names.
    #[must_use]
    pub(crate) fn only(self, names: &'static [&'static str]) -> Self {
        Self { only: Some(names), ..self }
    }

    /// Returns the open directory.
    pub(crate) fn directory(&self) -> &OwnedFd {
        &self.directory
    }

    /// Opens a file below the directory for reading. Fails if the file, or a directory above it, has become a
    /// link, a pipe or the like.
    pub(crate) fn open_file(&self, path: &Path) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = open_beneath(&self.directory, path, flags)?;
        if FileType::from_raw_mode(fstat(&file)?.st_mode) != FileType::RegularFile {
            return Err(run_common::error::Unfit::new("it is no file any more").into());
        }
        Ok(File::from(file))
    }

    /// Opens a directory below, or the directory itself for an empty path. Fails if a part of the path is a
    /// link.
    pub(crate) fn open_directory(&self, path: &Path) -> io::Result<OwnedFd> {
        path.iter().try_fold(open_dir_at(&self.directory, c".")?, open_dir_at)
    }

    /// Returns the state of an item below the directory.
    pub(crate) fn stat(&self, path: &Path) -> io::Result<Stat> {
        Ok(Stat::from(&statat(&self.directory, path, AtFlags::SYMLINK_NOFOLLOW)?))
    }
}

/// Opens a directory in another directory for listing. Fails for a link.
pub(crate) fn open_dir_at(above: impl AsFd, name: impl rustix::path::Arg + Copy) -> io::Result<OwnedFd> {
    open_dir(|flags| openat(above.as_fd(), name, flags | OFlags::NOFOLLOW, Mode::empty()))
}

fn open_dir(open: impl Fn(OFlags) -> rustix::io::Result<OwnedFd>) -> io::Result<OwnedFd> {
    Ok(retry_on_intr(|| open(OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC))?)
}

impl Stat {
    /// Returns the state of an open file.
    pub(crate) fn of(file: impl AsFd) -> io::Result<Self> {
        Ok(Self::from(&fstat(file)?))
    }

    /// Returns whether a file has not changed between two looks.
    pub(crate) fn is_same_version(&self, other: &Self) -> bool {
        (self.device, self.inode, self.size, self.mtime, self.ctime)
            == (other.device, other.inode, other.size, other.mtime, other.ctime)
    }

    /// Returns whether a file is the version of an entry, which was written on this machine.
    pub(crate) fn is_version_of(&self, file: &Content, mtime: Stamp) -> bool {
        let identity = Identity { inode: self.inode, ctime: self.ctime };
        file.identity == Some(identity) && file.size == self.size && mtime == self.mtime
    }
}

impl From<&Found> for Stat {
    #[expect(
        clippy::useless_conversion,
        clippy::unnecessary_cast,
        clippy::cast_possible_wrap,
        reason = "their types differ between systems"
    )]
    fn from(found: &Found) -> Self {
        Self {
            kind: FileType::from_raw_mode(found.st_mode),
            device: found.st_dev as u64,
            inode: found.st_ino as u64,
            links: found.st_nlink as u64,
            mode: u32::from(found.st_mode) & 0o7777,
            size: u64::try_from(found.st_size).unwrap_or(0),
            taken: u64::try_from(found.st_blocks).unwrap_or(0).saturating_mul(512),
            mtime: Stamp::new(found.st_mtime.into(), found.st_mtime_nsec as i64),
            ctime: Stamp::new(found.st_ctime.into(), found.st_ctime_nsec as i64),
        }
    }
}
