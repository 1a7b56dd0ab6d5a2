//! Whether pickles are whole (Python's pickletools describes the format), those included that
//! torch before 1.6 wrote: five of them, and then the bytes of every tensor.

use crate::bytes::Bytes;
use std::collections::BTreeMap;
use std::io;

/// The first pickle of a torch file without zip: `MAGIC_NUMBER` of `torch/serialization.py`.
const TORCH: &[u8] = b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";
/// Pickles before the tensors: magic number, version, system, the object, the keys of the tensors.
const TORCH_PICKLES: usize = 5;

/// Opcodes that are looked at; beyond that many nothing is known.
const MOST: usize = 1_000_000;

/// What is known of a file that begins like a pickle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    /// It ends where its contents do.
    Whole,
    /// It does not.
    Cut,
    /// It cannot be told.
    Unknown,
}

/// Says whether a file begins like a pickle of protocol 2 or later.
pub(crate) fn begins(head: &[u8]) -> bool {
    matches!(head, [0x80, 2..=5, ..] | [0x80])
}

/// Says whether a file of pickles is whole.
pub(crate) fn look(file: &Bytes) -> io::Result<Finding> {
    let mut reader = Reader { file, at: 0, window: Vec::new(), start: 0 };
    // After the protocol, and from protocol 4 on a frame.
    let head = file.read(2, 9 + TORCH.len())?;
    let is_torch = head.starts_with(TORCH) || head.get(9..) == Some(TORCH);
    let mut left = MOST;
    let mut storages = BTreeMap::new();
    let mut pickles = 0;
    while if is_torch { pickles < TORCH_PICKLES } else { reader.at < file.len() } {
        if !begins(&file.read(reader.at, 2)?) {
            return Ok(Finding::Cut);
        }
        match scan(&mut reader, &mut storages, &mut left)? {
            Finding::Whole => pickles += 1,
            other => return Ok(other),
        }
    }
    if !is_torch {
        return Ok(Finding::Whole);
    }
    let mut end = Some(reader.at);
    for bytes in storages.values() {
        let Some(bytes) = bytes else { return Ok(Finding::Unknown) };
        end = end.and_then(|end| end.checked_add(8)?.checked_add(*bytes)); // its number of elements, and they
    }
    Ok(if end == Some(file.len()) { Finding::Whole } else { Finding::Cut })
}

/// Reads a file forward, a window at a time.
struct Reader<'a> {
    file: &'a Bytes,
    at: u64,
    window: Vec<u8>,
    start: u64,
}

impl Reader<'_> {
    /// Returns the next bytes; `None` when the file ends before.
    fn take(&mut self, length: usize) -> io::Result<Option<&[u8]>> {
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

    /// Passes over bytes without reading them; false when the file ends before.
    fn skip(&mut self, length: u64) -> bool {
        let there = self.file.len() - self.at >= length;
        if there {
            self.at += length;
        }
        there
    }

    /// Passes over a line; `None` when the file or patience ends before its end.
    fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        while line.len() < 64 << 10 {
            match self.take(1)? {
                None => return Ok(None),
                Some(b"\n") => return Ok(Some(line)),
                Some(byte) => line.extend_from_slice(byte),
            }
        }
        Ok(None)
    }
}

/// A value on the stack, as far as persistent ids of tensors are made of such.
#[derive(Clone, Debug)]
enum Value {
    Text(Vec<u8>),
    Number(u64),
    /// A type of storages, by the size of an element where it is known.
    Type(Option<u64>),
    Other,
}

