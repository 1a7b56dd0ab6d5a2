//! Checks whether a zip archive is whole, and finds a file in it, by its central directory (PKWARE APPNOTE 6.3,
//! section 4.3).

use crate::bytes::{Bytes, u16_at, u32_at, u64_at};
use std::io;

/// The beginning of an archive: its first local header.
pub(crate) const MAGIC: &[u8] = b"PK\x03\x04";
const CENTRAL: &[u8] = b"PK\x01\x02";
const END: &[u8] = b"PK\x05\x06";
const END64: &[u8] = b"PK\x06\x06";
const LOCATOR64: &[u8] = b"PK\x06\x07";
const END_LEN: usize = 22;
const LOCATOR64_LEN: usize = 20;
const END64_LEN: usize = 56;

/// Maximum size of a central directory: 64 MiB are half a million entries.
const LARGEST: u64 = 64 << 20;

/// Returns whether an archive is whole: it ends in an end record, directly preceded by a central directory
/// whose entries cover the file from its first byte on, without overlap. The end of an archive that is stored
/// inside another one does not pass: its entries do not begin at the start of the file.
pub(crate) fn is_whole(file: &Bytes) -> io::Result<bool> {
    // The end record is usually the last part of the file; a comment may follow.
    for reach in [END_LEN, END_LEN + usize::from(u16::MAX)] {
        let tail = file.tail(reach + LOCATOR64_LEN + END64_LEN)?;
        let start = file.len() - tail.len() as u64;
        for at in (0..tail.len().saturating_sub(END_LEN - 1)).rev() {
            let record = &tail[at..];
            let comment = usize::from(u16_at(record, 20).unwrap_or(0));
            if record.starts_with(END)
                && record.len() == END_LEN + comment
                && directory_is_whole(file, &tail, at, start + at as u64)?
            {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Returns the offset of the content of an uncompressed file in a whole archive. `name` is its name, with or
/// without a directory before it.
pub(crate) fn stored(file: &Bytes, name: &str) -> io::Result<Option<u64>> {
    let tail = file.tail(END_LEN + LOCATOR64_LEN + END64_LEN)?;
    let Some(at) = tail.len().checked_sub(END_LEN) else { return Ok(None) };
    let position = file.len() - END_LEN as u64;
    let directory = if tail[at..].starts_with(END) { read_end(file, &tail, at, position)? } else { None };
    let Some(Directory { entries, size, offset, .. }) =
        directory.filter(|directory| directory.size <= LARGEST)
    else {
        return Ok(None);
    };
    let central = file.read(offset, usize::try_from(size).unwrap_or(usize::MAX))?;
    let mut rest = central.as_slice();
    for _ in 0..entries {
        let Some(((start, _), length)) = read_entry(rest) else { return Ok(None) };
        let own =
            u16_at(rest, 28).and_then(|length| rest.get(46..46 + usize::from(length))).unwrap_or_default();
        let is_stored = u16_at(rest, 10) == Some(0);
        let last = own.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
        if is_stored && last == name.as_bytes() {
            let local = file.read(start, 30)?;
            let (Some(name), Some(extra)) = (u16_at(&local, 26), u16_at(&local, 28)) else { return Ok(None) };
            return Ok(start.checked_add(30 + u64::from(name) + u64::from(extra)));
        }
        rest = &rest[length..];
    }
    Ok(None)
}

/// The central directory, as an end record describes it.
struct Directory {
    entries: u64,
    size: u64,
    offset: u64,
    /// The offset at which the central directory must end.
    end: u64,
}

/// Checks the central directory of the end record at `position`.
fn directory_is_whole(file: &Bytes, tail: &[u8], at: usize, position: u64) -> io::Result<bool> {
    let Some(directory) = read_end(file, tail, at, position)? else { return Ok(false) };
    let Directory { entries, size, offset, end } = directory;
    if entries == 0 || offset.checked_add(size) != Some(end) || size > LARGEST || size / 46 < entries {
        return Ok(false);
    }
    let central = file.read(offset, usize::try_from(size).unwrap_or(usize::MAX))?;
    let mut spans = Vec::new();
    let mut rest = central.as_slice();
    for _ in 0..entries {
        let Some((span, length)) = read_entry(rest) else { return Ok(false) };
        spans.push(span);
        rest = &rest[length..];
    }
    spans.sort_unstable();
    let mut free = 0; // all bytes before this offset are accounted for
    for &(start, end) in &spans {
        if start < free {
            return Ok(false);
        }
        free = end;
    }
    let begins = spans.first().is_some_and(|&(start, _)| start == 0);
    Ok(rest.is_empty() && begins && free <= offset && file.read(0, MAGIC.len())? == MAGIC)
}

/// Reads an end record and, if present, the zip64 record before it, which takes precedence.
fn read_end(file: &Bytes, tail: &[u8], at: usize, position: u64) -> io::Result<Option<Directory>> {
    let record = &tail[at..];
    let field = |offset| u32_at(record, offset).map(u64::from);
    let (Some(entries), Some(size), Some(offset)) = (u16_at(record, 10).map(u64::from), field(12), field(16))
    else {
        return Ok(None);
    };
    let locator = at.checked_sub(LOCATOR64_LEN).map(|at| &tail[at..]);
    let Some(locator) = locator.filter(|locator| locator.starts_with(LOCATOR64)) else {
        return Ok(Some(Directory { entries, size, offset, end: position }));
    };
    let Some(start) = u64_at(locator, 8) else { return Ok(None) };
    let locator_at = position - LOCATOR64_LEN as u64;
    if start.checked_add(END64_LEN as u64).is_none_or(|end| end > locator_at) {
        return Ok(None);
    }
    let record = file.read(start, END64_LEN)?;
    let (Some(length), Some(entries), Some(size), Some(offset)) =
        (u64_at(&record, 4), u64_at(&record, 32), u64_at(&record, 40), u64_at(&record, 48))
    else {
        return Ok(None);
    };
    let fits = start.checked_add(12).and_then(|at| at.checked_add(length)) == Some(locator_at);
    Ok((record.starts_with(END64) && fits).then_some(Directory { entries, size, offset, end: start }))
}

/// Reads an entry of the central directory: its minimum span in the file, and its own length.
fn read_entry(bytes: &[u8]) -> Option<((u64, u64), usize)> {
    if !bytes.starts_with(CENTRAL) {
        return None;
    }
    let short = |at| u16_at(bytes, at).map(usize::from);
    let (name, extra, comment) = (short(28)?, short(30)?, short(32)?);
    let mut packed = u64::from(u32_at(bytes, 20)?);
    let full = u32_at(bytes, 24)?;
    let mut offset = u64::from(u32_at(bytes, 42)?);
    let length = 46 + name + extra + comment;
    let mut extras = bytes.get(46 + name..46 + name + extra)?;
    bytes.get(..length)?;
    while let (Some(id), Some(size)) = (u16_at(extras, 0), u16_at(extras, 2).map(usize::from)) {
        let Some(body) = extras.get(4..4 + size) else { break };
        if id == 1 {
            // Contains only the values that do not fit above, in this order.
            let mut at = if full == u32::MAX { 8 } else { 0 };
            if packed == u64::from(u32::MAX) {
                packed = u64_at(body, at)?;
                at += 8;
            }
            if offset == u64::from(u32::MAX) {
                offset = u64_at(body, at)?;
            }
        }
        extras = &extras[4 + size..];
    }
    let end = offset.checked_add(30 + name as u64)?.checked_add(packed)?;
    Some(((offset, end), length))
}
