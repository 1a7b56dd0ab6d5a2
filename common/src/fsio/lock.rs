//! The lock of a run: an open-file-description lock, which disappears with the last process that holds it,
//! and which readers can test without taking it.

use super::write::open_update;
use crate::process::identity::ProcessId;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc::{self, ELOOP, O_NOCTTY, O_NOFOLLOW, O_NONBLOCK};
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// How often to retry a lock.
const PAUSE: Duration = Duration::from_millis(10);

/// Maximum number of bytes to read from a lock's file.
const SIGNATURE: u64 = 4 << 10;

/// A lock that is held until the last copy of it, forked ones included, is dropped or its
/// processes have died.
#[derive(Debug)]
pub struct Lock(File);

/// The state of a lock, as seen without taking it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// Some process holds it.
    Yes,
    /// No process on any host that shares the file system's locks holds it.
    No,
    /// There is no lock file, or the file system has no locks.
    Unknown,
}

impl Lock {
    /// Takes the lock, and creates its file if missing; returns `None` if another process holds the lock.
    /// Succeeds on a file system without locks, where the owner's record must serve instead.
    pub fn try_take(path: &Path) -> io::Result<Option<Self>> {
        let file = open_update(path)?;
        match fcntl(&file, FcntlArg::F_OFD_SETLK(&whole_file())) {
            Err(nix::Error::EAGAIN | nix::Error::EACCES) => Ok(None),
            Ok(_) | Err(nix::Error::ENOLCK | nix::Error::ENOTSUP | nix::Error::ENOSYS) => {
                Ok(Some(Self(file)))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Takes the lock, and creates its file if missing; gives up after some time, because a suspended process
    /// may hold the lock for ever.
    pub fn take_within(path: &Path, time: Duration) -> io::Result<Self> {
        let started = Instant::now();
        loop {
            match Self::try_take(path)? {
                Some(lock) => return Ok(lock),
                None if started.elapsed() < time => thread::sleep(PAUSE),
                None => {
                    return Err(io::Error::new(io::ErrorKind::WouldBlock, "another process holds its lock"));
                }
            }
        }
    }

    /// Records the holder, for people, for the "held by" error, and to find the process again: a line in
    /// words, and the same as JSON.
    pub fn sign(&mut self, holder: &ProcessId) -> io::Result<()> {
        let ProcessId { host, pid, .. } = holder;
        let text = format!("process {pid} on {host}\n{}\n", serde_json::to_string(holder)?);
        self.0.write_all_at(text.as_bytes(), 0)?;
        // Truncated afterwards: ext4 writes a file to the disk on close if it was truncated to nothing.
        self.0.set_len(text.len() as u64)
    }

    /// Returns the inode of the lock's file, which may have been removed since.
    pub fn inode(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.ino())
    }

    /// Returns whether the lock's file was removed since it was opened.
    pub(crate) fn is_removed(&self) -> bool {
        self.0.metadata().is_ok_and(|file| file.nlink() == 0)
    }

    /// Releases the lock now, for every process that shares it.
    pub fn release(self) {
        let mut unlock = whole_file();
        unlock.l_type = short(libc::F_UNLCK);
        let _ = fcntl(&self.0, FcntlArg::F_OFD_SETLK(&unlock)); // the lock disappears with the file in any case
    }
}

/// Returns the last signer of a lock. Locks signed by version 0.1.0 have no boot and no start time.
pub fn holder(path: &Path) -> Option<ProcessId> {
    let mut text = Vec::new();
    open_to_ask(path).ok()?.take(SIGNATURE).read_to_end(&mut text).ok()?;
    let text = String::from_utf8_lossy(&text);
    let mut lines = text.lines();
    let words = lines.next()?;
    if let Some(holder) = lines.next().and_then(|line| serde_json::from_str(line).ok()) {
        return Some(holder);
    }
    let (pid, host) = words.strip_prefix("process ")?.split_once(" on ")?;
    Some(ProcessId::of_unknown_boot(host.to_owned(), pid.parse().ok()?))
}

/// Tests whether a lock is held.
pub fn ask(path: &Path) -> io::Result<Held> {
    let file = match open_to_ask(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Held::Unknown),
        Err(error) if error.raw_os_error() == Some(ELOOP) => return Ok(Held::Unknown), // a link is not a lock
        opened => opened?,
    };
    let mut lock = whole_file();
    match fcntl(&file, FcntlArg::F_OFD_GETLK(&mut lock)) {
        Ok(_) if lock.l_type == short(libc::F_UNLCK) => Ok(Held::No),
        Ok(_) => Ok(Held::Yes),
        Err(_) => Ok(Held::Unknown),
    }
}

/// Opens a lock's file for testing, whatever kind of file it is.
fn open_to_ask(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(O_NOFOLLOW | O_NONBLOCK | O_NOCTTY).open(path)
}

fn whole_file() -> libc::flock {
    libc::flock {
        l_type: short(libc::F_WRLCK),
        l_whence: short(libc::SEEK_SET),
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}

fn short(constant: i32) -> libc::c_short {
    libc::c_short::try_from(constant).unwrap_or_default()
}
