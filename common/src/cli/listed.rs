//! Parses names from a stream, one a line, in pieces of any size. Text that is not a name is bounded.

use crate::error::{Error, Exit};
use crate::fsio::read::LIMIT;
use memchr::memchr;
use serde_json::Value;
use std::io::{self, BufRead};

/// Maximum length of a name in bytes: the kernel accepts no longer path.
const LONGEST: usize = 4096;

/// The unparsed part of a list of names: one a line, or one up to each NUL. If a line is a JSON object, its
/// `"path"` names the run.
#[derive(Debug)]
pub struct Listed {
    /// The byte that ends a name.
    end: u8,
    /// Bytes that were read and not consumed.
    read: Vec<u8>,
    /// Length of the part that contains no end of a name.
    seen: usize,
    /// Whether the bytes up to the next end belong to a line that was given up.
    skips: bool,
}

impl Listed {
    /// Creates a list: of lines, or if `null`, of words that end in NUL.
    pub fn new(null: bool) -> Self {
        Self { end: if null { b'\0' } else { b'\n' }, read: Vec::new(), seen: 0, skips: false }
    }

    /// Returns the number of bytes that were read and not consumed.
    pub fn length(&self) -> usize {
        self.read.len()
    }

    /// Returns the number of names among these bytes, at the end of input.
    pub fn count(&self) -> usize {
        self.read.split(|byte| *byte == self.end).filter(|name| !name.is_empty()).count()
    }

    /// Adds bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.read.extend_from_slice(bytes);
    }

    /// Removes and returns the next name. At the end of input, a last name without an end counts. `None` if
    /// more input is needed.
    pub fn take_next(&mut self, is_last: bool) -> Option<Result<String, Error>> {
        loop {
            let length = match memchr(self.end, &self.read[self.seen..]) {
                Some(length) => self.seen + length,
                None if is_last && !self.read.is_empty() => self.read.len(),
                None => {
                    self.seen = self.read.len();
                    return self.give_up();
                }
            };
            self.seen = 0;
            let line: Vec<u8> = self.read.drain(..(length + 1).min(self.read.len())).collect();
            let line = &line[..length];
            if std::mem::take(&mut self.skips) || line.is_empty() {
                continue;
            }
            return Some(if is_too_long(line) { Err(too_long()) } else { parse(line) });
        }
    }

    /// Gives up a line that is too long already; reports it once.
    fn give_up(&mut self) -> Option<Result<String, Error>> {
        if !self.skips && !is_too_long(&self.read) {
            return None;
        }
        (self.read, self.seen) = (Vec::new(), 0);
        (!std::mem::replace(&mut self.skips, true)).then(|| Err(too_long()))
    }
}

fn is_too_long(line: &[u8]) -> bool {
    line.len() > LONGEST && (line[0] != b'{' || line.len() as u64 > LIMIT)
}

fn too_long() -> Error {
    Error::new(Exit::BadRun, format!("stdin has a name of more than {LONGEST} bytes"))
}

fn parse(line: &[u8]) -> Result<String, Error> {
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
        _ if line.len() > LONGEST => Err(too_long()),
        _ => Ok(line.to_owned()),
    }
}

/// Returns the names in a stream as they arrive.
pub fn names_from(mut stream: impl BufRead, null: bool) -> impl Iterator<Item = Result<String, Error>> {
    let mut listed = Listed::new(null);
    let mut is_over = false;
    std::iter::from_fn(move || {
        loop {
            if let Some(name) = listed.take_next(is_over) {
                return Some(name);
            }
            if is_over {
                return None;
            }
            let length = match stream.fill_buf() {
                Ok(bytes) => {
                    listed.push(bytes);
                    bytes.len()
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    is_over = true; // it would fail again
                    return Some(Err(Error::new(Exit::System, "cannot read stdin").because(error)));
                }
            };
            stream.consume(length);
            is_over = length == 0;
        }
    })
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

    #[test]
    fn a_line_that_is_no_name_is_said_once_and_not_kept() {
        for long in [LONGEST + 1, 100_000] {
            for (start, pieces) in [("x", 1), ("x", 4096), ("{", 8192)] {
                let text = format!("a\n{start}{}\nb", "y".repeat(long));
                let named: Vec<_> = names_from(io::BufReader::with_capacity(pieces, text.as_bytes()), false)
                    .map(|name| name.map_err(|error| error.exit()))
                    .collect();
                assert_eq!(named, [Ok("a".to_owned()), Err(Exit::BadRun), Ok("b".to_owned())], "{long}");
            }
        }
        let mut listed = Listed::new(false);
        for _ in 0..1000 {
            listed.push(&[b'x'; 8192]);
            let _ = listed.take_next(false);
            assert!(listed.read.len() <= LONGEST);
        }
        let path = format!("{{\"metrics\":\"{}\",\"path\":\"a\"}}\n", "y".repeat(100_000));
        assert_eq!(names_from(path.as_bytes(), false).map(Result::unwrap).collect::<Vec<_>>(), ["a"]);
    }
}
