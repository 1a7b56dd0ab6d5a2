//! Tables in CSV, read row by row in bounded memory, as Python's csv module reads them. Fields are
//! handed on as they stand in the file, quotes included, so that nothing in them changes.

use memchr::{memchr, memchr_iter, memchr2};
use run_common::error::plain;
use std::fmt;
use std::io::{self, Read};
use std::ops::Range;

/// Bytes that are read at a time.
const BLOCK: usize = 256 << 10;

/// Longest row that is taken for one: beyond it, a quote was never closed.
const LONGEST: usize = 256 << 20;

/// Why a table cannot be used.
#[derive(Debug)]
pub(crate) enum Damage {
    /// It cannot be read.
    Io(io::Error),
    /// It is no table, in these words.
    Form(String),
}

impl From<io::Error> for Damage {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "cannot be read: {}", plain(error)),
            Self::Form(what) => f.write_str(what),
        }
    }
}

/// Rows of a table that are being read, the header first. Empty lines are none.
pub(crate) struct Rows<R> {
    source: R,
    block: Vec<u8>,
    /// What of the block was read and not yet handed out.
    left: Range<usize>,
    /// Up to here the block has neither quotes nor carriage returns.
    plain_until: usize,
    has_ended: bool,
}

/// A row, as it stands in the file, without its end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row<'a> {
    pub(crate) bytes: &'a [u8],
    /// It has neither quotes nor carriage returns.
    is_plain: bool,
}

impl<R: Read> Rows<R> {
    /// Begins to read, by blocks as large as the one that is given; an empty one is as large as is quick.
    pub(crate) fn new(source: R, mut block: Vec<u8>) -> Result<Self, Damage> {
        if block.is_empty() {
            block.resize(BLOCK, 0);
        }
        let mut rows = Self { source, block, left: 0..0, plain_until: 0, has_ended: false };
        while rows.left.end < 3 && rows.fill()? {}
        if rows.block[rows.left.clone()].starts_with(b"\xef\xbb\xbf") {
            rows.left.start = 3; // the mark that spreadsheets put before UTF-8
        }
        Ok(rows)
    }

    /// Returns the block, for another table.
    pub(crate) fn into_block(self) -> Vec<u8> {
        self.block
    }

    /// Returns the next row.
    pub(crate) fn next(&mut self) -> Result<Option<Row<'_>>, Damage> {
        loop {
            let start = self.left.start;
            let Some((end, after, is_plain)) = self.find_end()? else { return Ok(None) };
            debug_assert!(self.left.start <= start, "rows are found from the left");
            let bytes = self.left.start..end;
            self.left.start = after;
            if !bytes.is_empty() {
                return Ok(Some(Row { bytes: &self.block[bytes], is_plain }));
            }
        }
    }

    /// Finds where the next row ends, and where the one after it begins.
    fn find_end(&mut self) -> Result<Option<(usize, usize, bool)>, Damage> {
        loop {
            let start = self.left.start;
            if start < self.plain_until
                && let Some(length) = memchr(b'\n', &self.block[start..self.plain_until])
            {
                return Ok(Some((start + length, start + length + 1, true)));
            }
            let rest = &self.block[self.left.clone()];
            if self.plain_until < self.left.end
                && let Some((length, ends)) = careful_end(rest, self.has_ended)
            {
                return Ok(Some((start + length, start + length + ends, false)));
            }
            if self.has_ended {
                if rest.is_empty() {
                    return Ok(None);
                }
                let is_plain = self.plain_until >= self.left.end;
                if !is_plain && is_open(rest) {
                    return Err(Damage::Form("ends within quotes".to_owned()));
                }
                return Ok(Some((self.left.end, self.left.end, is_plain)));
            }
            self.fill()?;
        }
    }

    /// Reads more; `false` when there is no more.
    fn fill(&mut self) -> Result<bool, Damage> {
        if self.left.start > 0 {
            self.block.copy_within(self.left.clone(), 0);
            self.plain_until = self.plain_until.saturating_sub(self.left.start);
            self.left = 0..self.left.len();
        }
        if self.left.end == self.block.len() {
            if self.block.len() >= LONGEST {
                return Err(Damage::Form("has a row of 256 MiB: a quote is not closed".to_owned()));
            }
            self.block.resize(2 * self.block.len(), 0);
        }
        let read = loop {
            match self.source.read(&mut self.block[self.left.end..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        let was_plain = self.plain_until == self.left.end;
        self.has_ended = read == 0;
        self.left.end += read;
        if was_plain {
            let new = &self.block[self.plain_until..self.left.end];
            self.plain_until += memchr2(b'"', b'\r', new).unwrap_or(new.len());
        }
        Ok(read > 0)
    }
}

/// Where a reader of a row stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Begin,
    Bare,
    Quoted,
    /// After a quote in a quoted field, which ends it or is the first of two.
    Quote,
}

impl Place {
    fn after(self, byte: u8) -> Self {
        match (self, byte) {
            (Self::Quoted, b'"') => Self::Quote,
            (Self::Begin | Self::Quote, b'"') | (Self::Quoted, _) => Self::Quoted,
            (_, b',') => Self::Begin,
            _ => Self::Bare,
        }
    }
}

/// Returns the length of the row that `text` begins with, and that of its end; `None` when its end is
/// not there, or cannot be told from the first half of one.
fn careful_end(text: &[u8], is_last: bool) -> Option<(usize, usize)> {
    let mut place = Place::Begin;
    for (at, &byte) in text.iter().enumerate() {
        match byte {
            b'\n' if place != Place::Quoted => return Some((at, 1)),
            b'\r' if place != Place::Quoted => {
                return match text.get(at + 1) {
                    Some(b'\n') => Some((at, 2)),
                    None if !is_last => None,
                    _ => Some((at, 1)),
                };
            }
            _ => place = place.after(byte),
        }
    }
    None
}

/// Says whether a row ends within quotes.
fn is_open(row: &[u8]) -> bool {
    row.iter().fold(Place::Begin, |place, &byte| place.after(byte)) == Place::Quoted
}

impl Row<'_> {
    /// Counts its fields.
    pub(crate) fn count(&self) -> usize {
        if self.is_plain {
            return memchr_iter(b',', self.bytes).count() + 1;
        }
        let mut fields = Vec::new();
        self.split(&mut fields);
        fields.len()
    }

    /// Puts where its fields are into `fields`.
    pub(crate) fn split(&self, fields: &mut Vec<Range<usize>>) {
        fields.clear();
        let mut start = 0;
        let mut end = |at: usize| {
            fields.push(start..at);
            start = at + 1;
        };
        if self.is_plain {
            memchr_iter(b',', self.bytes).for_each(&mut end);
        } else {
            let mut place = Place::Begin;
            for (at, &byte) in self.bytes.iter().enumerate() {
                if byte == b',' && place != Place::Quoted {
                    end(at);
                }
                place = place.after(byte);
            }
        }
        end(self.bytes.len());
    }
}

