//! From what a user names to a run that exists, and from a file to a document that is understood.

use super::SCHEMA;
use super::find::{Found, find};
use super::layout::Layout;
use crate::error::{Error, Exit};
use crate::fsio::lock::Lock;
use crate::fsio::read_small;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// A directory that was seen to be a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunDir {
    layout: Layout,
}

/// A run whose lock this process holds: only its holder may write the record.
#[derive(Debug)]
pub struct ActiveRun {
    /// The run.
    pub run: RunDir,
    /// Its lock.
    pub lock: Lock,
}

impl RunDir {
    /// Opens the run at `path`.
    pub fn at(path: &Path) -> Result<Self, Error> {
        let layout = Layout::new(path);
        match fs::metadata(layout.meta()) {
            Ok(_) => Ok(Self { layout }),
            Err(error) if is_missing(&error) => {
                let what = format!("no run '{}'", path.display());
                Err(Error::new(Exit::BadRun, what).because(match fs::metadata(path) {
                    Ok(found) if found.is_dir() => "the directory has no .run/meta.json",
                    Ok(_) => "it is no directory",
                    Err(_) => "there is no such directory",
                }))
            }
            Err(error) => Err(Error::io("read", &layout.meta(), error).at_fault()),
        }
    }

    /// Trusts that `path` was just seen to be a run.
    pub fn seen(path: impl Into<PathBuf>) -> Self {
        Self { layout: Layout::new(path) }
    }

    /// Opens a run as users name it: a path when it contains `/`, else the name of a run below
    /// the runs directory, directly or in a batch.
    pub fn named(name: &str, runs_dir: &Path) -> Result<Self, Error> {
        if name.contains('/') || name == "." || name == ".." {
            return Self::at(Path::new(name));
        }
        let direct = runs_dir.join(name);
        let mut matches: Vec<PathBuf> = Vec::new();
        if Layout::new(&direct).meta().exists() {
            matches.push(direct.clone());
        }
        let below = find(runs_dir).into_iter().filter_map(|found| match found {
            Found::Run(path) => Some(path),
            Found::Unreadable(..) | Found::NotUtf8(_) | Found::Other(_) => None,
        });
        matches.extend(
            below.filter(|path| path != &direct && path.file_name().is_some_and(|last| last == name)),
        );
        match matches.as_slice() {
            [] => Self::at(&direct).map_err(|error| match error.exit() {
                Exit::BadRun if !direct.exists() => {
                    let what = format!("no run '{name}' below '{}'", runs_dir.display());
                    Error::new(Exit::BadRun, what)
                        .hint("run-status -a lists all runs; -d names another runs directory")
                }
                _ => error,
            }),
            [one] => Ok(Self::seen(one)),
            several => {
                let paths: Vec<_> = several.iter().map(|path| format!("'{}'", path.display())).collect();
                Err(Error::usage(format!("'{name}' names {} runs", several.len()))
                    .because(paths.join(" and "))
                    .hint("name one by its path"))
            }
        }
    }

    /// Returns where its files are.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Returns the path of the run, absolute, links not resolved.
    pub fn absolute(&self) -> PathBuf {
        static HERE: OnceLock<PathBuf> = OnceLock::new(); // no tool goes elsewhere, and a listing asks often
        let path = HERE.get_or_init(|| env::current_dir().unwrap_or_default()).join(self.layout.root());
        std::path::absolute(&path).unwrap_or(path)
    }

    /// Takes the run for writing, or says that another process has it.
    pub fn activate(self) -> Result<ActiveRun, Error> {
        let path = self.layout.lock();
        match Lock::try_take(&path).map_err(|error| Error::io("lock", &path, error))? {
            Some(lock) => Ok(ActiveRun { run: self, lock }),
            None => {
                let owner = fs::read_to_string(&path).unwrap_or_default();
                let cause = match owner.trim() {
                    "" => "another process holds it".to_owned(),
                    owner => format!("it is held by {owner}"),
                };
                Err(Error::new(Exit::Busy, format!("cannot start '{}'", self.layout.root().display()))
                    .because(cause)
                    .hint("run-stop(1) stops it; run-status(1) says what it does"))
            }
        }
    }
}

impl Error {
    /// Makes the fault the run's rather than the machine's.
    fn at_fault(self) -> Self {
        let fault = Self::new(Exit::BadRun, self.to_string());
        match self.advice() {
            Some(advice) => fault.hint(advice),
            None => fault,
        }
    }
}

fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// A JSON document of the record.
pub trait Document: DeserializeOwned {
    /// Returns the version of the record that it was written by.
    fn schema(&self) -> u32;
}

/// Reads a JSON document of the record. A newer schema is refused by name; nothing is guessed.
pub fn read_document<T: Document>(path: &Path) -> Result<T, Error> {
    #[derive(Deserialize)]
    struct Versioned {
        schema: u32,
    }
    let bytes = read_small(path).map_err(|error| Error::io("read", path, error).at_fault())?;
    let read = serde_json::from_slice::<T>(&bytes);
    let schema = match &read {
        Ok(document) => document.schema(),
        Err(_) => serde_json::from_slice::<Versioned>(&bytes).map_or(SCHEMA, |document| document.schema),
    };
    let what = || format!("cannot read '{}'", path.display());
    if schema > SCHEMA {
        let cause = format!("it has schema {schema}, and this version knows {SCHEMA}");
        return Err(Error::new(Exit::BadRun, what())
            .because(cause)
            .hint("a newer run-tools wrote it; update this one"));
    }
    read.map_err(|error| Error::new(Exit::BadRun, what()).because(format!("it is damaged: {error}")))
}
