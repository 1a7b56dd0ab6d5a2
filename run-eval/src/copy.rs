//! Preserves files under a second path, whatever happens to the first: by hard links, or by copies if the
//! disk has room.

use nix::libc::EEXIST;
use run_common::figures::human_bytes;
use run_common::fsio::read::open_file;
use run_common::fsio::write::create;
use rustix::fs::{ioctl_ficlone, statvfs};
use std::fs::{self, FileTimes};
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;
use walkdir::WalkDir;

/// How files are preserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    /// By links, or not at all.
    Link,
    /// By links, else by copies.
    LinkOrCopy,
    /// By copies, because the trainer writes into the same files again. Copies take no space if the file
    /// system can share blocks.
    Copy,
}

/// Files that are preserved together.
#[derive(Debug)]
pub(crate) struct Copier {
    method: Method,
    /// Their total size, in bytes.
    bytes: u64,
    /// The disk is known to have room for their copies.
    has_room: bool,
}

impl Copier {
    /// Prepares for files of this total size.
    pub(crate) fn new(method: Method, bytes: u64) -> Self {
        Self { method, bytes, has_room: false }
    }

    /// Preserves a file, or a directory with its contents.
    pub(crate) fn tree(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent)?;
        }
        for entry in WalkDir::new(from).follow_root_links(true) {
            let entry = entry?;
            let target = match entry.path().strip_prefix(from) {
                Ok(below) if !below.as_os_str().is_empty() => to.join(below),
                _ => to.to_owned(),
            };
            if entry.file_type().is_dir() {
                fs::create_dir(&target).or_else(|error| if target.is_dir() { Ok(()) } else { Err(error) })?;
                continue;
            }
            // A link to a file counts as the file; a link to a directory stays a link to its target.
            let path = if entry.path_is_symlink() { entry.path().canonicalize()? } else { entry.into_path() };
            if path.is_dir() {
                symlink(&path, &target)?;
            } else {
                self.file(&path, &target)?;
            }
        }
        Ok(())
    }

    fn file(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        if self.method != Method::Copy {
            match fs::hard_link(from, to) {
                Ok(()) => return Ok(()),
                Err(error)
                    if self.method == Method::Link
                        || error.kind() == io::ErrorKind::NotFound
                        || error.raw_os_error() == Some(EEXIST) =>
                {
                    return Err(error);
                }
                Err(_) => {}
            }
        }
        let mut source = open_file(from)?;
        let meta = source.metadata()?;
        let mut target = create(to)?;
        if ioctl_ficlone(&target, &source).is_err() {
            self.check_room(to)?;
            io::copy(&mut source, &mut target)?;
        }
        target.set_permissions(meta.permissions())?;
        target.set_times(FileTimes::new().set_modified(meta.modified()?))
    }

    /// Refuses to copy unless the disk has room for the copies and for the next checkpoint, so that the
    /// training does not run out of space.
    fn check_room(&mut self, place: &Path) -> io::Result<()> {
        if self.has_room {
            return Ok(());
        }
        let disk = statvfs(place)?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        if free < self.bytes.saturating_mul(2) {
            let (copies, free) = (human_bytes(self.bytes), human_bytes(free));
            let why = format!("its copy takes {copies}, the next checkpoint as much, and {free} are free");
            return Err(io::Error::new(io::ErrorKind::StorageFull, why));
        }
        self.has_room = true;
        Ok(())
    }
}
