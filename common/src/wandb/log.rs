//! The log format of a W&B datastore: that of `LevelDB` (`doc/log_format.md`) after a header of its own.
//!
//! The header is `:W&B`, the number 0xBEE1, and version 0. Blocks of 32 KiB follow, the first of which includes
//! the header. A record is whole in a block, or split into parts: checksum (CRC-32 of type and data, not
//! masked), length in 16 bits, type, data. Fewer than 7 bytes at the end of a block are padding. Numbers are
//! little endian (`wandb/sdk/internal/datastore.py`). A run that was killed leaves an incomplete record at the
//! end.

use crate::checksum::crc32;
use crate::fsio::read::LIMIT;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

const HEADER: &[u8; 7] = b":W&B\xe1\xbe\0";

/// Size of a block, and of the header of a part, in bytes.
pub(super) const BLOCK: usize = 32 << 10;
const HEAD: usize = 7;

/// Called for each record: its offset, and the record or `None` if it cannot be read.
pub type EachRecord<'a> = dyn FnMut(u64, Option<&[u8]>) -> io::Result<()> + 'a;

/// The position of a reader in a log.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogReader {
    /// Offset of the next record.
    position: u64,
    /// Whether reading began within the log: parts are skipped until a record begins.
    is_within: bool,
    /// Whether the part at `position` is damaged, which was reported: reading continues with the next block.
    is_damaged: bool,
}

/// A part of a record.
enum Part<'a> {
    /// A valid part: its type and its data.
    Whole(u8, &'a [u8]),
    /// The rest of the block is padding.
    Padding,
    /// The file ends within the part, for now.
    Unfinished,
    /// No valid part. The next one begins after this number of bytes, or in the next block.
    Damaged(Option<usize>),
}

/// Types of parts.
const FULL: u8 = 1;
const FIRST: u8 = 2; // 3 is a middle part
const LAST: u8 = 4;

impl LogReader {
    /// Starts with the first record that begins in the last `blocks` blocks of a log.
    pub fn at_end(file: &File, blocks: u64) -> io::Result<Self> {
        let block = BLOCK as u64;
        let first = (file.metadata()?.len() / block).saturating_sub(blocks - 1);
        Ok(Self { position: first * block, is_within: first > 0, is_damaged: false })
    }

    /// Returns the offset up to which the log was read. An unfinished record is read again.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Reads about `limit` bytes. Passes each whole record with its offset to `act`, and `None` for a record
    /// that is damaged or larger than 16 MiB. Returns whether there may be more.
    pub fn read(&mut self, file: &File, limit: u64, act: &mut EachRecord) -> io::Result<bool> {
        let until = self.position.saturating_add(limit);
        let mut block = Block::default();
        if self.position == 0 && !self.header(file, &mut block, act)? {
            return Ok(false);
        }
        let mut record = Vec::new();
        let mut place = self.position; // offset of the next part
        let mut has_begun = false;
        while has_begun || place < until {
            block.load(file, place)?;
            let part = if self.is_damaged { Part::Damaged(None) } else { block.part(place) };
            match part {
                Part::Unfinished => return Ok(false),
                Part::Padding => place = block.end(),
                Part::Damaged(length) => {
                    if !self.is_damaged {
                        (self.position, self.is_damaged) = (place, true);
                        act(place, None)?;
                    }
                    match length {
                        Some(length) => place += length as u64,
                        None if block.is_whole() => place = block.end(),
                        None => return Ok(false),
                    }
                    (self.position, self.is_damaged, self.is_within) = (place, false, true);
                    has_begun = false;
                    continue;
                }
                Part::Whole(kind, data) => {
                    let next = place + (HEAD + data.len()) as u64;
                    match kind {
                        FULL | FIRST => {
                            if has_begun {
                                act(self.position, None)?; // a record that was never finished
                            }
                            (self.position, self.is_within, has_begun) = (place, false, true);
                            record.clear();
                        }
                        _ if !has_begun => {
                            if !self.is_within {
                                act(place, None)?;
                            }
                            (place, self.position) = (next, next);
                            continue;
                        }
                        _ => {}
                    }
                    // A record that is too large is read to its end, but not kept, and reported as damaged.
                    let is_too_large = record.len() as u64 > LIMIT;
                    if !is_too_large {
                        record.extend_from_slice(data);
                    }
                    place = next;
                    if matches!(kind, FULL | LAST) {
                        let begun = std::mem::replace(&mut self.position, next);
                        has_begun = false;
                        act(begun, Some(record.as_slice()).filter(|record| record.len() as u64 <= LIMIT))?;
                    }
                    continue;
                }
            }
            if !has_begun {
                self.position = place;
            }
        }
        Ok(true)
    }

