//! Operands that name runs: on the command line, or one a line from stdin.

use crate::error::{Error, Exit};
use crate::rundir::open::RunDir;
use serde_json::Value;
use std::io::{self, BufRead};
use std::path::Path;

/// Opens the runs that operands name, in their order; `-` stands for those that stdin names.
pub fn open_all<'a>(
    operands: &'a [String],
    runs_dir: &'a Path,
    null: bool,
) -> impl Iterator<Item = Result<RunDir, Error>> + 'a {
    operands.iter().flat_map(move |operand| -> Box<dyn Iterator<Item = Result<RunDir, Error>> + 'a> {
        if operand == "-" {
            Box::new(names_from(io::stdin().lock(), null).map(move |name| RunDir::named(&name?, runs_dir)))
        } else {
            Box::new(std::iter::once(RunDir::named(operand, runs_dir)))
        }
    })
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
            if !line.is_empty() {
                return Some(name_in(line));
            }
        }
    })
}

fn name_in(line: Vec<u8>) -> Result<String, Error> {
    let line = String::from_utf8(line).map_err(|error| {
        Error::new(Exit::BadRun, format!("no run '{}'", String::from_utf8_lossy(error.as_bytes())))
            .because("its name is not UTF-8")
    })?;
    if !line.starts_with('{') {
        return Ok(line);
    }
    match serde_json::from_str::<Value>(&line) {
        Ok(Value::Object(object)) => match object.get("path") {
            Some(Value::String(path)) => Ok(path.clone()),
            _ => Err(Error::usage("a JSON object on stdin has no \"path\"")),
        },
        _ => Ok(line),
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
