//! Hashes of files, whole and in parts, and comparisons with older contents by their parts.

use crate::format::digest::Digest;
use crate::format::entry::{File as Content, Parts};
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// Bytes of a part, except in the largest files. A file up to this size has no parts.
pub(crate) const PART: u64 = 16 << 20;
/// The most parts of a file; a larger file has larger parts.
const PARTS: u64 = 8192;
/// Bytes of the largest file. Parts beyond would need more memory than a backup should take.
pub(crate) const LARGEST: u64 = PARTS << 30;
/// Bytes that are hashed at a time.
const BLOCK: usize = 256 << 10;

/// Returns the size of the parts of a file.
pub(crate) fn part_size(size: u64) -> u64 {
    let mut part = PART;
    while size.div_ceil(part) > PARTS {
        part *= 2;
    }
    part
}

/// The size and hashes of a content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hashed {
    /// Bytes.
    pub(crate) size: u64,
    /// Hash of the whole content.
    pub(crate) sha256: Digest,
    /// Hashes of the parts, if there are several.
    pub(crate) parts: Option<Parts>,
}

impl From<&Content> for Hashed {
    fn from(file: &Content) -> Self {
        Self { size: file.size, sha256: file.sha256, parts: file.parts.clone() }
    }
}

/// Reads a range of a file; returns less than the range if the file ends there.
pub(crate) fn read_at(file: &File, at: u64, bytes: &mut [u8]) -> io::Result<usize> {
    let mut read = 0;
    while read < bytes.len() {
        match file.read_at(&mut bytes[read..], at + read as u64) {
            Ok(0) => break,
            Ok(length) => read += length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}

/// Hashes the first bytes of a file; `None` if the file is shorter.
pub(crate) fn hash_start(file: &File, size: u64) -> io::Result<Option<Digest>> {
    let mut hash = Sha256::new();
    Ok(read_into(file, 0..size, &mut hash)?.then(|| Digest::finish(hash)))
}

/// Hashes a range of a file; returns false if the file ends before.
fn read_into(file: &File, range: Range<u64>, hash: &mut Sha256) -> io::Result<bool> {
    let Range { start: mut at, end } = range;
    let mut block = vec![0; usize::try_from(end.saturating_sub(at)).unwrap_or(BLOCK).min(BLOCK)];
    while at < end {
        let most = usize::try_from(end - at).unwrap_or(block.len()).min(block.len());
        let read = read_at(file, at, &mut block[..most])?;
        if read == 0 {
            return Ok(false);
        }
        hash.update(&block[..read]);
        at += read as u64;
    }
    Ok(true)
}

/// The result of comparing a file with stored contents.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Compared {
    /// The file equals the content with this number.
    Equal(usize),
    /// The file equals none of the contents, but begins with the older content.
    Grown,
    /// Neither.
    Other,
}

/// Compares a file with contents of its size, and its start with a shorter content, by their parts. Stops
/// reading once the file equals none. A file that changes meanwhile may equal none.
pub(crate) fn compare(
    file: &File,
    size: u64,
    equals: &[&Hashed],
    shorter: Option<&Hashed>,
) -> io::Result<Compared> {
    let part = part_size(size);
    let mut left: Vec<usize> =
        (0..equals.len()).filter(|at| equals[*at].size == size && is_divided(equals[*at], part)).collect();
    let mut shorter = shorter.filter(|old| old.size < size && is_divided(old, part));
    let mut is_grown = shorter.is_some_and(|old| old.size == 0);
    let mut number = 0;
    let mut at = 0;
    while at < size && (!left.is_empty() || shorter.is_some() && !is_grown) {
        let end = at + (size - at).min(part);
        let old = shorter.filter(|_| !is_grown);
        let begin = old.map_or(at, |old| old.size.min(end)); // end of the older content in this part
        let mut hash = Sha256::new();
        if !read_into(file, at..begin, &mut hash)? {
            return Ok(Compared::Other);
        }
        if let Some(old) = old {
            if part_digest(old, number) == Some(Digest::finish(hash.clone())) {
                is_grown = begin == old.size;
            } else {
                shorter = None;
            }
        }
        if !left.is_empty() {
            if !read_into(file, begin..end, &mut hash)? {
                return Ok(Compared::Other);
            }
            let digest = Digest::finish(hash);
            left.retain(|one| part_digest(equals[*one], number) == Some(digest));
        }
        number += 1;
        at = end;
    }
    Ok(match left.first() {
        Some(equal) => Compared::Equal(*equal),
        None if is_grown => Compared::Grown,
        None => Compared::Other,
    })
}

fn is_divided(content: &Hashed, part: u64) -> bool {
    content.parts.as_ref().map_or(content.size <= part, |parts| parts.size == part)
}

fn part_digest(content: &Hashed, number: usize) -> Option<Digest> {
    match &content.parts {
        Some(parts) => parts.digests.get(number).copied(),
        None => (number == 0).then_some(content.sha256),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    fn hashed(bytes: &[u8]) -> Hashed {
        let part = usize::try_from(part_size(bytes.len() as u64)).unwrap();
        let digests: Vec<Digest> = bytes.chunks(part).map(Digest::of).collect();
        let parts = (digests.len() > 1).then_some(Parts { size: part as u64, digests });
        Hashed { size: bytes.len() as u64, sha256: Digest::of(bytes), parts }
    }

    #[test]
    fn parts_are_so_large_that_there_are_not_too_many() {
        for (size, expected) in [
            (0, PART),
            (PART * PARTS, PART),
            (PART * PARTS + 1, 2 * PART),
            (1 << 40, 1 << 27),
            (LARGEST, 1 << 30),
            (u64::MAX / 2, 1 << 50),
        ] {
            assert_eq!(part_size(size), expected, "{size}");
        }
    }

    #[test]
    fn a_file_is_the_same_has_grown_or_is_another() {
        let part = usize::try_from(PART).unwrap();
        let long: Vec<u8> = (0..2 * part + 10).map(|at| u8::try_from(at % 251).unwrap()).collect();
        let mut other = long.clone();
        other[part + 5] ^= 1;
        let size = long.len() as u64;
        let compared = |equals: &[&[u8]], shorter: Option<&[u8]>| {
            let equals: Vec<Hashed> = equals.iter().map(|bytes| hashed(bytes)).collect();
            let shorter = shorter.map(hashed);
            compare(&file(&long), size, &equals.iter().collect::<Vec<_>>(), shorter.as_ref()).unwrap()
        };
        assert_eq!(compared(&[&other, &long], None), Compared::Equal(1));
        assert_eq!(compared(&[&other], None), Compared::Other);
        for start in [0, 1, part - 1, part, part + 1, 2 * part, 2 * part + 9] {
            assert_eq!(compared(&[&other], Some(&long[..start])), Compared::Grown, "{start}");
            assert_eq!(compared(&[&long], Some(&long[..start])), Compared::Equal(0), "{start}");
        }
        for start in [part + 6, 2 * part, 2 * part + 9] {
            assert_eq!(compared(&[], Some(&other[..start])), Compared::Other, "{start}");
        }
        assert_eq!(compared(&[], Some(&long)), Compared::Other, "it is no longer than before");
        // Cut while the file is read.
        let cut = file(&long[..=part]);
        assert_eq!(compare(&cut, size, &[&hashed(&long)], None).unwrap(), Compared::Other);
        assert_eq!(hash_start(&cut, 5).unwrap(), Some(Digest::of(&long[..5])));
        assert_eq!(hash_start(&cut, size).unwrap(), None);
    }
}
