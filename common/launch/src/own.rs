//! Directories that only the calling user can write to.

use nix::unistd::getuid;
use run_common::error::{Error, Exit};
use run_common::fsio::write::check_dir;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::PathBuf;

/// Creates such a directory unless it exists.
pub(crate) fn make_own(path: PathBuf) -> Result<PathBuf, Error> {
    let _ = DirBuilder::new().mode(0o700).create(&path); // an existing directory is checked below
    check_own(path)
}

/// Refuses a directory that others can write to.
pub(crate) fn check_own(path: PathBuf) -> Result<PathBuf, Error> {
    let failed = |error| Error::io("use", &path, error);
    check_dir(&path).map_err(failed)?;
    let found = fs::symlink_metadata(&path).map_err(failed)?;
    if found.uid() == getuid().as_raw() && found.mode() & 0o022 == 0 {
        Ok(path)
    } else {
        Err(Error::new(Exit::System, format!("cannot use '{}'", path.display()))
            .because("others can write to it"))
    }
}
