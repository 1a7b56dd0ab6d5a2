//! Operands that name runs and batches: on the command line, or one a line from stdin.

use crate::error::{Error, Exit};
use crate::process::spawn::check_open;
use crate::rundir::batch::BatchDir;
use crate::rundir::find::{Found, find};
use crate::rundir::open::RunDir;
use serde_json::Value;
use std::io::{self, BufRead};
use std::path::{Path, PathBuf};

/// What an operand names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operand {
    /// A run.
    Run(RunDir),
    /// All runs of a batch.
    Batch(BatchDir),
}

impl Operand {
    /// Opens what users name: a path when it contains `/`, else the name of a run or a batch below
    /// the runs directory, of a run directly or in a batch.
    pub fn named(name: &str, runs_dir: &Path) -> Result<Self, Error> {
        if name.contains('/') || name == "." || name == ".." {
            let path = Path::new(name);
            return match Self::at(path) {
                // As a table shows it: a run below the name of its batch.
                Err(error) if path.is_relative() && !path.exists() => {
                    Self::at(&runs_dir.join(path)).map_err(|_| error)
                }
                found => found,
            };
        }
        let direct = runs_dir.join(name);
        let mut matches: Vec<Self> = Self::at(&direct).into_iter().collect();
        let below = find(runs_dir).into_iter().filter_map(|found| match found {
            Found::Run(path, ()) => Some(path),
            Found::Unreadable(..) | Found::NotUtf8(_) | Found::Other(_) => None,
        });
        let below = below.filter(|path| path != &direct && path.file_name().is_some_and(|last| last == name));
        matches.extend(below.map(|path| Self::Run(RunDir::seen(path))));
        match matches.len() {
            0 => Self::at(&direct).map_err(|error| match error.exit() {
                Exit::BadRun if !direct.exists() => {
                    let what = format!("no run '{name}' below '{}'", runs_dir.display());
                    Error::new(Exit::BadRun, what)
                        .hint("run-status -a lists all runs; -d names another runs directory")
                }
                _ => error,
            }),
            1 => Ok(matches.remove(0)),
            count => {
                let paths: Vec<_> =
                    matches.iter().map(|found| format!("'{}'", found.path().display())).collect();
                Err(Error::usage(format!("'{name}' names {count} runs"))
                    .because(paths.join(" and "))
                    .hint("name one by its path"))
            }
        }
    }

    /// Opens the run or batch at `path`.
    fn at(path: &Path) -> Result<Self, Error> {
        match (RunDir::at(path), BatchDir::at(path)) {
            (Err(_), Ok(Some(batch))) => Ok(Self::Batch(batch)),
            (Err(_), Err(error)) => Err(error),
            (run, _) => run.map(Self::Run),
        }
    }

    /// Returns its directory.
    fn path(&self) -> PathBuf {
        match self {
            Self::Run(run) => run.layout().root().to_owned(),
            Self::Batch(batch) => batch.layout().root().to_owned(),
        }
    }

    /// Returns the one run, or those of the batch, by name.
    pub fn runs(self) -> Vec<RunDir> {
        match self {
            Self::Run(run) => vec![run],
            Self::Batch(batch) => batch.runs(),
        }
    }
}

/// Opens what operands name, in their order; `-` stands for what stdin names.
pub fn open_all<'a>(
    operands: &'a [String],
    runs_dir: &'a Path,
    null: bool,
) -> impl Iterator<Item = Result<Operand, Error>> + 'a {
    operands.iter().flat_map(move |operand| -> Box<dyn Iterator<Item = Result<Operand, Error>> + 'a> {
        if operand == "-"
            && let Err(error) = check_stdin()
        {
            Box::new(std::iter::once(Err(error)))
        } else if operand == "-" {
            Box::new(names_from(io::stdin().lock(), null).map(move |name| Operand::named(&name?, runs_dir)))
        } else {
            Box::new(std::iter::once(Operand::named(operand, runs_dir)))
        }
    })
}

/// Opens the runs that operands name, those of batches by name.
pub fn open_runs<'a>(
    operands: &'a [String],
    runs_dir: &'a Path,
    null: bool,
) -> impl Iterator<Item = Result<RunDir, Error>> + 'a {
    open_all(operands, runs_dir, null).flat_map(|operand| match operand {
        Ok(operand) => operand.runs().into_iter().map(Ok).collect(),
        Err(error) => vec![Err(error)],
    })
}

/// Opens the one run that an operand names.
pub fn open_one(name: &str, runs_dir: &Path) -> Result<RunDir, Error> {
    match Operand::named(name, runs_dir)? {
        Operand::Run(run) => Ok(run),
        Operand::Batch(_) => Err(Error::usage(format!("'{name}' is a batch, and one run is wanted"))),
    }
}

/// Fails when the tool was started without stdin: what it would read since is nothing.
pub fn check_stdin() -> Result<(), Error> {
    check_open(0).map_err(|error| Error::new(Exit::System, "cannot read stdin").because(error))
}

/// Returns the names that a stream lists as they come: one a line, or, when `null`, one up to each
/// NUL. A line that is a JSON object is taken by its `"path"`.
pub fn names_from(mut stream: impl BufRead, null: bool) -> impl Iterator<Item = Result<String, Error>> {
    let end = if null { b'\0' } else { b'\n' };
    std::iter::from_fn(move || {
        loop {
            let mut line = Vec::new();
            match stream.read_until(end, &mut line) {
                Ok(0) => return None,
                Ok(_) => {}
                Err(error) => return Some(Err(Error::new(Exit::System, "cannot read stdin").because(error))),
            }
            if line.last() == Some(&end) {
                line.pop();
            }
            if let Some(name) = name_in(&line) {
                return Some(name);
            }
        }
    })
}

/// Returns the name in a line, or `None` when it is empty.
pub fn name_in(line: &[u8]) -> Option<Result<String, Error>> {
    (!line.is_empty()).then(|| parse_name(line))
}

fn parse_name(line: &[u8]) -> Result<String, Error> {
    let line = str::from_utf8(line).map_err(|_| {
        Error::new(Exit::BadRun, format!("no run '{}'", String::from_utf8_lossy(line)))
            .because("its name is not UTF-8")
    })?;
    if !line.starts_with('{') {
        return Ok(line.to_owned());
    }
    match serde_json::from_str::<Value>(line) {
        Ok(Value::Object(object)) => match object.get("path") {
            Some(Value::String(path)) => Ok(path.clone()),
            _ => Err(Error::usage("a JSON object on stdin has no \"path\"")),
        },
        _ => Ok(line.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_named_by_lines_objects_and_nul_separated_words() {
        let names =
            |text: &str, null| names_from(text.as_bytes(), null).map(Result::unwrap).collect::<Vec<_>>();
        assert_eq!(
            names("a b\n\n{\"path\":\"/x\\ny\",\"k\":1}\n{odd\nlast", false),
            ["a b", "/x\ny", "{odd", "last"]
        );
        assert_eq!(names("a\nb\0c\0", true), ["a\nb", "c"]);
        assert!(names_from(&b"\xff\n{\"k\":1}\n"[..], false).all(|name| name.is_err()));
    }
}
