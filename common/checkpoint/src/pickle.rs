//! Checks whether pickles are whole, and finds the object of interest in a file (Python's pickletools
//! describes the format).

use crate::bytes::Bytes;
use std::io;

/// The first pickle of a file of torch before 1.6: `MAGIC_NUMBER` of `torch/serialization.py`. The bytes of
/// the tensors follow the pickles, and their end is not recorded.
const TORCH: &[u8] = b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";

/// Class name in files of joblib: the bytes of an array follow such an object, amid the opcodes.
const JOBLIB: &[u8] = b"NumpyArrayWrapper";

/// Maximum number of opcodes to read; beyond this, the answer is unknown.
const MOST: usize = 1_000_000;

/// Maximum length of a class name.
const LINE: usize = 64 << 10;

/// The verdict about a file that begins like a pickle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    /// It is whole: it ends where its contents end.
    Whole,
    /// It is truncated.
    Cut,
    /// Unknown.
    Unknown,
}

/// Returns whether a file begins like a pickle of protocol 2 or later.
pub(crate) fn begins(head: &[u8]) -> bool {
    matches!(head, [0x80, 2..=5, ..] | [0x80])
}

/// Returns whether a file of pickles is whole.
pub(crate) fn check(file: &Bytes) -> io::Result<Finding> {
    if is_of_old_torch(file)? {
        return Ok(Finding::Unknown);
    }
    let found = check_all(file)?;
    let is_of_joblib = |head: &[u8]| head.windows(JOBLIB.len()).any(|part| part == JOBLIB);
    Ok(if found == Finding::Cut && is_of_joblib(&file.read(0, LINE)?) { Finding::Unknown } else { found })
}

/// Returns whether torch before 1.6 wrote a file.
fn is_of_old_torch(file: &Bytes) -> io::Result<bool> {
    // After the protocol, and a frame from protocol 4 on.
    let head = file.read(2, 9 + TORCH.len())?;
    Ok(head.starts_with(TORCH) || head.get(9..) == Some(TORCH))
}

/// Returns the start of the object of interest in a file of pickles: files of torch before 1.6 begin with
/// three other objects. `None` if there is none.
pub(crate) fn object_at(file: &Bytes) -> io::Result<Option<u64>> {
    if !begins(&file.read(0, 2)?) {
        return Ok(None);
    }
    let mut reader = Reader::new(file, 0);
    let before = if is_of_old_torch(file)? { 3 } else { 0 };
    for _ in 0..before {
        if scan(&mut reader, &mut MOST.clone())? != Finding::Whole {
            return Ok(None);
        }
    }
    Ok(Some(reader.at))
}

fn check_all(file: &Bytes) -> io::Result<Finding> {
    let mut reader = Reader::new(file, 0);
    let mut left = MOST;
    while reader.at < file.len() {
        if !begins(&file.read(reader.at, 2)?) {
            return Ok(Finding::Cut);
        }
        match scan(&mut reader, &mut left)? {
            Finding::Whole => {}
            other => return Ok(other),
        }
    }
    Ok(Finding::Whole)
}

/// Reads a file forward, a window at a time.
pub(crate) struct Reader<'a> {
    file: &'a Bytes,
    at: u64,
    window: Vec<u8>,
    start: u64,
}

impl<'a> Reader<'a> {
    /// Starts reading at an offset.
    pub(crate) fn new(file: &'a Bytes, at: u64) -> Self {
        Self { file, at: at.min(file.len()), window: Vec::new(), start: 0 }
    }

    /// Returns the next bytes; `None` if the file ends before.
    pub(crate) fn take(&mut self, length: usize) -> io::Result<Option<&[u8]>> {
        if self.file.len() - self.at < length as u64 {
            return Ok(None);
        }
        let inside = |reader: &Self| usize::try_from(reader.at - reader.start).ok();
        let held =
            self.at >= self.start && inside(self).is_some_and(|from| from + length <= self.window.len());
        if !held {
            self.window = self.file.read(self.at, length.max(64 << 10))?;
            self.start = self.at;
        }
        let from = inside(self).unwrap_or(0);
        let taken = self.window.get(from..from + length);
        if taken.is_some() {
            self.at += length as u64;
        }
        Ok(taken)
    }

    /// Skips bytes without reading them; false if the file ends before.
    pub(crate) fn skip(&mut self, length: u64) -> bool {
        let there = self.file.len() - self.at >= length;
        if there {
            self.at += length;
        }
        there
    }

    /// Skips a line; false if the file or the limit ends before its end.
    pub(crate) fn skip_line(&mut self) -> io::Result<bool> {
        for _ in 0..LINE {
            match self.take(1)? {
                None => return Ok(false),
                Some(b"\n") => return Ok(true),
                Some(_) => {}
            }
        }
        Ok(false)
    }
}

/// The argument of an opcode.
enum Argument {
    /// A fixed number of bytes, possibly 0.
    Bytes(usize),
    /// A length in a fixed number of bytes, followed by this many bytes.
    Counted(usize),
    /// The module and the name of a class, one line each.
    TwoLines,
}

/// Returns the argument of an opcode; `None` for an unknown opcode, or one of protocol 0.
fn argument(opcode: u8) -> Option<Argument> {
    match opcode {
        0x80 | b'K' | b'h' | b'q' | 0x82 => Some(Argument::Bytes(1)),
        b'M' | 0x83 => Some(Argument::Bytes(2)),
        b'J' | b'j' | b'r' | 0x84 => Some(Argument::Bytes(4)),
        b'G' | 0x95 => Some(Argument::Bytes(8)),
        b'U' | b'C' | 0x8c | 0x8a => Some(Argument::Counted(1)),
        b'T' | b'X' | b'B' | 0x8b => Some(Argument::Counted(4)),
        0x8d | 0x8e | 0x96 => Some(Argument::Counted(8)),
        b'c' => Some(Argument::TwoLines),
        b'('
        | b')'
        | b'.'
        | b'0'..=b'2'
        | b'N'
        | b'Q'
        | b'R'
        | b']'
        | b'}'
        | b'a'
        | b'b'
        | b'd'
        | b'e'
        | b'l'
        | b'o'
        | b's'..=b'u'
        | 0x81
        | 0x85..=0x89
        | 0x8f..=0x94
        | 0x97
        | 0x98 => Some(Argument::Bytes(0)),
        _ => None,
    }
}

/// Reads a pickle to its end.
fn scan(reader: &mut Reader, left: &mut usize) -> io::Result<Finding> {
    loop {
        if *left == 0 {
            return Ok(Finding::Unknown);
        }
        *left -= 1;
        let Some(&[opcode]) = reader.take(1)? else { return Ok(Finding::Cut) };
        let is_there = match argument(opcode) {
            None => false,
            Some(Argument::Bytes(length)) => reader.skip(length as u64),
            Some(Argument::Counted(length)) => {
                let mut count = [0; 8];
                let Some(bytes) = reader.take(length)? else { return Ok(Finding::Cut) };
                count[..length].copy_from_slice(bytes);
                reader.skip(u64::from_le_bytes(count))
            }
            Some(Argument::TwoLines) => reader.skip_line()? && reader.skip_line()?,
        };
        match opcode {
            _ if !is_there => return Ok(Finding::Cut),
            b'.' => return Ok(Finding::Whole),
            _ => {}
        }
    }
}
