//! Gives files another name or another place, so that they stay as they are whatever becomes of the first:
//! by links or by copies.

use nix::libc::EEXIST;
use run_common::fsio::read::open_file;
use run_common::fsio::write::create;
use std::fs::{self, FileTimes};
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;
use walkdir::WalkDir;

/// How files get another place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    /// By links, and not at all where there can be none.
    Link,
    /// By links, else by copies.
    LinkOrCopy,
    /// By copies, since somebody writes into the same files again. They take no space where the file system
    /// can share blocks.
    Copy,
}

/// Files that get another place together.
#[derive(Debug)]
pub(crate) struct Copier {
    method: Method,
}

impl Copier {
    /// Makes one.
    pub(crate) fn new(method: Method) -> Self {
        Self { method }
    }

    /// Gives a file, or a directory with all that is in it, another place.
    pub(crate) fn tree(&self, from: &Path, to: &Path) -> io::Result<()> {
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
            // A link to a file counts as the file; one to a directory stays a link, to where it leads.
            let path = if entry.path_is_symlink() { entry.path().canonicalize()? } else { entry.into_path() };
            if path.is_dir() {
                symlink(&path, &target)?;
            } else {
                self.file(&path, &target)?;
            }
        }
        Ok(())
    }

    fn file(&self, from: &Path, to: &Path) -> io::Result<()> {
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
        io::copy(&mut source, &mut target)?; // by copy_file_range(2), which shares the blocks where that can be
        target.set_permissions(meta.permissions())?;
        target.set_times(FileTimes::new().set_modified(meta.modified()?))
    }
}
