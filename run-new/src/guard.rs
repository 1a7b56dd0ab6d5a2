//! Unique scratch names, and removal of what a killed run-new left under such names.

use crate::staged::remove_dir;
use run_common::error::Error;
use run_common::fsio::lock::{Held, Lock, ask, holder};
use run_common::process::identity::{Place, ProcessId};
use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// Prefix of scratch names, which no listing shows.
pub(crate) const SCRATCH: &str = ".new-";

/// A locked file whose name is the prefix of this process's scratch names. If the file is not locked, its
/// process was killed, and any process may remove what it left.
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
        let _ = lock.sign(&ProcessId::myself()); // `clear` keeps the files of an unsigned guard
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
        let _ = fs::remove_file(self.root.join(&self.name)); // else `clear` finds the file unlocked and removes it
    }
}

/// Removes what a killed run-new left on this host. Other hosts are left alone, because some file systems do
/// not show locks of other hosts.
pub(crate) fn clear(root: &Path, names: &HashSet<String>) {
    let scratch: Vec<&String> = names.iter().filter(|name| name.starts_with(SCRATCH)).collect();
    let is_free = |guard: &Path| guard.is_file() && ask(guard).is_ok_and(|held| held == Held::No);
    for guard in scratch.iter().filter(|name| is_free(&root.join(name))) {
        let signed = holder(&root.join(guard)).map(|holder| holder.host);
        if signed.as_ref().is_some_and(|host| *host != Place::here().host) {
            continue;
        }
        // Nothing is written before the guard is signed.
        let is_its = |name: &str| name.strip_prefix(guard.as_str()).is_some_and(|rest| rest.starts_with('-'));
        for left in scratch.iter().filter(|name| signed.is_some() && is_its(name)) {
            remove_dir(&root.join(left));
        }
        let _ = fs::remove_file(root.join(guard)); // another process may have been faster
    }
}
