//! Writes below a directory, and reaches nothing through a link: each path is resolved from the open directory,
//! and a link in a path is an error.

use crate::format::stamp::Stamp;
use crate::local::beneath::open_beneath;
use crate::local::root::Stat;
use run_common::error::Unfit;
use run_common::fsio::rename::rename_new_at;
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, chmodat, linkat, mkdirat,
    openat, readlinkat, renameat, statat, symlinkat, unlinkat, utimensat,
};
use rustix::io::{Errno, retry_on_intr};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// An open directory, for the paths below it.
#[derive(Debug)]
pub(super) struct Tree {
    root: OwnedFd,
}

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW);
const FILE: OFlags = OFlags::CLOEXEC.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

impl Tree {
    /// Opens a directory, or a link to one.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self { root: retry_on_intr(|| openat(CWD, path, flags, Mode::empty()))? })
    }

    /// Opens a directory below; the path may be empty.
    pub(super) fn directory(&self, path: &Path) -> io::Result<OwnedFd> {
        if path.as_os_str().is_empty() {
            return Ok(openat(&self.root, ".", DIRECTORY, Mode::empty())?);
        }
        open_beneath(&self.root, path, DIRECTORY)
    }

    fn above<'a>(&self, path: &'a Path) -> io::Result<(OwnedFd, &'a OsStr)> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        Ok((self.directory(parent)?, name))
    }

    /// Returns the state of a path, which may be empty; does not follow a link. None if there is nothing, or an
    /// item above is no directory.
    pub(super) fn look(&self, path: &Path) -> io::Result<Option<Stat>> {
        if path.as_os_str().is_empty() {
            return Stat::of(&self.root).map(Some);
        }
        let found =
            self.above(path).and_then(|(above, name)| Ok(statat(above, name, AtFlags::SYMLINK_NOFOLLOW)?));
        match found {
            Ok(found) => Ok(Some(Stat::from(&found))),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                Ok(None)
            }
            Err(error) if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns the target of a link.
    pub(super) fn target(&self, path: &Path) -> io::Result<OsString> {
        let (above, name) = self.above(path)?;
        Ok(OsString::from_vec(readlinkat(above, name, Vec::new())?.into_bytes()))
    }

    /// Creates a directory, or keeps an existing one.
    pub(super) fn make_dir(&self, path: &Path, mode: u32) -> io::Result<()> {
        let (above, name) = self.above(path)?;
        match mkdirat(above, name, Mode::from_raw_mode(mode)) {
            Err(Errno::EXIST) => self.directory(path).map(drop), // fails unless the item is a directory
            made => Ok(made?),
        }
    }

    /// Opens a file for reading.
    pub(super) fn open_file(&self, path: &Path) -> io::Result<File> {
        let (above, name) = self.above(path)?;
        regular(openat(above, name, FILE | OFlags::RDONLY, Mode::empty())?)
    }

    /// Creates a file, or opens an existing one. Returns also whether the file existed.
    pub(super) fn create(&self, path: &Path) -> io::Result<(File, bool)> {
        let (above, name) = self.above(path)?;
        let mode = Mode::from_raw_mode(0o600);
        match openat(&above, name, FILE | OFlags::RDWR | OFlags::CREATE | OFlags::EXCL, mode) {
            Err(Errno::EXIST) => {
                Ok((regular(openat(&above, name, FILE | OFlags::RDWR, Mode::empty())?)?, true))
            }
            made => Ok((File::from(made?), false)),
        }
    }

    /// Creates a link.
    pub(super) fn make_link(&self, target: &OsStr, path: &Path) -> io::Result<()> {
        let (above, name) = self.above(path)?;
        Ok(symlinkat(target, above, name)?)
    }

    /// Gives a file a second name.
    pub(super) fn make_same(&self, file: &Path, path: &Path) -> io::Result<()> {
        let ((old, file), (new, name)) = (self.above(file)?, self.above(path)?);
        Ok(linkat(old, file, new, name, AtFlags::empty())?)
    }

    /// Sets the mode of an item that is no link.
    pub(super) fn set_mode(&self, path: &Path, mode: u32) -> io::Result<()> {
        let (above, name) = self.above(path)?;
        Ok(chmodat(above, name, Mode::from_raw_mode(mode), AtFlags::empty())?)
    }

    /// Sets the modification time of an item, also of a link itself. The path may be empty.
    pub(super) fn set_mtime(&self, path: &Path, mtime: Stamp) -> io::Result<()> {
        let times = Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
            last_modification: timespec(mtime),
        };
        if path.as_os_str().is_empty() {
            return Ok(rustix::fs::futimens(&self.root, &times)?);
        }
        let (above, name) = self.above(path)?;
        Ok(utimensat(above, name, &times, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Renames an item within its directory. Fails if the new name is taken.
    pub(super) fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        let ((above, from), to) = (self.above(from)?, name_of(to)?);
        rename_new_at(above, Path::new(from), Path::new(to))
    }

    /// Renames an item within its directory, and replaces a file or link of that name. Fails if a directory has
    /// the name.
    pub(super) fn rename_over(&self, from: &Path, to: &Path, is_dir: bool) -> io::Result<()> {
        let ((above, from), to) = (self.above(from)?, name_of(to)?);
        if !is_dir {
            return Ok(renameat(&above, from, &above, to)?);
        }
        match unlinkat(&above, to, AtFlags::empty()) {
            Err(Errno::ISDIR) => return Err(Errno::EXIST.into()),
            Err(Errno::NOENT) => {}
            removed => removed?,
        }
        rename_new_at(above, Path::new(from), Path::new(to))
    }

    /// Lists the names in a directory.
    pub(super) fn names(&self, path: &Path) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        for entry in Dir::new(self.directory(path)?)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if !matches!(name, b"." | b"..") {
                names.push(OsStr::from_bytes(name).to_owned());
            }
        }
        Ok(names)
    }

    /// Removes a file, a link, or a directory with its content.
    pub(super) fn remove(&self, path: &Path) -> io::Result<()> {
        let mut left = vec![(path.to_owned(), false)];
        while let Some((path, is_empty)) = left.pop() {
            let is_dir = self.look(&path)?.is_some_and(|found| found.kind == FileType::Directory);
            let (above, name) = self.above(&path)?;
            if is_dir && !is_empty {
                let _ = chmodat(&above, name, Mode::RWXU, AtFlags::empty()); // else it cannot be emptied
                let inside: Vec<PathBuf> = self.names(&path)?.iter().map(|name| path.join(name)).collect();
                left.push((path, true));
                left.extend(inside.into_iter().map(|path| (path, false)));
                continue;
            }
            match unlinkat(above, name, if is_dir { AtFlags::REMOVEDIR } else { AtFlags::empty() }) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// Converts a time for a system call.
pub(super) fn timespec(time: Stamp) -> Timespec {
    Timespec { tv_sec: time.seconds, tv_nsec: time.nanoseconds.into() }
}

fn name_of(path: &Path) -> io::Result<&OsStr> {
    path.file_name().ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

fn regular(file: OwnedFd) -> io::Result<File> {
    if Stat::of(&file)?.kind == FileType::RegularFile {
        Ok(File::from(file))
    } else {
        Err(Unfit::new("it is no regular file").into())
    }
}
