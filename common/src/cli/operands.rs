//! Operands that name runs and batches: on the command line, or one a line from stdin.

use super::listed::names_from;
use super::names::Names;
use crate::error::{Error, Exit};
use crate::process::spawn::check_open;
use crate::rundir::batch::BatchDir;
use crate::rundir::find::{Found, find};
use crate::rundir::open::RunDir;
use std::io;
use std::iter;
use std::path::{Path, PathBuf};

/// The object of an operand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operand {
    /// A run.
    Run(RunDir),
    /// All runs of a batch.
    Batch(BatchDir),
    /// All runs of other systems below a directory.
    Others(PathBuf, Vec<RunDir>),
}

impl Operand {
    /// Opens the run or batch at `path`.
    pub(super) fn at(path: &Path) -> Result<Self, Error> {
        match (RunDir::at(path), BatchDir::at(path)) {
            (Err(_), Ok(Some(batch))) => Ok(Self::Batch(batch)),
            (Err(_), Err(error)) => Err(error),
            (Err(error), Ok(None)) => {
                let others = others(path);
                if others.is_empty() { Err(error) } else { Ok(Self::Others(path.to_owned(), others)) }
            }
            (run, _) => run.map(Self::Run),
        }
    }

    /// Returns its directory.
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Run(run) => run.layout().root(),
            Self::Batch(batch) => batch.layout().root(),
            Self::Others(path, _) => path,
        }
    }

    /// Returns the run itself, or the runs of the batch by name.
    pub fn runs(self) -> Result<Vec<RunDir>, Error> {
        match self {
            Self::Run(run) => Ok(vec![run]),
            Self::Batch(batch) => batch.runs(),
            Self::Others(_, runs) => Ok(runs),
        }
    }
}

/// Returns the runs of other systems below a directory, by path; the directory itself may be their batch.
fn others(path: &Path) -> Vec<RunDir> {
    let foreign = |found: Found| match found {
        Found::Run(run, ()) if run.layout().foreign().is_some() => Some(run),
        _ => None,
    };
    if path.is_dir() { find(path).into_iter().filter_map(foreign).collect() } else { Vec::new() }
}

/// Opens the operands in their order; `-` is replaced by the names on stdin.
pub fn open_all<'a>(
    operands: &'a [String],
    runs_dir: &Path,
    null: bool,
) -> impl Iterator<Item = Result<Operand, Error>> + use<'a> {
    let mut names = Names::below(runs_dir);
    let words = operands.iter().flat_map(move |operand| -> Box<dyn Iterator<Item = Result<String, Error>>> {
        if operand == "-" {
            match check_stdin() {
                Ok(()) => Box::new(names_from(io::stdin().lock(), null)),
                Err(error) => Box::new(iter::once(Err(error))),
            }
        } else {
            Box::new(iter::once(Ok(operand.clone())))
        }
    });
    words.map(move |word| names.open(&word?))
}

/// Opens the runs that operands name; the runs of a batch come by name.
pub fn open_runs<'a>(
    operands: &'a [String],
    runs_dir: &Path,
    null: bool,
) -> impl Iterator<Item = Result<RunDir, Error>> + use<'a> {
    open_all(operands, runs_dir, null).flat_map(|operand| match operand.and_then(Operand::runs) {
        Ok(runs) => runs.into_iter().map(Ok).collect(),
        Err(error) => vec![Err(error)],
    })
}

/// Fails if the tool was started without stdin: it would read nothing, silently.
pub fn check_stdin() -> Result<(), Error> {
    check_open(0).map_err(|error| Error::new(Exit::System, "cannot read stdin").because(error))
}
