//! Locks shared by all users of a machine, in a directory where everybody may create files. Existing files are
//! not trusted: nothing is written to or read from them, and a link, a FIFO or a directory does not serve as a
//! lock.

use crate::error::plain;
use nix::fcntl::{Flock, FlockArg};
use nix::libc::{O_CLOEXEC, O_NOCTTY, O_NOFOLLOW, O_NONBLOCK};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Directories for locks, the best first. Not `TMPDIR`, because each user may have a different one.
const DIRECTORIES: [&str; 2] = ["/run/lock", "/tmp"];

/// Mode of a directory in which everybody may create files, and remove only their own.
const STICKY: u32 = 0o1777;

/// A lock held by this process and its forked children, until the last of them ends.
#[derive(Debug)]
pub struct MachineLock {
    _file: Flock<File>,
}

impl MachineLock {
    /// Takes a lock by name; returns `None` if another process holds it, or if its file belongs to another user
    /// who does not let others open it.
    pub fn try_take(name: &str) -> io::Result<Option<Self>> {
        Self::try_take_in(&directory(), name)
    }

    fn try_take_in(directory: &Path, name: &str) -> io::Result<Option<Self>> {
        let letters = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
        let path = directory.join(format!("run-tools-{}", name.chars().map(letters).collect::<String>()));
        let file = match open(&path) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(None),
            file => file.map_err(|error| named(&path, &error))?,
        };
        let locked = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(locked) => locked,
            Err((_, nix::Error::EAGAIN)) => return Ok(None),
            Err((_, error)) => return Err(named(&path, &error.into())),
        };
        // The owner may have removed the file meanwhile: other processes would then lock another file.
        let (held, there) = (locked.metadata()?, fs::symlink_metadata(&path));
        let is_there = there.is_ok_and(|there| (there.dev(), there.ino()) == (held.dev(), held.ino()));
        Ok(is_there.then_some(Self { _file: locked }))
    }
}

/// Returns the directory, which is the same for all users of the machine.
fn directory() -> PathBuf {
    let is_sticky = |path: &&&str| {
        fs::symlink_metadata(path).is_ok_and(|found| found.is_dir() && found.mode() & STICKY == STICKY)
    };
    DIRECTORIES.iter().find(is_sticky).unwrap_or(&"/tmp").into()
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("'{}': {}", path.display(), plain(error)))
}

/// Opens the file of a lock read-only, or creates it.
fn open(path: &Path) -> io::Result<File> {
    let flags = O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
    // With fs.protected_regular, O_CREAT fails for files of other users.
    let existing = || OpenOptions::new().read(true).custom_flags(flags).open(path);
    let file = match existing() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut create = OpenOptions::new();
            match create.read(true).write(true).create_new(true).mode(0o644).custom_flags(flags).open(path) {
                Ok(file) => {
                    file.set_permissions(Permissions::from_mode(0o644))?; // whatever the umask is
                    Ok(file)
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => existing(),
                Err(error) => Err(error),
            }
        }
        opened => opened,
    }?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_lock_is_held_once_until_it_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let take = || MachineLock::try_take_in(dir.path(), "gpu-GPU-1/..").unwrap();
        let held = take().unwrap();
        assert!(take().is_none());
        let file = dir.path().join("run-tools-gpu-GPU-1___");
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o644);
        assert_eq!(fs::read(&file).unwrap(), b"");
        drop(held);
        assert!(take().is_some());
    }

    #[test]
    fn what_is_no_regular_file_is_no_lock() {
        let dir = tempfile::tempdir().unwrap();
        let victim = dir.path().join("victim");
        fs::write(&victim, "precious").unwrap();
        symlink(&victim, dir.path().join("run-tools-link")).unwrap();
        mkfifo(&dir.path().join("run-tools-fifo"), Mode::from_bits_truncate(0o666)).unwrap();
        fs::create_dir(dir.path().join("run-tools-dir")).unwrap();
        for name in ["link", "fifo", "dir"] {
            assert!(MachineLock::try_take_in(dir.path(), name).is_err(), "{name}");
        }
        fs::hard_link(&victim, dir.path().join("run-tools-hard")).unwrap();
        assert!(MachineLock::try_take_in(dir.path(), "hard").unwrap().is_some());
        assert_eq!(fs::read(&victim).unwrap(), b"precious");
    }
}
