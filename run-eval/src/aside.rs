//! Sets aside the files of an earlier evaluation: before it is repeated, or because another command has its
//! label now.

use run_common::error::Error;
use run_common::fsio::write::make_dir;
use run_common::rundir::layout::Layout;
use run_common::rundir::open::RunDir;
use run_common::rundir::recorded::{Recorded, State};
use std::fs;
use std::io;
use std::path::PathBuf;

/// Removes an evaluation from the results, but keeps its files.
pub(crate) fn retire(dir: RunDir) -> Result<(), Error> {
    let layout = &dir.layout().clone();
    for path in [layout.root(), &layout.record()] {
        make_dir(path).map_err(|error| Error::io("write to", path, error))?; // checks that it exists and is not a link
    }
    let active = dir.activate()?;
    let before = Recorded::read(layout)?;
    let attempt = before.attempts();
    active.write(&Recorded { state: State::Created, ..before })?;
    forget_measured(layout)?;
    let moved = set_aside(layout, attempt).and_then(|()| {
        let aside = aside(layout, attempt);
        make_dir(&aside)?;
        fs::rename(layout.meta(), aside.join("meta.json"))
    });
    moved.map_err(|error| Error::io("move what is in", layout.root(), error))
}

/// Removes the figures of an evaluation, so that they are not mistaken for those of the next.
pub(crate) fn forget_measured(layout: &Layout) -> Result<(), Error> {
    match fs::remove_file(layout.measured()) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::io("remove", &layout.measured(), error))
        }
        _ => Ok(()),
    }
}

/// Returns the directory that keeps the files of an attempt.
fn aside(layout: &Layout, attempt: u32) -> PathBuf {
    layout.record().join(format!("attempt-{attempt}"))
}

/// Moves everything but the record into a directory for the attempt.
pub(crate) fn set_aside(layout: &Layout, attempt: u32) -> io::Result<()> {
    let aside = aside(layout, attempt);
    for entry in fs::read_dir(layout.root())? {
        let entry = entry?;
        if entry.path() == layout.record() {
            continue;
        }
        make_dir(&aside)?;
        let to = aside.join(entry.file_name());
        if fs::rename(entry.path(), &to).is_err() {
            fs::remove_dir_all(&to)?; // left by a run-eval that was killed here
            fs::rename(entry.path(), &to)?;
        }
    }
    Ok(())
}
