//! Reads stored files in pieces, and accepts a piece only with the right hash.

use crate::format::digest::Digest;
use crate::format::entry::File;
use crate::set::Set;
use crate::store::fault::Fault;
use run_common::error::Error;
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::fs;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// How often a damaged piece is read again: the damage may come from the network.
const TRIES: u32 = 4;
/// Bytes per read.
const BLOCK: usize = 256 << 10;

/// A part of a stored file, or all of a small one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Range of the bytes in the file.
    pub(crate) range: Range<u64>,
    /// Hash of the bytes.
    pub(crate) sha256: Digest,
}

/// Why a stored file does not match its manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Damage {
    /// The object does not exist.
    Missing,
    /// The object is too short.
    Short,
    /// The bytes have another hash.
    Differs,
}

/// Why a piece could not be read.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The stored file is damaged.
    Damaged(Damage),
    /// The receiver of the bytes failed.
    Sink(io::Error),
    /// The store cannot be read.
    Store(Error),
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "the store does not have it",
            Self::Short => "the store has only a part of it",
            Self::Differs => "its bytes in the store are not those that were stored",
        })
    }
}

impl File {
    /// Returns the pieces in which the file is read; none for an empty file.
    pub(crate) fn pieces(&self) -> Vec<Piece> {
        match &self.parts {
            _ if self.size == 0 => Vec::new(),
            None => vec![Piece { range: 0..self.size, sha256: self.sha256 }],
            Some(parts) => {
                let starts = (0..self.size).step_by(usize::try_from(parts.size).unwrap_or(usize::MAX));
                let piece = |(start, sha256): (u64, &Digest)| Piece {
                    range: start..start.saturating_add(parts.size).min(self.size),
                    sha256: *sha256,
                };
                starts.zip(&parts.digests).map(piece).collect()
            }
        }
    }
}

impl Piece {
    /// Returns the number of bytes.
    pub(crate) fn len(&self) -> u64 {
        self.range.end - self.range.start
    }

    /// Returns whether a file has this piece.
    pub(crate) fn is_in(&self, file: &fs::File) -> io::Result<bool> {
        let mut hash = Sha256::new();
        let mut block = vec![0; usize::try_from(self.len()).unwrap_or(BLOCK).min(BLOCK)];
        let mut at = self.range.start;
        while at < self.range.end {
            let most = usize::try_from(self.range.end - at).unwrap_or(BLOCK).min(block.len());
            match file.read_at(&mut block[..most], at) {
                Ok(0) => return Ok(false),
                Ok(length) => {
                    hash.update(&block[..length]);
                    at += length as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Digest::finish(hash) == self.sha256)
    }

    /// Reads the piece from an object, and passes the bytes on as they arrive, with their place in the file.
    /// The bytes count only if this returns without trouble; until then, they may come again from the start.
    pub(crate) fn read(
        &self,
        set: &Set<'_>,
        key: &str,
        take: &mut dyn FnMut(u64, &[u8]) -> io::Result<()>,
    ) -> Result<(), Trouble> {
        let mut found = Damage::Missing;
        for _ in 0..TRIES {
            let mut hash = Sha256::new();
            let mut at = self.range.start;
            let mut sink = |bytes: &[u8]| {
                hash.update(bytes);
                take(at, bytes)?;
                at += bytes.len() as u64;
                Ok(())
            };
            match set.store.get(&set.key(key), Some(self.range.clone()), &mut sink) {
                Ok(()) if at < self.range.end => found = Damage::Short,
                Ok(()) if Digest::finish(hash) == self.sha256 => return Ok(()),
                Ok(()) | Err(Fault::Corrupt(_)) => found = Damage::Differs,
                Err(Fault::NotFound) => return Err(Trouble::Damaged(Damage::Missing)),
                Err(Fault::Sink(error)) => return Err(Trouble::Sink(error)),
                Err(fault) => return Err(Trouble::Store(set.failed("read", key, fault))),
            }
        }
        Err(Trouble::Damaged(found))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::entry::Parts;

    fn file(size: u64, parts: Option<Parts>) -> File {
        let sha256 = Digest::of(b"all");
        File { size, sha256, parts, key: None, sparse: false, prefix: false, same_file: None, identity: None }
    }

    #[test]
    fn pieces_are_the_parts_of_a_file() {
        let ranges = |file: &File| file.pieces().into_iter().map(|piece| piece.range).collect::<Vec<_>>();
        assert_eq!(ranges(&file(0, None)), []);
        assert_eq!(ranges(&file(7, None)), vec![Range { start: 0, end: 7 }]);
        let parts = |count| Some(Parts { size: 1 << 20, digests: vec![Digest::of(b"x"); count] });
        assert_eq!(
            ranges(&file((2 << 20) + 5, parts(3))),
            [0..1 << 20, 1 << 20..2 << 20, 2 << 20..(2 << 20) + 5]
        );
        assert_eq!(ranges(&file(2 << 20, parts(2))), [0..1 << 20, 1 << 20..2 << 20]);
        let huge = Parts { size: 1 << 61, digests: vec![Digest::of(b"x"); 2] };
        assert_eq!(ranges(&file(1 << 62, Some(huge))), [0..1 << 61, 1 << 61..1 << 62]);
    }
}
