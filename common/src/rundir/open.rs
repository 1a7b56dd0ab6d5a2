//! Opens runs by path, and parses the documents of their records.

use super::SCHEMA;
use super::foreign::{Foreign, stamp};
use super::layout::{Layout, MadeRows};
use super::record::ActiveRun;
use super::writable;
use crate::error::{Error, Exit};
use crate::fsio::lock::{Lock, holder};
use crate::fsio::stamp::Stamp;
use crate::fsio::{join, with_small};
use crate::process::identity::ProcessId;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::borrow::Cow;
use std::env;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// A directory that is known to be a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunDir {
    layout: Layout,
}

/// Identifies the state of a run without reading it: if two stamps are equal, nothing was written in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunStamp {
    /// The stamp of its status.json.
    Own(Stamp),
    /// A hash over the files of a run of another system.
    Foreign(u64),
}

impl RunDir {
    /// Opens the run at `path`, of the suite or of another system.
    pub fn at(path: &Path) -> Result<Self, Error> {
        let layout = Layout::new(path);
        match has_record(&layout) {
            Ok(true) => Ok(Self { layout }),
            Ok(false) => {
                let named = with_name(path);
                match Foreign::of(&named) {
                    Some(foreign) => Ok(Self::foreign(named, foreign)),
                    None => Err(missing(path)),
                }
            }
            Err(error) => Err(unread(&layout, error)),
        }
    }

    /// Fails if there is no run. Does not look for the layouts of other systems.
    pub(super) fn check(&self) -> Result<(), Error> {
        let layout = &self.layout;
        let is_run =
            layout.foreign().is_some() || has_record(layout).map_err(|error| unread(layout, error))?;
        if is_run { Ok(()) } else { Err(missing(layout.root())) }
    }

    /// Creates a run from a directory that is known to be one.
    pub fn seen(path: impl Into<PathBuf>) -> Self {
        Self { layout: Layout::new(path) }
    }

    /// Creates a run of another system from a directory that is known to be one.
    pub(super) fn foreign(path: impl Into<PathBuf>, foreign: Foreign) -> Self {
        Self { layout: Layout::of_foreign(path, foreign) }
    }

    /// Creates a run in no known layout from a directory that contains a run according to the user.
    pub fn of_unknown_layout(path: &Path) -> Self {
        Self::foreign(with_name(path), Foreign::unknown())
    }

    /// Creates a run from the directory of an evaluation, which differs only in the name of its record.
    pub fn of_evaluation(path: impl Into<PathBuf>) -> Self {
        Self { layout: Layout::of_evaluation(path) }
    }

    /// Makes readers use a file of JSON lines instead of the metrics of the run.
    #[must_use]
    pub fn with_rows(self, rows: MadeRows) -> Self {
        Self { layout: self.layout.with_rows(rows) }
    }

    /// Returns the paths of its files.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Returns the absolute path of the run, without resolving links.
    pub fn absolute(&self) -> PathBuf {
        static HERE: OnceLock<PathBuf> = OnceLock::new(); // constant: no tool changes its directory
        let here = HERE.get_or_init(|| env::current_dir().unwrap_or_default());
        let path = join([here, self.layout.root()]);
        let is_plain = |pair| pair != b"//" && pair != b"/.";
        if path.as_os_str().as_bytes().windows(2).all(is_plain) {
            return path;
        }
        std::path::absolute(&path).unwrap_or(path)
    }

    /// Returns the same run with its absolute path.
    #[must_use]
    pub fn by_absolute(&self) -> Self {
        Self { layout: self.layout.moved(self.absolute()) }
    }

    /// Returns a stamp that changes whenever the run is written to; `None` if the run is gone.
    pub fn stamp(&self) -> Option<RunStamp> {
        match self.layout.foreign() {
            None => Stamp::at(&self.layout.status()).map(RunStamp::Own),
            Some(_) => Some(RunStamp::Foreign(stamp(self.layout.root()))),
        }
    }

