//! Pins: checkpoints that are kept while they are evaluated, though the trainer deletes or overwrites
//! them. They are hard links below `.eval-pins/` in the run, or in a directory on another disk that a link
//! in the run leads to. Neither discovery nor a backup looks into it, and it is gone with the run-eval that
//! made it, or with the next one.

use nix::libc::EEXIST;
use run_checkpoint::Checkpoint;
use run_common::fsio::lock::{Held, Lock, ask};
use run_common::fsio::read::open_file;
use run_common::fsio::write::copy;
use std::fs::{self, DirEntry, FileTimes};
use std::io;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;
use uuid::Uuid;
use walkdir::WalkDir;

/// The directory of all pins, below the run or where its checkpoints are.
const DIR: &str = ".eval-pins";

/// Small files beside checkpoints that say which of them is the latest: loaders ask for them.
const TRACKERS: [&str; 2] = ["latest", "latest_checkpointed_iteration.txt"];

/// How long another run-eval that makes or removes pins is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// The pins of one run-eval in one directory of one run.
#[derive(Debug)]
pub(crate) struct Pins {
    all: PathBuf,
    mine: PathBuf,
    /// Held while this process, or an evaluation that outlives it, needs them.
    _lock: Lock,
    /// The process that removes them; those that it forks do not.
    owner: u32,
}

/// How a file gets into a pin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// By a link, else by a copy.
    Link,
    /// By a link, and not at all where there can be none.
    LinkOnly,
    /// By a copy, since the trainer writes into the same file again. It takes no space where the file
    /// system can share blocks.
    Copy,
}

impl Pins {
    /// Makes a directory for them, and removes what others left that are known to be dead. A link in its
    /// place is an error: what it leads to is nothing of ours.
    pub(crate) fn open(directory: &Path) -> io::Result<Self> {
        let all = directory.join(DIR);
        loop {
            fs::create_dir_all(&all)?;
            if fs::symlink_metadata(&all).is_ok_and(|found| found.is_symlink()) {
                return Err(io::Error::other(format!("'{DIR}' is a link")));
            }
            let Some(gate) = enter(&all)? else { continue };
            let has_locks = ask(&all.join("lock")).is_ok_and(|held| held == Held::Yes); // it is ours
            for entry in fs::read_dir(&all)?.flatten().filter(|entry| is_left(entry, has_locks)) {
                fs::remove_dir_all(entry.path())?;
            }
            let mine = all.join(Uuid::now_v7().to_string());
            fs::create_dir(&mine)?;
            let lock = Lock::try_take(&mine.join("lock"))?.ok_or(io::ErrorKind::WouldBlock)?;
            drop(gate);
            return Ok(Self { all, mine, _lock: lock, owner: std::process::id() });
        }
    }

    /// Returns below what directory a pinned checkpoint has the path that it has below the run.
    pub(crate) fn root(&self) -> PathBuf {
        self.mine.join("of")
    }

    /// Pins a checkpoint that lies below `root`.
    pub(crate) fn pin(&self, root: &Path, checkpoint: &Checkpoint, how: How) -> io::Result<()> {
        let pinned =
            checkpoint.parts.iter().try_for_each(|part| tree(&root.join(part), &self.root().join(part), how));
        if pinned.is_err() {
            self.release(checkpoint);
        } else if let Some(parent) = checkpoint.path.parent() {
            for tracker in TRACKERS {
                let (from, to) = (root.join(parent).join(tracker), self.root().join(parent).join(tracker));
                if fs::symlink_metadata(&from).is_ok_and(|found| found.is_file() && found.len() < 4096) {
                    let _ = copy(&from, &to); // what is evaluated is there without it
                }
            }
        }
        pinned
    }

    /// Gives a checkpoint up. What cannot be removed now, the end or the next run-eval removes.
    pub(crate) fn release(&self, checkpoint: &Checkpoint) {
        for part in &checkpoint.parts {
            let path = self.root().join(part);
            let _ = fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path)); // see above
        }
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        if self.owner != std::process::id() {
            return;
        }
        if let Ok(Some(_gate)) = enter(&self.all) {
            let _ = fs::remove_dir_all(&self.mine); // the next run-eval removes it, then
            let others = fs::read_dir(&self.all).into_iter().flatten().flatten();
            if others.into_iter().all(|entry| entry.file_name() == "lock") {
                let _ = fs::remove_file(self.all.join("lock")); // others see that theirs is another
                let _ = fs::remove_dir(&self.all);
            }
        }
    }
}

/// Says whether these are pins of a run-eval that is no more. One that was killed while it made or removed
/// them has left them without a lock. Where the file system has no locks, nobody knows.
fn is_left(entry: &DirEntry, has_locks: bool) -> bool {
    entry.file_type().is_ok_and(|kind| kind.is_dir())
        && entry.file_name().to_str().is_some_and(|name| Uuid::try_parse(name).is_ok())
        && has_locks
        && ask(&entry.path().join("lock")).is_ok_and(|held| held != Held::Yes)
}

/// Comes to be alone with the directory of pins; `None` when it was removed meanwhile.
fn enter(all: &Path) -> io::Result<Option<Lock>> {
    let path = all.join("lock");
    let gate = match Lock::take_within(&path, PATIENCE) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        taken => taken?,
    };
    let is_it = fs::metadata(&path).is_ok_and(|there| gate.inode().is_ok_and(|inode| inode == there.ino()));
    Ok(Some(gate).filter(|_| is_it))
}

/// Pins a file, or a directory with all that is in it.
fn tree(from: &Path, to: &Path, how: How) -> io::Result<()> {
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
            file(&path, &target, how)?;
        }
    }
    Ok(())
}

fn file(from: &Path, to: &Path, how: How) -> io::Result<()> {
    if how != How::Copy {
        match fs::hard_link(from, to) {
            Ok(()) => return Ok(()),
            Err(error)
                if how == How::LinkOnly
                    || error.kind() == io::ErrorKind::NotFound
                    || error.raw_os_error() == Some(EEXIST) =>
            {
                return Err(error);
            }
            Err(_) => {}
        }
    }
    let modified = fs::metadata(from)?.modified()?;
    copy(from, to)?;
    open_file(to)?.set_times(FileTimes::new().set_modified(modified))
}
