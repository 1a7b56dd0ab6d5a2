//! Reads whole lines of growing files, and documents, in bounded memory. A line of more than 16 MiB is
//! skipped, and the lines after it are read. Used by all readers of rows.

use memchr::memchr;
use run_common::fsio::read::LIMIT;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek};
use std::os::unix::fs::FileExt;

/// Maximum size of a line in bytes, with its newline.
#[expect(clippy::cast_possible_truncation, reason = "it is small")]
pub const LONGEST: usize = LIMIT as usize;

/// Bytes to read at a time.
const BLOCK: usize = 64 << 10;

/// The position of a reader in a file of lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LineReader {
    /// The start of the next line.
    offset: u64,
    /// Number of skipped bytes of that line, which is too long.
    passed: u64,
}

impl LineReader {
    /// Starts at an offset.
    pub(crate) fn at(offset: u64) -> Self {
        Self { offset, passed: 0 }
    }

    /// Returns the offset up to which the file was read. An unfinished line is read again.
    pub fn position(&self) -> u64 {
        self.offset + self.passed
    }

    /// Reads at most `limit` bytes, and passes each whole line to `act` with its offset; a line that is too
    /// long is passed as `None`, as soon as this is known. Returns whether there may be more to read; with a
    /// limit of [`LONGEST`] or more, each call then makes progress.
    pub fn read(
        &mut self,
        file: &File,
        limit: u64,
        act: &mut impl FnMut(u64, Option<&[u8]>) -> io::Result<()>,
    ) -> io::Result<bool> {
        let mut left = limit;
        let mut reader = BufReader::with_capacity(BLOCK, Positioned { file, position: self.position() });
        let mut line = Vec::new();
        loop {
            if self.passed > 0 {
                let (count, is_whole) = pass_over(&mut reader.by_ref().take(left))?;
                left -= count;
                self.passed += count;
                if !is_whole {
                    return Ok(left == 0);
                }
                *self = Self::at(self.position());
            }
            line.clear();
            let most = left.min(LIMIT);
            let count = reader.by_ref().take(most).read_until(b'\n', &mut line)? as u64;
            left -= count;
            let offset = self.offset;
            if line.ends_with(b"\n") {
                self.offset += count;
                act(offset, Some(&line))?;
            } else if count == LIMIT {
                self.passed = count;
                act(offset, None)?;
            } else {
                return Ok(left == 0);
            }
        }
    }
}

/// A file from an offset on, independent of other readers.
struct Positioned<'a> {
    file: &'a File,
    position: u64,
}

impl Read for Positioned<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.position)?;
        self.position += count as u64;
        Ok(count)
    }
}

/// Skips the rest of a line; returns the number of skipped bytes, and whether its newline was among them.
fn pass_over(reader: &mut impl BufRead) -> io::Result<(u64, bool)> {
    let mut count = 0;
    loop {
        let block = match reader.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            block => block?,
        };
        if block.is_empty() {
            return Ok((count, false));
        }
        let newline = memchr(b'\n', block);
        let length = newline.map_or(block.len(), |newline| newline + 1);
        reader.consume(length);
        count += length as u64;
        if newline.is_some() {
            return Ok((count, true));
        }
    }
}

/// Returns whether a line counts as unreadable.
pub(crate) fn is_damage(line: Option<&[u8]>) -> bool {
    line.is_none_or(|line| !line.trim_ascii().is_empty())
}

/// Maximum size of a document that is read as a whole.
const DOCUMENT: u64 = 256 << 20;