    /// Takes the run for writing, and signs its lock. Errors: another process holds the run, or one of its
    /// files cannot be written.
    pub fn activate(self) -> Result<ActiveRun, Error> {
        if let Some(foreign) = self.layout.foreign() {
            return Err(foreign.refuse("execute", &self));
        }
        writable::check(&self.layout)?;
        let path = self.layout.lock();
        match Lock::try_take(&path).map_err(|error| Error::io("lock", &path, error))? {
            Some(lock) => ActiveRun::new(self, lock),
            None => {
                let cause = match holder(&path) {
                    None => "another process holds it".to_owned(),
                    Some(ProcessId { pid, host, .. }) => format!("it is held by process {pid} on {host}"),
                };
                Err(Error::new(Exit::Busy, format!("cannot start '{}'", self.layout.root().display()))
                    .because(cause)
                    .hint("stop it with run-stop, or look at it with run-status"))
            }
        }
    }
}

/// Returns a path that ends in the name of the directory, unlike `.` and `..`: the names of runs of other
/// systems have a meaning.
fn with_name(path: &Path) -> Cow<'_, Path> {
    match path.file_name() {
        Some(_) => Cow::Borrowed(path),
        None => fs::canonicalize(path).map_or(Cow::Borrowed(path), Cow::Owned),
    }
}

fn missing(path: &Path) -> Error {
    let what = format!("no run '{}'", path.display());
    let error = Error::new(Exit::BadRun, what);
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => error
            .because("the directory has no .run/meta.json, and no known layout")
            .hint("if metrics or checkpoints of a run are in it, run-new --adopt makes it one"),
        Ok(_) => error.because("not a directory"),
        Err(_) => error.because("no such directory"),
    }
}

fn unread(layout: &Layout, error: io::Error) -> Error {
    Error::io("read", &layout.meta(), error).at_fault()
}

impl Error {
    /// Turns the error into one of the run rather than the machine.
    pub(super) fn at_fault(self) -> Self {
        let fault = Self::new(Exit::BadRun, self.to_string());
        match self.advice() {
            Some(advice) => fault.hint(advice),
            None => fault,
        }
    }
}

/// Returns whether a directory is a run, even if it is damaged. All tools agree on this: it has a meta.json, or
/// at least a status.json.
pub(super) fn has_record(layout: &Layout) -> io::Result<bool> {
    for file in [layout.meta(), layout.status()] {
        match fs::symlink_metadata(file) {
            Ok(_) => return Ok(true),
            Err(error) if is_missing(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

/// Returns whether nothing is at a path: it does not exist, leads through a file, or is a broken or circular
/// link.
pub(super) fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
        || error.raw_os_error() == Some(nix::libc::ELOOP)
}

/// A JSON document of the record.
pub trait Document: DeserializeOwned {
    /// Returns the version of the record in the document.
    fn schema(&self) -> u32;
}

/// Reads a JSON document of the record. A newer schema is an error that names it.
pub fn read_document<T: Document>(path: &Path) -> Result<T, Error> {
    with_small(path, |bytes| parse(path, bytes)).map_err(|error| Error::io("read", path, error).at_fault())?
}

fn parse<T: Document>(path: &Path, bytes: &[u8]) -> Result<T, Error> {
    #[derive(Deserialize)]
    struct Versioned {
        schema: u32,
    }
    let read = match str::from_utf8(bytes) {
        Ok(text) => serde_json::from_str::<T>(text), // faster than checking each string
        Err(_) => serde_json::from_slice(bytes),     // reports the position of invalid UTF-8
    };
    let schema = match &read {
        Ok(document) => document.schema(),
        Err(_) => serde_json::from_slice::<Versioned>(bytes).map_or(SCHEMA, |document| document.schema),
    };
    let what = || format!("cannot read '{}'", path.display());
    if schema > SCHEMA {
        let cause = format!("its schema is {schema}, but this version supports {SCHEMA}");
        return Err(Error::new(Exit::BadRun, what())
            .because(cause)
            .hint("it was written by a newer version; update run-tools"));
    }
    read.map_err(|error| Error::new(Exit::BadRun, what()).because(format!("it is damaged: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_of_a_run_is_absolute_and_without_detours() {
        let here = env::current_dir().unwrap();
        for path in ["a", "./a", "a/", "a//b", "a/./b", "a/../b", "a/.b", ".", "/a/b", "//a/b", "/a/b/.", "/"]
        {
            let expected = std::path::absolute(here.join(path)).unwrap();
            assert_eq!(RunDir::seen(path).absolute().as_os_str(), expected.as_os_str(), "{path}");
        }
    }
}
