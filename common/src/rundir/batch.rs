//! Batches: runs that were created together. run-new writes `batch.json` once, with the identity of the batch
//! and the command line that created it.

use super::find::identity;
use super::layout::{BatchLayout, Layout};
use super::open::{Document, RunDir, has_record, read_document};
use super::recorded::Recorded;
use crate::error::Error;
use crate::natural::natural_paths;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::fs::{self, DirEntry};
use std::io::{self, ErrorKind};
use std::path::Path;

/// Identity and provenance of a batch.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Batch {
    /// Version of the record.
    pub schema: u32,
    /// `UUIDv7`: unique, and in the order of creation.
    pub batch_id: String,
    /// The name the batch was created under.
    pub name: String,
    /// When the batch was created.
    pub created: Timestamp,
    /// The command with its placeholders, secrets redacted.
    pub command: Option<Vec<String>>,
    /// The command line of run-new as typed, secrets redacted.
    pub argv: Vec<String>,
    /// Seed of the draws of a sample.
    pub sample_seed: Option<u64>,
    /// Number of runs it was created for; older versions did not record it.
    #[serde(default)]
    pub planned: Option<usize>,
    /// Host of the creation.
    pub host: String,
    /// User who created the batch.
    pub user: String,
    /// Directory of the creation, absolute; relative paths in `argv` start there.
    pub cwd: String,
    /// Version of the suite.
    pub tool_version: String,
}

impl Document for Batch {
    fn schema(&self) -> u32 {
        self.schema
    }
}

impl Batch {
    /// Reads the batch.json of a batch.
    pub fn read(layout: &BatchLayout) -> Result<Self, Error> {
        read_document(&layout.batch())
    }
}

/// A directory that is known to be a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchDir {
    layout: BatchLayout,
}

impl BatchDir {
    /// Opens the batch at `path`; `None` if it is none. Fails if this cannot be determined.
    pub fn at(path: &Path) -> Result<Option<Self>, Error> {
        let layout = BatchLayout::new(path);
        match fs::metadata(layout.batch()) {
            Ok(_) => Ok(Some(Self { layout })),
            Err(error) if error.kind() != ErrorKind::NotFound && layout.record().exists() => {
                Err(Error::io("read", &layout.batch(), error).at_fault())
            }
            Err(_) => Ok(None),
        }
    }

    /// Returns the batch that contains a run.
    pub fn of(run: &RunDir) -> Option<Self> {
        Self::at(run.layout().root().parent()?).ok().flatten()
    }

    /// Returns the paths of its files.
    pub fn layout(&self) -> &BatchLayout {
        &self.layout
    }

    /// Returns its runs by name, in natural order. A run with several names because of links is listed once,
    /// under its own name if that is in the batch.
    pub fn runs(&self) -> Result<Vec<RunDir>, Error> {
        let root = self.layout.root();
        let entries = fs::read_dir(root).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        let entries = entries.map_err(|error| Error::io("read", root, error).at_fault())?;
        let named = entries.iter().filter(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"."));
        let is_link = |entry: &DirEntry| entry.file_type().is_ok_and(|kind| kind.is_symlink());
        let (mut links, mut paths): (Vec<_>, Vec<_>) =
            named.map(|entry| (is_link(entry), entry.path())).partition(|(is_link, _)| *is_link);
        if !links.is_empty() {
            links.sort();
            let mut known: HashSet<_> = paths.iter().filter_map(|(_, path)| identity(path)).collect();
            paths.extend(
                links.into_iter().filter(|(_, path)| identity(path).is_some_and(|it| known.insert(it))),
            );
        }
        let mut paths: Vec<_> = paths.into_iter().map(|(_, path)| path).collect();
        paths.retain(|path| path.to_str().is_some());
        paths.sort_by(|one, other| natural_paths(one, other));
        Ok(paths.iter().filter_map(|path| run_at(path)).collect())
    }

    /// Returns its runs in the order of their creation.
    pub fn runs_as_created(&self) -> Result<Vec<RunDir>, Error> {
        let id = |run: &RunDir| Recorded::read(run.layout()).map(|state| state.run_id).unwrap_or_default();
        let mut runs: Vec<_> = self.runs()?.into_iter().map(|run| (id(&run), run)).collect();
        runs.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(runs.into_iter().map(|(_, run)| run).collect())
    }
}

/// Returns the run at a path, even if its record cannot be read.
fn run_at(path: &Path) -> Option<RunDir> {
    match has_record(&Layout::new(path)) {
        Ok(false) => RunDir::at(path).ok(),
        Ok(true) | Err(_) => Some(RunDir::seen(path)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use tempfile::TempDir;

    #[test]
    fn a_run_of_a_batch_comes_once_however_links_lead_to_it() {
        let dir = TempDir::new().unwrap();
        for file in
            [".batch/batch.json", "b/.run/meta.json", "a/.run/status.json", "none/file", "master_log.txt"]
        {
            let path = dir.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        for (to, at) in
            [("b", "Latest"), (".", "self"), ("..", "up"), ("loop", "loop"), ("nowhere", "dangling")]
        {
            symlink(to, dir.path().join(at)).unwrap();
        }
        let batch = BatchDir::at(dir.path()).unwrap().unwrap();
        let names: Vec<String> = batch.runs().unwrap().iter().map(|run| run.layout().name()).collect();
        assert_eq!(names, ["a", "b"]);
    }
}
