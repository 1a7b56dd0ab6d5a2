//! Checks whether an attempt may write to a run: its record must be a real directory, and none of its files may
//! be a link or anything else that leads to another file.

use super::evaluations::Evaluations;
use super::layout::{BatchLayout, Layout};
use crate::error::Error;
use crate::fsio::atomic::check_replace;
use crate::fsio::write::{check_dir, check_update};
use std::io;
use std::path::{Path, PathBuf};

/// Refuses a run before anything in it is touched. The run itself may be reached by a link.
pub(super) fn check(layout: &Layout) -> Result<(), Error> {
    let appended = [
        layout.lock(),
        layout.attempts(),
        layout.resources(),
        layout.scraped(),
        layout.stdout(),
        layout.stderr(),
        layout.combined(),
    ];
    let replaced =
        [layout.status(), layout.result(), layout.pid(), layout.measured(), layout.launch(), layout.owner()];
    one(&layout.record(), check_dir)?;
    all(&appended, &replaced)
}

/// Refuses a batch whose files for people cannot be written.
pub fn check_batch(layout: &BatchLayout) -> Result<(), Error> {
    one(&layout.record(), check_dir)?;
    all(&[layout.lock(), layout.master_log()], &[layout.summary()])
}

/// Refuses a directory of evaluations whose own files cannot be written.
pub fn check_evaluations(evaluations: &Evaluations) -> Result<(), Error> {
    let record = evaluations.record();
    if record.symlink_metadata().is_ok() {
        one(&record, check_dir)?;
    }
    let replaced = [evaluations.identity_file(), evaluations.view(), evaluations.consolidated()];
    all(&[evaluations.lock()], &replaced)
}

fn all(appended: &[PathBuf], replaced: &[PathBuf]) -> Result<(), Error> {
    appended.iter().try_for_each(|path| one(path, check_update))?;
    replaced.iter().try_for_each(|path| one(path, check_replace))
}

fn one(path: &Path, check: fn(&Path) -> io::Result<()>) -> Result<(), Error> {
    check(path).map_err(|error| Error::io("write", path, error))
}
