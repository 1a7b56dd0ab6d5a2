//! Scratch names that nobody else uses, and what a run-new that was killed has left under such names.

use crate::staged::remove_dir;
use run_common::error::Error;
use run_common::fsio::lock::{Held, Lock, ask, holder};
use run_common::process::identity::{Place, ProcessId};
use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// What a name begins with that no listing shows.
pub(crate) const SCRATCH: &str = ".new-";

/// A file that is locked while this process writes runs, under scratch names that begin with its
/// own: whoever finds it unlocked may remove what a run-new that was killed has left.
pub(crate) struct Guard {
    root: PathBuf,
    name: String,
    used: usize,
    _lock: Lock,
}

impl Guard {
    pub(crate) fn take(root: &Path) -> Result<Self, Error> {
        let name = format!("{SCRATCH}{}", Uuid::now_v7());
        let taken =
            Lock::try_take(&root.join(&name)).and_then(|lock| lock.ok_or(io::ErrorKind::WouldBlock.into()));
        let mut lock = taken.map_err(|error| Error::io("write to", root, error))?;
        let _ = lock.sign(&ProcessId::myself()); // what one that is not signed has written is left alone
        Ok(Self { root: root.to_owned(), name, used: 0, _lock: lock })
    }

    /// Returns the next scratch name.
    pub(crate) fn next(&mut self) -> String {
        self.used += 1;
        format!("{}-{}", self.name, self.used)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.root.join(&self.name)); // who finds it unlocked removes it
    }
}

/// Removes what a run-new that was killed on this host has left: not every file system knows of the
/// locks of another.
pub(crate) fn clear(root: &Path, names: &HashSet<String>) {
    let scratch: Vec<&String> = names.iter().filter(|name| name.starts_with(SCRATCH)).collect();
    let is_free = |guard: &Path| guard.is_file() && ask(guard).is_ok_and(|held| held == Held::No);
    for guard in scratch.iter().filter(|name| is_free(&root.join(name))) {
        let signed = holder(&root.join(guard)).map(|holder| holder.host);
        if signed.as_ref().is_some_and(|host| *host != Place::here().host) {
            continue;
        }
        // Before it is signed nothing is written.
        let is_its = |name: &str| name.strip_prefix(guard.as_str()).is_some_and(|rest| rest.starts_with('-'));
        for left in scratch.iter().filter(|name| signed.is_some() && is_its(name)) {
            remove_dir(&root.join(left));
        }
        let _ = fs::remove_file(root.join(guard)); // another one may have been quicker
    }
}
