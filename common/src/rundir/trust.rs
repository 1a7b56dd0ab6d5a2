//! Whether a recorded process may be signalled: records can be forged, and root may signal any process.

use super::layout::Layout;
use crate::process::stat::Stat;
use crate::process::tree::{Environment, is_the_same};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Returns whether a living process with the recorded start time belongs to the run. It was started with the
/// run's id and directory; or it acts for the user who wrote the record, and carries no other run's id,
/// unless it holds the lock of this run, like the supervisor of a run that the command of another run has
/// started. After a run was moved, its processes still have the old directory.
pub(super) fn belongs(process: &Stat, layout: &Layout, run_id: &str) -> bool {
    let environment = Environment::of(process.pid);
    let value = |name| environment.as_ref().and_then(|environment| environment.value(name));
    let is_owners = || owner(layout).is_some_and(|owner| process.owner() == Some(owner));
    match value("RUN_ID") {
        Some(id) if id == run_id.as_bytes() => {
            let directory = value("RUN_DIR").map(|dir| Path::new(OsStr::from_bytes(dir)));
            let is_same = directory.and_then(|directory| is_the_same(directory, layout.root()));
            is_same.unwrap_or_else(is_owners)
        }
        Some(_) => is_owners() && process.has_open(&layout.lock()) == Some(true),
        None => is_owners(),
    }
}

/// Returns the user who last wrote the record of a run.
pub(super) fn owner(layout: &Layout) -> Option<u32> {
    fs::symlink_metadata(layout.status()).ok().map(|record| record.uid())
}
