//! Files of JSON lines that are only appended to, and readers that accept a torn last line.

use serde::Serialize;
use serde_json::Value;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

/// Appends one JSON object as a line, in one write. A line that a crash cut off before it is
/// closed first, so that it spoils nothing but itself.
pub fn append_line(path: &Path, record: &impl Serialize) -> io::Result<()> {
    let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
    let mut line = Vec::new();
    if !ends_whole(&mut file)? {
        line.push(b'\n');
    }
    serde_json::to_writer(&mut line, record)?;
    line.push(b'\n');
    file.write_all(&line)
}

/// Says whether a file is empty or ends in a newline.
pub fn ends_whole(file: &mut File) -> io::Result<bool> {
    if file.seek(SeekFrom::End(0))? == 0 {
        return Ok(true);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

/// The objects of a file of JSON lines, and how many lines were none.
#[derive(Debug, Default)]
pub struct Lines {
    /// The records, in the order of the file.
    pub records: Vec<Value>,
    /// Whole lines that are no JSON object; an unterminated last line does not count.
    pub skipped: usize,
}

/// Reads all JSON objects of a file; a missing file is an empty one.
pub fn read_lines(path: &Path) -> io::Result<Lines> {
    let bytes = match std::fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        read => read?,
    };
    let mut lines = Lines::default();
    for line in bytes.split_inclusive(|&byte| byte == b'\n') {
        let whole = line.ends_with(b"\n");
        match serde_json::from_slice(line) {
            Ok(record @ Value::Object(_)) => lines.records.push(record),
            _ if whole && !line.trim_ascii().is_empty() => lines.skipped += 1,
            _ => {}
        }
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_torn_line_spoils_nothing_but_itself() {
        let path = std::env::temp_dir().join(format!("append-{}", std::process::id()));
        std::fs::write(&path, "{\"a\":1}\nnonsense\n{\"b\":").unwrap();
        assert_eq!(read_lines(&path).unwrap().skipped, 1);
        append_line(&path, &json!({"c": 3})).unwrap();
        let lines = read_lines(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(lines.records, [json!({"a": 1}), json!({"c": 3})]);
        assert_eq!(lines.skipped, 2);
    }
}