/// Reads a pickle to its end and notes the bytes of each storage that it speaks of.
fn scan(
    reader: &mut Reader,
    storages: &mut BTreeMap<Vec<u8>, Option<u64>>,
    left: &mut usize,
) -> io::Result<Finding> {
    // Values pushed since the last MARK: a persistent id is a flat tuple.
    let mut recent: Vec<Value> = Vec::new();
    let mut memo: BTreeMap<u64, Value> = BTreeMap::new();
    let mut memoized = 0;
    loop {
        if *left == 0 {
            return Ok(Finding::Unknown);
        }
        *left -= 1;
        if recent.len() > 64 {
            recent.drain(..48); // long lists are of no interest
        }
        let Some(&[opcode]) = reader.take(1)? else { return Ok(Finding::Cut) };
        // Bytes of the argument, or of the length in front of it.
        let (fixed, counted) = match opcode {
            0x80 | b'K' | b'h' | b'q' | 0x82 => (1, false),
            b'M' | 0x83 => (2, false),
            b'J' | b'j' | b'r' | 0x84 => (4, false),
            b'G' | 0x95 => (8, false),
            b'U' | b'C' | 0x8c | 0x8a => (1, true),
            b'T' | b'X' | b'B' | 0x8b => (4, true),
            0x8d | 0x8e | 0x96 => (8, true),
            _ => (0, false),
        };
        let Some(bytes) = reader.take(fixed)? else { return Ok(Finding::Cut) };
        let mut word = [0; 8];
        word[..fixed].copy_from_slice(bytes);
        let argument = u64::from_le_bytes(word);
        let mut text = None;
        if counted {
            if argument <= 256 {
                let Some(bytes) = reader.take(usize::try_from(argument).unwrap_or(0))? else {
                    return Ok(Finding::Cut);
                };
                text = Some(bytes.to_vec());
            } else if !reader.skip(argument) {
                return Ok(Finding::Cut);
            }
        }
        match opcode {
            b'.' => return Ok(Finding::Whole),
            b'(' => recent.clear(),
            b'K' | b'M' | b'J' => recent.push(Value::Number(argument)),
            0x8a => recent.push(match text {
                Some(digits) if digits.len() <= 8 && digits.last().is_none_or(|top| *top < 0x80) => {
                    let mut word = [0; 8];
                    word[..digits.len()].copy_from_slice(&digits);
                    Value::Number(u64::from_le_bytes(word))
                }
                _ => Value::Other,
            }),
            b'U' | b'T' | b'X' | 0x8c => recent.push(text.map_or(Value::Other, Value::Text)),
            b'h' | b'j' => recent.push(memo.get(&argument).cloned().unwrap_or(Value::Other)),
            b'q' | b'r' => remember(&mut memo, argument, recent.last()),
            0x94 => {
                remember(&mut memo, memoized, recent.last());
                memoized += 1;
            }
            b'c' => {
                let (Some(_), Some(name)) = (reader.line()?, reader.line()?) else {
                    return Ok(Finding::Cut);
                };
                recent.push(Value::Type(element(&name)));
            }
            0x93 => {
                let name = recent.pop();
                recent.pop();
                recent.push(match name {
                    Some(Value::Text(name)) => Value::Type(element(&name)),
                    _ => Value::Other,
                });
            }
            b'Q' => note(&recent, storages),
            // Appends, builds, tuples, constants: nothing that a persistent id is made of, or its tuple.
            b'N' | 0x88 | 0x89 | b']' | b'}' | b')' | 0x8f | b'B' | b'C' | 0x8b | 0x8d | 0x8e | 0x96
            | b'G' => {
                recent.push(Value::Other);
            }
            0x80
            | 0x81
            | 0x82..=0x87
            | 0x90..=0x92
            | 0x95
            | 0x97
            | 0x98
            | b'0'
            | b'1'
            | b'2'
            | b'R'
            | b'a'
            | b'b'
            | b'd'
            | b'e'
            | b'l'
            | b'o'
            | b's'
            | b't'
            | b'u' => {}
            _ => return Ok(Finding::Cut), // no opcode, or one of protocol 0: this is no such pickle
        }
    }
}

fn remember(memo: &mut BTreeMap<u64, Value>, at: u64, value: Option<&Value>) {
    match value {
        Some(Value::Text(text)) if text.len() > 64 => memo.remove(&at),
        None | Some(Value::Other) => memo.remove(&at),
        Some(value) => memo.insert(at, value.clone()),
    };
}

/// Notes a storage: `("storage", type, key, location, number of elements, view)`.
fn note(recent: &[Value], storages: &mut BTreeMap<Vec<u8>, Option<u64>>) {
    let start = recent.iter().rposition(|value| matches!(value, Value::Text(text) if text == b"storage"));
    if let Some([_, kind, Value::Text(key), _, count, ..]) = start.map(|start| &recent[start..]) {
        let bytes = match (kind, count) {
            (Value::Type(Some(size)), Value::Number(count)) => size.checked_mul(*count),
            _ => None,
        };
        storages.insert(key.clone(), bytes);
    }
}

/// Returns the size of an element of a type of storages.
fn element(name: &[u8]) -> Option<u64> {
    match name {
        b"ComplexDoubleStorage" => Some(16),
        b"DoubleStorage" | b"LongStorage" | b"ComplexFloatStorage" => Some(8),
        b"FloatStorage" | b"IntStorage" | b"QInt32Storage" => Some(4),
        b"HalfStorage" | b"BFloat16Storage" | b"ShortStorage" => Some(2),
        b"ByteStorage" | b"CharStorage" | b"BoolStorage" | b"QInt8Storage" | b"QUInt8Storage" => Some(1),
        _ => None,
    }
}