    /// Reads the header; returns whether records may follow.
    fn header(&mut self, file: &File, block: &mut Block, act: &mut EachRecord) -> io::Result<bool> {
        block.load(file, 0)?;
        let start = &block.bytes[..block.bytes.len().min(HEAD)];
        if start == HEADER {
            self.position = HEAD as u64;
            return Ok(true);
        }
        if !HEADER.starts_with(start) && !self.is_damaged {
            self.is_damaged = true;
            act(0, None)?;
        }
        Ok(false)
    }
}

/// A block of a log, as far as it is written.
#[derive(Default)]
struct Block {
    /// Its offset in the log.
    start: u64,
    bytes: Vec<u8>,
}

impl Block {
    /// Reads the block at an offset, unless it was read before.
    fn load(&mut self, file: &File, place: u64) -> io::Result<()> {
        let start = place - place % BLOCK as u64;
        if self.start == start && !self.bytes.is_empty() {
            return Ok(());
        }
        self.start = start;
        self.bytes.resize(BLOCK, 0);
        let mut length = 0;
        while length < BLOCK {
            match file.read_at(&mut self.bytes[length..], start + length as u64) {
                Ok(0) => break,
                Ok(count) => length += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.bytes.truncate(length);
        Ok(())
    }

    fn is_whole(&self) -> bool {
        self.bytes.len() == BLOCK
    }

    /// Returns the offset of the next block.
    fn end(&self) -> u64 {
        self.start + BLOCK as u64
    }

    /// Reads the part at an offset in the log.
    fn part(&self, place: u64) -> Part<'_> {
        let within = usize::try_from(place - self.start).unwrap_or(BLOCK);
        if BLOCK - within < HEAD {
            return if self.is_whole() { Part::Padding } else { Part::Unfinished };
        }
        match self.framed(within) {
            Framed::Data(kind, data, true) => Part::Whole(kind, data),
            // The length of a damaged part is trusted if another part follows there.
            Framed::Data(_, data, false) => {
                let length = HEAD + data.len();
                let is_next = matches!(self.framed(within + length), Framed::Data(_, _, true));
                Part::Damaged(is_next.then_some(length))
            }
            Framed::Nonsense => Part::Damaged(None),
            Framed::Unfinished => Part::Unfinished,
        }
    }

    /// Reads the header of a part, and compares the checksum.
    fn framed(&self, within: usize) -> Framed<'_> {
        let rest = self.bytes.get(within..).unwrap_or_default();
        let Some((&[a, b, c, d, low, high, kind], rest)) = rest.split_first_chunk::<HEAD>() else {
            return Framed::Unfinished;
        };
        let length = usize::from(u16::from_le_bytes([low, high]));
        if within + HEAD + length > BLOCK || !(FULL..=LAST).contains(&kind) {
            return Framed::Nonsense;
        }
        let is_right = |data: &[u8]| crc32(&[&[kind], data]) == u32::from_le_bytes([a, b, c, d]);
        rest.get(..length).map_or(Framed::Unfinished, |data| Framed::Data(kind, data, is_right(data)))
    }
}

/// The bytes at a place of a block.
enum Framed<'a> {
    /// A part: its type, its data, and whether the checksum matches.
    Data(u8, &'a [u8], bool),
    Nonsense,
    Unfinished,
}