/// Returns what a field says, without its quotes.
pub(crate) fn unquoted(field: &[u8]) -> Vec<u8> {
    let mut said = Vec::with_capacity(field.len());
    let mut place = Place::Begin;
    for &byte in field {
        let next = place.after(byte);
        // The quote that opens says nothing, nor does the one that may close; of two the second does.
        let is_silent =
            matches!((place, next), (Place::Begin, Place::Quoted) | (Place::Quoted, Place::Quote))
                && byte == b'"';
        if !is_silent {
            said.push(byte);
        }
        place = next;
    }
    said
}

/// Appends a field, in quotes where it needs them.
pub(crate) fn quote(field: &[u8], to: &mut Vec<u8>) {
    let needs = |byte: &u8| matches!(byte, b'"' | b',' | b'\n' | b'\r');
    if !field.iter().any(needs) {
        to.extend_from_slice(field);
        return;
    }
    to.push(b'"');
    for &byte in field {
        if byte == b'"' {
            to.push(b'"');
        }
        to.push(byte);
    }
    to.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a table in blocks of all sizes; returns its fields, as they are meant.
    fn read(text: &[u8]) -> Result<Vec<Vec<String>>, String> {
        struct Slow<'a>(&'a [u8], usize);
        impl Read for Slow<'_> {
            fn read(&mut self, block: &mut [u8]) -> io::Result<usize> {
                let length = self.0.len().min(self.1).min(block.len());
                block[..length].copy_from_slice(&self.0[..length]);
                self.0 = &self.0[length..];
                Ok(length)
            }
        }
        let once = |size: usize| -> Result<Vec<Vec<String>>, String> {
            let mut rows = Rows::new(Slow(text, size), vec![0; 4]).map_err(|damage| damage.to_string())?;
            let (mut found, mut fields) = (Vec::new(), Vec::new());
            while let Some(row) = rows.next().map_err(|damage| damage.to_string())? {
                row.split(&mut fields);
                assert_eq!(row.count(), fields.len());
                let field = |at: &Range<usize>| String::from_utf8(unquoted(&row.bytes[at.clone()])).unwrap();
                found.push(fields.iter().map(field).collect());
            }
            Ok(found)
        };
        let first = once(1);
        assert!((2..20).all(|size| once(size) == first));
        first
    }

    #[test]
    fn fields_are_read_as_python_reads_them() {
        let text = b"\xef\xbb\xbfa,b,\"c,d\"\r\n1,,\"x \"\"y\"\"\nz\"\n\n\r\n2,q\"r,\"s\"t\r3,,";
        let expected: [&[&str]; 4] =
            [&["a", "b", "c,d"], &["1", "", "x \"y\"\nz"], &["2", "q\"r", "st"], &["3", "", ""]];
        assert_eq!(read(text).unwrap(), expected);
        assert_eq!(read(b"").unwrap(), Vec::<Vec<String>>::new());
        assert_eq!(read(b"a\n\"\"\n").unwrap(), [["a"], [""]]);
        assert_eq!(read(b"a,\"b\nc").unwrap_err(), "ends within quotes");
    }

    #[test]
    fn a_quoted_field_says_the_same() {
        for field in ["", "plain", "a,b", "say \"so\"", "\"", "two\nlines", "\r"] {
            let mut written = Vec::new();
            quote(field.as_bytes(), &mut written);
            assert_eq!(unquoted(&written), field.as_bytes());
        }
    }
}
