//! Files that survive a crash: replaced whole, appended by whole lines, locked.

pub mod append;
pub mod atomic;
pub mod lock;

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Reads a file that is small as a rule, by as few system calls as can be: a listing reads thousands.
pub fn read_small(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let mut bytes = vec![0; 8 << 10];
    let mut length = 0;
    loop {
        let count = file.read(&mut bytes[length..])?;
        length += count;
        if length < bytes.len() && (count == 0 || bytes[length - 1] == b'\n') {
            bytes.truncate(length); // a document ends in a newline, and has no other
            return Ok(bytes);
        }
        if length == bytes.len() {
            bytes.resize(4 * length, 0);
        }
    }
}

/// Opens a file that a program may have put there, for reading; `None` when there is none or it is
/// no regular file: a pipe by that name would be waited for.
pub fn open_regular(path: &Path) -> io::Result<Option<File>> {
    match OpenOptions::new().read(true).custom_flags(nix::libc::O_NONBLOCK).open(path) {
        Ok(file) => Ok(Some(file).filter(|file| file.metadata().is_ok_and(|file| file.is_file()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
