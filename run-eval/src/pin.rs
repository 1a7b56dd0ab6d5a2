//! Pins: keep checkpoints during their evaluation, even if the trainer deletes or overwrites them. Pins are
//! hard links below `.eval-pins/` in the run, or in a directory on another disk that a link in the run leads
//! to. Discovery and backups skip `.eval-pins`. The run-eval that created it removes it at its end; if
//! killed, the next run-eval does.

use crate::copy::{Copier, Method};
use run_checkpoint::Checkpoint;
use run_common::error::plain;
use run_common::fsio::lock::{Held, Lock, ask};
use run_common::fsio::write::copy;
use run_common::message::warn;
use std::collections::HashMap;
use std::fs::{self, DirEntry};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use uuid::Uuid;

/// The directory of all pins, in the run or beside its checkpoints.
const DIR: &str = ".eval-pins";

/// Small files beside checkpoints that name the latest checkpoint: some loaders need them.
const TRACKERS: [&str; 2] = ["latest", "latest_checkpointed_iteration.txt"];

/// How long to wait for another run-eval that creates or removes pins.
const PATIENCE: Duration = Duration::from_secs(5);

/// All pins of one run-eval for one run.
#[derive(Debug)]
pub(crate) struct RunPins {
    /// The pins in the run; `None` if they cannot be created.
    own: Option<Pins>,
    /// The pins on other disks, by the name of the link in the run that leads there.
    elsewhere: HashMap<PathBuf, Option<Pins>>,
}

impl RunPins {
    /// Creates the directory for pins in a run. If that fails, warns that checkpoints are evaluated in place.
    pub(crate) fn open(run: &Path) -> Self {
        let own = Pins::open(run).inspect_err(|error| {
            let (shown, why) = (run.display(), plain(error));
            warn(&format!(
                "cannot pin checkpoints of '{shown}': {why}; do not delete them before their evaluation"
            ));
        });
        Self { own: own.ok(), elsewhere: HashMap::new() }
    }

    /// Pins nothing.
    pub(crate) fn none() -> Self {
        Self { own: None, elsewhere: HashMap::new() }
    }

    /// Creates a directory for pins on the other disk that holds a checkpoint, so that these pins are links,
    /// too.
    pub(crate) fn reach(&mut self, run: &Path, checkpoint: &Checkpoint) {
        let Some(top) = top(checkpoint).filter(|top| !self.elsewhere.contains_key(*top)) else { return };
        let path = run.join(top);
        let is_link = fs::symlink_metadata(&path).is_ok_and(|found| found.is_symlink());
        let pins = if is_link { Pins::open(&path).ok() } else { None };
        self.elsewhere.insert(top.to_owned(), pins);
    }

    /// Returns the pins to use for a checkpoint of the run.
    pub(crate) fn for_checkpoint(&self, checkpoint: &Checkpoint) -> Option<&Pins> {
        let elsewhere = top(checkpoint).and_then(|top| self.elsewhere.get(top));
        elsewhere.and_then(Option::as_ref).or(self.own.as_ref())
    }

    /// Removes the pin of a checkpoint below `root`.
    pub(crate) fn release(&self, root: &Path, checkpoint: &Checkpoint) {
        let mut all = self.own.iter().chain(self.elsewhere.values().flatten());
        if let Some(pins) = all.find(|pins| pins.root() == root) {
            pins.release(checkpoint);
        }
    }
}

/// Returns the top-level directory of the run that contains a checkpoint.
fn top(checkpoint: &Checkpoint) -> Option<&Path> {
    let mut components = checkpoint.path.iter();
    let top = components.next()?;
    components.next().map(|_| Path::new(top))
}

/// The pins of one run-eval in one directory of one run.
#[derive(Debug)]
pub(crate) struct Pins {
    all: PathBuf,
    mine: PathBuf,
    /// Held while this process, or an evaluation that outlives it, needs the pins.
    _lock: Lock,
    /// The process that removes the pins; forked processes do not.
    owner: u32,
}

impl Pins {
    /// Creates a directory for pins, and removes the pins of dead run-evals. A link of that name is an error,
    /// because the target is not ours.
    fn open(directory: &Path) -> io::Result<Self> {
        let all = directory.join(DIR);
        loop {
            fs::create_dir_all(&all)?;
            if fs::symlink_metadata(&all).is_ok_and(|found| found.is_symlink()) {
                return Err(io::Error::other(format!("'{DIR}' is a link")));
            }
            let Some(gate) = enter(&all)? else { continue };
            let has_locks = ask(&all.join("lock")).is_ok_and(|held| held == Held::Yes); // our own lock
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

    /// Returns the directory below which a pinned checkpoint has the same path as below the run.
    pub(crate) fn root(&self) -> PathBuf {
        self.mine.join("of")
    }

    /// Pins a checkpoint that lies below `root`.
    pub(crate) fn pin(&self, root: &Path, checkpoint: &Checkpoint, method: Method) -> io::Result<()> {
        let mut copier = Copier::new(method, checkpoint.size.bytes);
        let mut parts = checkpoint.parts.iter();
        let pinned = parts.try_for_each(|part| copier.tree(&root.join(part), &self.root().join(part)));
        if pinned.is_err() {
            self.release(checkpoint);
        } else if let Some(parent) = checkpoint.path.parent() {
            for tracker in TRACKERS {
                let (from, to) = (root.join(parent).join(tracker), self.root().join(parent).join(tracker));
                if fs::symlink_metadata(&from).is_ok_and(|found| found.is_file() && found.len() < 4096) {
                    let _ = copy(&from, &to); // not needed for the evaluation
                }
            }
        }
        pinned
    }

    /// Removes the pin of a checkpoint. If that fails, the end of this run-eval or the next run-eval removes
    /// it.
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
            let _ = fs::remove_dir_all(&self.mine); // else the next run-eval removes it
            let others = fs::read_dir(&self.all).into_iter().flatten().flatten();
            if others.into_iter().all(|entry| entry.file_name() == "lock") {
                let _ = fs::remove_file(self.all.join("lock")); // others notice that their lock is a different file
                let _ = fs::remove_dir(&self.all);
            }
        }
    }
}

/// Returns whether the run-eval of these pins is gone. A run-eval that was killed while it created or removed
/// pins leaves them without a lock. Without locks in the file system, this is unknown.
fn is_left(entry: &DirEntry, has_locks: bool) -> bool {
    entry.file_type().is_ok_and(|kind| kind.is_dir())
        && entry.file_name().to_str().is_some_and(|name| Uuid::try_parse(name).is_ok())
        && has_locks
        && ask(&entry.path().join("lock")).is_ok_and(|held| held != Held::Yes)
}

/// Locks the directory of pins; `None` if it was removed meanwhile.
fn enter(all: &Path) -> io::Result<Option<Lock>> {
    let path = all.join("lock");
    let gate = match Lock::take_within(&path, PATIENCE) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        taken => taken?,
    };
    let is_it = fs::metadata(&path).is_ok_and(|there| gate.inode().is_ok_and(|inode| inode == there.ino()));
    Ok(Some(gate).filter(|_| is_it))
}