/// Reads a whole document.
pub(crate) fn document(mut file: &File) -> io::Result<Vec<u8>> {
    if file.metadata()?.len() > DOCUMENT {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 256 MiB"));
    }
    file.rewind()?;
    let mut bytes = Vec::new();
    file.take(DOCUMENT).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;

    /// Lines as they were read, with their offsets.
    type Found = Vec<(u64, Option<Vec<u8>>)>;

    /// Reads all lines, and returns the number of calls.
    fn read(lines: &mut LineReader, file: &File, limit: u64, found: &mut Found) -> usize {
        let mut calls = 1;
        let mut act = |offset, line: Option<&[u8]>| {
            found.push((offset, line.map(<[u8]>::to_vec)));
            Ok(())
        };
        while lines.read(file, limit, &mut act).unwrap() {
            calls += 1;
        }
        calls
    }

    fn line(offset: u64, text: &str) -> (u64, Option<Vec<u8>>) {
        (offset, Some(text.as_bytes().to_vec()))
    }

    #[test]
    fn a_line_that_is_too_long_is_passed_over() {
        let long = vec![b'x'; 40 << 20];
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(
            &[b"a\n", &long[..], b"\nb\n", &long[..LONGEST - 1], b"\nc\n", &long[..LONGEST], b"\nd\ne"]
                .concat(),
        )
        .unwrap();
        let expected = [2, 2 + (40 << 20) + 1, 2 + (40 << 20) + 3, 0];
        for limit in [LIMIT, u64::MAX] {
            let (mut lines, mut found) = (LineReader::default(), Found::new());
            read(&mut lines, &file, limit, &mut found);
            let shown: Vec<_> = found.iter().map(|(_, line)| line.as_ref().map(Vec::len)).collect();
            assert_eq!(shown, [Some(2), None, Some(2), Some(LONGEST), Some(2), None, Some(2)]);
            assert_eq!((found[1].0, found[2].0, found[3].0), (expected[0], expected[1], expected[2]));
        }
    }

    #[test]
    fn a_line_that_grows_is_counted_once_and_read_once() {
        let mut file = tempfile::tempfile().unwrap();
        let (mut lines, mut found) = (LineReader::default(), Found::new());
        file.write_all(b"{\"st").unwrap();
        assert_eq!(read(&mut lines, &file, LIMIT, &mut found), 1);
        assert_eq!((lines.position(), found.len()), (0, 0));
        file.write_all(b"ep\": 1}\n").unwrap();
        read(&mut lines, &file, LIMIT, &mut found);
        assert_eq!(found, [line(0, "{\"step\": 1}\n")]);
        for part in 1..6 {
            file.write_all(&vec![b'x'; 9 << 20]).unwrap();
            read(&mut lines, &file, LIMIT, &mut found);
            let is_too_long = part > 1;
            assert_eq!(found.len(), 1 + usize::from(is_too_long));
            assert_eq!(lines.position(), if is_too_long { 12 + ((part * 9) << 20) } else { 12 });
        }
        file.write_all(b"\n{}\n").unwrap();
        read(&mut lines, &file, LIMIT, &mut found);
        assert_eq!(found[1..], [(12, None), line(13 + (45 << 20), "{}\n")]);
    }

    proptest! {
        #[test]
        fn lines_are_the_same_however_the_file_grows(
            pieces in prop::collection::vec("[ab\n]{0,5}", 0..8),
            more in 1u64..9,
        ) {
            let mut file = tempfile::tempfile().unwrap();
            let (mut lines, mut found) = (LineReader::default(), Found::new());
            for piece in &pieces {
                file.write_all(piece.as_bytes()).unwrap();
                read(&mut lines, &file, u64::MAX, &mut found);
            }
            let text = pieces.concat();
            let mut expected = Found::new();
            let mut offset = 0;
            for whole in text.split_inclusive('\n').filter(|text| text.ends_with('\n')) {
                expected.push(line(offset, whole));
                offset += whole.len() as u64;
            }
            prop_assert_eq!(&found, &expected);
            prop_assert_eq!(lines.position(), offset);
            // Any limit of at least the longest line yields the same lines.
            let longest = text.split_inclusive('\n').map(str::len).max().unwrap_or_default() as u64;
            let (mut lines, mut found) = (LineReader::default(), Found::new());
            read(&mut lines, &file, longest + more, &mut found);
            prop_assert_eq!(found, expected);
        }
    }
}
