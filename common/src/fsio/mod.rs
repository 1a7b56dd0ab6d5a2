//! Files that survive a crash: replaced whole, appended by whole lines, locked.

pub mod append;
pub mod atomic;
pub mod lock;

use rustix::fs::{Mode, OFlags, open};
use rustix::io::{read, retry_on_intr};
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Reads a file that is small as a rule.
pub fn read_small(path: &Path) -> io::Result<Vec<u8>> {
    with_small(path, <[u8]>::to_vec)
}

/// Hands on what a file holds that is small as a rule, by as few system calls as can be: a listing reads
/// thousands.
pub fn with_small<R>(path: &Path, to: impl FnOnce(&[u8]) -> R) -> io::Result<R> {
    let file = retry_on_intr(|| open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()))?;
    let mut memory = [MaybeUninit::uninit(); 8 << 10];
    let (start, room) = read(&file, &mut memory)?;
    if start.is_empty() || !room.is_empty() && start.ends_with(b"\n") {
        return Ok(to(start)); // a document ends in a newline, and has no other
    }
    let mut whole = start.to_vec();
    File::from(file).read_to_end(&mut whole)?;
    Ok(to(&whole))
}

/// Joins parts of a path like [`Path::join`], which allocates twice for each: a listing joins tens of
/// thousands.
pub fn join<const N: usize>(parts: [&Path; N]) -> PathBuf {
    let mut path = PathBuf::with_capacity(parts.iter().map(|part| part.as_os_str().len() + 1).sum());
    path.extend(parts);
    path
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_joined_as_the_library_does() {
        for [one, two] in [["a", "b"], ["a/", "b"], ["", "b"], ["a", ""], ["a", "/b"], ["/", "b"]] {
            let (one, two) = (Path::new(one), Path::new(two));
            assert_eq!(join([one, two]).as_os_str(), one.join(two).as_os_str());
        }
    }

    #[test]
    fn files_are_read_whole_whatever_their_length_and_end() {
        let path = std::env::temp_dir().join(format!("small-{}", std::process::id()));
        for length in [0, 1, 100, 8191, 8192, 8193, 100_000] {
            for end in ["", "\n"] {
                let text = "x".repeat(length) + end;
                std::fs::write(&path, &text).unwrap();
                assert_eq!(read_small(&path).unwrap(), text.as_bytes(), "{length}");
            }
        }
        std::fs::remove_file(&path).unwrap();
        assert_eq!(read_small(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
