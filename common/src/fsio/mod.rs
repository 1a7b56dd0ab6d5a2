//! Files that survive a crash: replaced whole, appended by whole lines, locked.

pub mod append;
pub mod atomic;
pub mod lock;

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Opens a file that a program may have put there, for reading; `None` when there is none or it is
/// no regular file: a pipe by that name would be waited for.
pub fn open_regular(path: &Path) -> io::Result<Option<File>> {
    match OpenOptions::new().read(true).custom_flags(nix::libc::O_NONBLOCK).open(path) {
        Ok(file) => Ok(Some(file).filter(|file| file.metadata().is_ok_and(|file| file.is_file()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
