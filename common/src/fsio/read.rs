//! Opens and reads files that other programs may have written or replaced: never blocks, and bounds memory.

use super::write::kind;
use crate::error::Unfit;
use nix::libc::{O_NOCTTY, O_NOFOLLOW, O_NONBLOCK};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::{pread, retry_on_intr};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::mem::MaybeUninit;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Maximum size of a document of a record, and of a line in a file of JSON lines.
pub const LIMIT: u64 = 16 << 20;

/// Opens a regular file, or a link to one, for reading. Any other kind of file is an error.
pub fn open_file(path: &Path) -> io::Result<File> {
    open_with(path, 0)
}

/// Opens a regular file for reading. Anything else is an error, also a link to one: what a link leads to may be
/// somebody else's.
pub(crate) fn open_no_link(path: &Path) -> io::Result<File> {
    open_with(path, O_NOFOLLOW)
}

fn open_with(path: &Path, flags: i32) -> io::Result<File> {
    let file = OpenOptions::new().read(true).custom_flags(O_NONBLOCK | O_NOCTTY | flags).open(path)?;
    let found = file.metadata()?;
    if found.is_file() { Ok(file) } else { Err(Unfit::new(kind(&found)).into()) }
}

/// Opens a file that a program may have created, for reading; `None` if it does not exist or is not a regular
/// file.
pub fn open_regular(path: &Path) -> io::Result<Option<File>> {
    match open_file(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound || Unfit::is(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Opens a regular file for reading; `None` if nothing is at its path. A link that leads nowhere is an error.
pub fn open_if_there(path: &Path) -> io::Result<Option<File>> {
    match open_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => match fs::symlink_metadata(path) {
            Ok(_) => Err(Unfit::new("it is a link that leads nowhere").into()),
            Err(_) => Ok(None),
        },
        opened => opened.map(Some),
    }
}

/// Reads a document, which is usually small.
pub fn read_small(path: &Path) -> io::Result<Vec<u8>> {
    with_small(path, <[u8]>::to_vec)
}

/// Reads a document as text, with replacements for invalid UTF-8.
pub fn read_text(path: &Path) -> io::Result<String> {
    with_small(path, |bytes| String::from_utf8_lossy(bytes).into_owned())
}

/// Passes the contents of a document on, with as few system calls as possible, because a listing reads
/// thousands.
pub(crate) fn with_small<R>(path: &Path, to: impl FnOnce(&[u8]) -> R) -> io::Result<R> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = retry_on_intr(|| open(path, flags, Mode::empty()))?;
    let mut memory = [MaybeUninit::uninit(); 8 << 10];
    let start = match pread(&file, &mut memory, 0) {
        Ok((start, room)) if !room.is_empty() => Some(&*start),
        Ok(_) | Err(_) => None,
    };
    // A document ends in its only newline. Other contents may come from a special file; a pipe or a terminal
    // cannot be read at an offset.
    if let Some(start) = start.filter(|start| start.ends_with(b"\n")) {
        return Ok(to(start));
    }
    let file = File::from(file);
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(Unfit::new(kind(&found)).into());
    }
    match start.filter(|start| start.len() as u64 == found.len()) {
        Some(whole) => Ok(to(whole)),
        None => Ok(to(&bounded(file, found.len())?)),
    }
}

/// Reads a file of this length, unless it is too large.
pub(crate) fn bounded(file: impl Read, length: u64) -> io::Result<Vec<u8>> {
    let too_large = || Unfit::new("it is larger than 16 MiB").into();
    if length > LIMIT {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    file.take(LIMIT + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LIMIT { Err(too_large()) } else { Ok(bytes) }
}

/// Reads at most this many bytes from the beginning of a file.
pub fn read_start(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut start = Vec::new();
    open_file(path)?.take(most).read_to_end(&mut start)?;
    Ok(start)
}

/// Reads at most this many bytes from the end of a file, and none before the offset `from`.
pub fn read_end(path: &Path, from: u64, most: u64) -> io::Result<Vec<u8>> {
    let mut file = open_file(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(from.max(length.saturating_sub(most))))?;
    let mut end = Vec::new();
    file.take(most).read_to_end(&mut end)?;
    Ok(end)
}

/// Reads a file from the command line, which may be a pipe, as with `<(…)`: waits for its contents, but
/// limits their size.
pub fn read_argument(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let found = file.metadata()?;
    let length = if found.is_file() { found.len() } else { 0 };
    let no_fault_of_a_run = |error: io::Error| {
        if Unfit::is(&error) { io::Error::new(io::ErrorKind::FileTooLarge, error.to_string()) } else { error }
    };
    bounded(file, length).map_err(no_fault_of_a_run)
}

/// Reads a file of the kernel, as below `/proc` and `/sys`, whose length is unknown before reading.
pub fn read_kernel(path: impl AsRef<Path>) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(LIMIT).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::unistd::mkfifo;
    use std::fs;
    use std::io::Write;
    use tempfile::TempDir;

    #[test]
    fn files_are_read_whole_whatever_their_length_and_end() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("small");
        for length in [0, 1, 100, 8191, 8192, 8193, 100_000] {
            for end in ["", "\n"] {
                let text = "x".repeat(length) + end;
                fs::write(&path, &text).unwrap();
                assert_eq!(read_small(&path).unwrap(), text.as_bytes(), "{length}");
                assert_eq!(read_argument(&path).unwrap(), text.as_bytes(), "{length}");
                assert_eq!(read_start(&path, 100).unwrap(), text.as_bytes()[..text.len().min(100)]);
            }
        }
        fs::remove_file(&path).unwrap();
        assert_eq!(read_small(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(open_regular(&path).unwrap().is_none());
    }

    #[test]
    fn what_is_no_document_is_refused_at_once() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("large");
        let file = File::create(&path).unwrap();
        for (length, is_read) in [(LIMIT, true), (LIMIT + 1, false), (10 << 30, false)] {
            file.set_len(length).unwrap();
            assert_eq!(read_small(&path).is_ok(), is_read, "{length}");
            assert_eq!(read_argument(&path).is_ok(), is_read, "{length}");
        }
        fs::remove_file(&path).unwrap();
        mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let mut both = OpenOptions::new().read(true).write(true).open(&path).unwrap(); // so that it is open
        both.write_all(b"{}\n").unwrap(); // what a document looks like
        let zero = Path::new("/dev/zero");
        for (path, why) in [
            (path.as_path(), "it is a pipe"),
            (zero, "it is a device"),
            (Path::new("/"), "it is a directory"),
        ] {
            for error in [read_small(path).unwrap_err(), open_file(path).unwrap_err()] {
                assert!(Unfit::is(&error) && error.to_string() == why, "{error}");
            }
            assert!(open_regular(path).unwrap().is_none());
        }
        assert!(read_argument(zero).is_err());
    }
}
