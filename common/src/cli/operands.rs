//! Operands that name runs and batches: on the command line, or one a line from stdin.

use super::names::Names;
use crate::error::{Error, Exit};
use crate::process::spawn::check_open;
use crate::rundir::batch::BatchDir;
use crate::rundir::open::RunDir;
use serde_json::Value;
use std::io::{self, BufRead};
use std::iter;
use std::path::Path;

/// What an operand names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operand {
    /// A run.
    Run(RunDir),
    /// All runs of a batch.
    Batch(BatchDir),
}

impl Operand {
    /// Opens the run or batch at `path`.
    pub(super) fn at(path: &Path) -> Result<Self, Error> {
        match (RunDir::at(path), BatchDir::at(path)) {
            (Err(_), Ok(Some(batch))) => Ok(Self::Batch(batch)),
            (Err(_), Err(error)) => Err(error),
            (run, _) => run.map(Self::Run),
        }
    }

    /// Returns its directory.
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Run(run) => run.layout().root(),
            Self::Batch(batch) => batch.layout().root(),
        }
    }

    /// Returns the one run, or those of the batch, by name.
    pub fn runs(self) -> Result<Vec<RunDir>, Error> {
        match self {
            Self::Run(run) => Ok(vec![run]),
            Self::Batch(batch) => batch.runs(),
        }
    }
}

/// Opens what operands name, in their order; `-` stands for what stdin names.
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

/// Opens the runs that operands name, those of batches by name.
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

/// Fails when the tool was started without stdin: what it would read since is nothing.
pub fn check_stdin() -> Result<(), Error> {
    check_open(0).map_err(|error| Error::new(Exit::System, "cannot read stdin").because(error))
}

/// Returns the names that a stream lists as they come: one a line, or, when `null`, one up to each
/// NUL. A line that is a JSON object is taken by its `"path"`.
pub fn names_from(mut stream: impl BufRead, null: bool) -> impl Iterator<Item = Result<String, Error>> {
    let end = if null { b'\0' } else { b'\n' };
    let mut is_over = false;
    std::iter::from_fn(move || {
        while !is_over {
            let mut line = Vec::new();
            match stream.read_until(end, &mut line) {
                Ok(0) => return None,
                Ok(_) => {}
                Err(error) => {
                    is_over = true; // it would fail again
                    return Some(Err(Error::new(Exit::System, "cannot read stdin").because(error)));
                }
            }
            if line.last() == Some(&end) {
                line.pop();
            }
            if let Some(name) = name_in(&line) {
                return Some(name);
            }
        }
        None
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
    }

    #[test]
    fn a_line_that_names_nothing_is_refused_and_does_not_hide_the_next() {
        let lines = &b"\xff\n{\"k\":1}\n{\"path\":7}\n[\"path\"]\n"[..];
        let said: Vec<_> = names_from(lines, false)
            .map(|name| name.map_err(|error| (error.exit(), error.to_string())))
            .collect();
        let no_path = || Err((Exit::Usage, "a JSON object on stdin has no \"path\"".to_owned()));
        let odd = Err((Exit::BadRun, "no run '\u{fffd}': its name is not UTF-8".to_owned()));
        assert_eq!(said, [odd, no_path(), no_path(), Ok("[\"path\"]".to_owned())]);
    }

    #[test]
    fn a_stream_that_cannot_be_read_is_said_once() {
        struct Broken;
        impl io::Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::IsADirectory.into())
            }
        }
        let said: Vec<_> = names_from(io::BufReader::new(Broken), false).collect();
        assert_eq!(said.len(), 1);
        assert_eq!(said[0].as_ref().unwrap_err().exit(), Exit::System);
    }
}
