//! Files of JSON lines that are only appended to, and readers that accept a torn last line.

use super::read::{LIMIT, open_file};
use super::write::open_append;
use crate::error::Unfit;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;

/// Maximum size of a file that is read into memory.
const MOST: u64 = 256 << 20;

/// Appends a JSON object as a line, in a single write, by the file's only writer. First terminates a line
/// that a crash has cut off, so that only that line is damaged. On a full disk nothing is added.
pub fn append_line(path: &Path, record: &impl Serialize) -> io::Result<()> {
    let mut file = open_append(path)?;
    let mut line = Vec::new();
    if !ends_whole(&mut file)? {
        line.push(b'\n');
    }
    serde_json::to_writer(&mut line, record)?;
    line.push(b'\n');
    add(&mut file, &line)
}

/// Appends whole lines of text, in a single write, by the file's only writer. On a full disk nothing is
/// added.
pub fn append(path: &Path, lines: &[u8]) -> io::Result<()> {
    add(&mut open_append(path)?, lines)
}

fn add(file: &mut File, lines: &[u8]) -> io::Result<()> {
    let before = file.metadata()?.len();
    file.write_all(lines).inspect_err(|_| {
        let _ = file.set_len(before); // readers skip a torn line
    })
}

/// Removes what the file's only writer has appended since the file had this length.
pub fn truncate(path: &Path, length: u64) -> io::Result<()> {
    open_append(path)?.set_len(length)
}

/// Terminates the last line of a file after a crash, if the file exists, so that the next line is separate.
pub fn end_last_line(path: &Path) -> io::Result<()> {
    if !fs::symlink_metadata(path).is_ok_and(|found| found.is_file() && found.len() > 0) {
        return Ok(());
    }
    close_last_line(&mut open_append(path)?)
}

/// Terminates the last line of a file that is open for appending, after its writer was killed.
pub fn close_last_line(file: &mut File) -> io::Result<()> {
    if ends_whole(file)? { Ok(()) } else { file.write_all(b"\n") }
}

/// Returns whether a file is empty or ends in a newline.
pub fn ends_whole(file: &mut File) -> io::Result<bool> {
    if file.seek(SeekFrom::End(0))? == 0 {
        return Ok(true);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

/// The objects of a file of JSON lines, and the number of other lines.
#[derive(Debug, Default)]
pub struct Lines {
    /// The records, in the order of the file.
    pub records: Vec<Value>,
    /// Number of whole lines that are not a JSON object; an unterminated last line does not count.
    pub skipped: usize,
}

/// Reads all JSON objects of a file; a missing file counts as empty. Lines longer than 16 MiB are skipped
/// without being kept in memory.
pub fn read_lines(path: &Path) -> io::Result<Lines> {
    let mut records = Vec::new();
    let skipped = read_each(path, MOST, |object| records.push(Value::Object(object)))?;
    Ok(Lines { records, skipped })
}

/// Parses each line of a file and passes the values on, for files that are too large for memory. Returns the
/// number of whole lines that are not such values. A missing file counts as empty; a file larger than `most`
/// bytes is not read.
pub fn read_each<T: DeserializeOwned>(path: &Path, most: u64, each: impl FnMut(T)) -> io::Result<usize> {
    let file = match open_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        opened => opened?,
    };
    if file.metadata()?.len() > most {
        return Err(Unfit::new("it is too large").into());
    }
    each_of(BufReader::new(file.take(most)), LIMIT, each)
}

/// Reads lines of at most `longest` bytes each.
fn each_of<T: DeserializeOwned>(
    mut file: impl BufRead,
    longest: u64,
    mut each: impl FnMut(T),
) -> io::Result<usize> {
    let mut skipped = 0;
    let mut line = Vec::new();
    loop {
        line.clear();
        let length = file.by_ref().take(longest).read_until(b'\n', &mut line)? as u64;
        let whole = line.ends_with(b"\n");
        if length == 0 {
            return Ok(skipped);
        } else if !whole && length == longest {
            file.skip_until(b'\n')?;
            skipped += 1;
            continue;
        }
        match serde_json::from_slice(&line) {
            Ok(value) => each(value),
            Err(_) if whole && !line.trim_ascii().is_empty() => skipped += 1,
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use tempfile::TempDir;

    #[test]
    fn a_torn_line_spoils_nothing_but_itself() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("append");
        std::fs::write(&path, "{\"a\":1}\nnonsense\n7\n{\"b\":").unwrap();
        assert_eq!(read_lines(&path).unwrap().skipped, 2);
        append_line(&path, &json!({"c": 3})).unwrap();
        let lines = read_lines(&path).unwrap();
        assert_eq!(lines.records, [json!({"a": 1}), json!({"c": 3})]);
        assert_eq!(lines.skipped, 3);
    }

    #[test]
    fn a_line_that_is_too_long_is_skipped_and_counted() {
        let read = |text: &str, longest| {
            let mut count = 0;
            let skipped = each_of(text.as_bytes(), longest, |_: Value| count += 1).unwrap();
            (count, skipped)
        };
        let long = format!("{{\"a\":1}}\n{{\"b\":\"{}\"}}\n{{\"c\":3}}\n", "x".repeat(100));
        for longest in [9, 20, 50, 108] {
            assert_eq!(read(&long, longest), (2, 1), "{longest}");
        }
        assert_eq!(read(&long, 110), (3, 0));
        assert_eq!(read(&"\0".repeat(100), 20), (0, 1));
    }

    #[test]
    fn a_file_of_many_gigabytes_is_not_read() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("lines");
        std::fs::File::create(&path).unwrap().set_len(10 << 30).unwrap();
        let refused = read_lines(&path);
        assert!(refused.is_err_and(|error| Unfit::is(&error)));
    }
}
