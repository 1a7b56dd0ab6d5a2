//! The directory of an export. A new one appears when it is complete. In the directory of an earlier export,
//! each run is replaced when its new export is complete, and other runs stay.

use run_common::error::{Error, Exit};
use run_common::fsio::atomic::{Durability, write_whole};
use run_common::fsio::read_small;
use serde_json::{Value, json};
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// The file that identifies such a directory. Neither system reads it.
const MARK: &str = ".run-report.json";

/// A directory of an export.
pub(super) struct Target {
    /// Its final absolute path.
    place: PathBuf,
    /// The temporary directory of a new one, until it is complete.
    scratch: Option<TempDir>,
}

impl Target {
    /// Opens a directory for exports of a kind, such as `mlflow`. A missing one is created.
    pub(super) fn open(path: &Path, kind: &str) -> Result<Self, Error> {
        let failed = |error| Error::io("write", path, error);
        let place = std::path::absolute(path).map_err(failed)?;
        let entries = match fs::read_dir(&place) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let parent = place.parent().unwrap_or(Path::new("/"));
                let scratch = directory_in(parent).map_err(failed)?;
                mark(scratch.path(), kind).map_err(failed)?;
                return Ok(Self { place, scratch: Some(scratch) });
            }
            entries => entries.map_err(failed)?,
        };
        match (read_small(&place.join(MARK)), entries.count()) {
            (Ok(mark), _) if is_of(&mark, kind) => {}
            (_, 0) => mark(&place, kind).map_err(failed)?,
            _ => {
                let what = format!("cannot export to '{}'", path.display());
                let why = "it holds something else; name a new directory, or one of an earlier export";
                return Err(Error::new(Exit::System, what).because(why));
            }
        }
        Ok(Self { place, scratch: None })
    }

    /// Returns the directory to write to.
    pub(super) fn root(&self) -> &Path {
        self.scratch.as_ref().map_or(&self.place, TempDir::path)
    }

    /// Returns the final path of the directory.
    pub(super) fn place(&self) -> &Path {
        &self.place
    }

    /// Gives a new directory its name.
    pub(super) fn finish(self) -> Result<(), Error> {
        let Some(scratch) = self.scratch else { return Ok(()) };
        fs::rename(scratch.path(), &self.place).map_err(|error| Error::io("write", &self.place, error))?;
        let _moved = scratch.keep();
        Ok(())
    }
}

/// Creates a directory with a random name, which is removed when dropped.
pub(super) fn directory_in(parent: &Path) -> io::Result<TempDir> {
    tempfile::Builder::new()
        .prefix(".run-report-")
        .permissions(Permissions::from_mode(0o777))
        .tempdir_in(parent)
}

fn mark(directory: &Path, kind: &str) -> io::Result<()> {
    let mark = json!({"schema": 1, "export": kind, "tool_version": env!("CARGO_PKG_VERSION")});
    write_whole(&directory.join(MARK), format!("{mark}\n").as_bytes(), Durability::Process)
}

fn is_of(mark: &[u8], kind: &str) -> bool {
    serde_json::from_slice::<Value>(mark).is_ok_and(|mark| mark["export"] == kind)
}
