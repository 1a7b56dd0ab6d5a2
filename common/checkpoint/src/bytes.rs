//! Random-access reading of files: heads and tails, and the numbers in them.

use run_common::error::{Unfit, plain};
use run_common::fsio::read::open_file;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// A file with random access. If the file is truncated meanwhile, reads return fewer bytes.
#[derive(Debug)]
pub(crate) struct Bytes {
    file: File,
    meta: Metadata,
    len: u64,
    /// The first bytes of the file, which all formats need; of a small file, all bytes.
    head: Vec<u8>,
}

/// Number of bytes to read at the beginning.
const HEAD: usize = 4096;

impl Bytes {
    /// Opens a regular file. The error is the reason for people.
    pub(crate) fn open(path: &Path) -> Result<Self, String> {
        let failed = |error: io::Error| format!("cannot be read: {}", plain(&error));
        let unfit = |error| if Unfit::is(&error) { "is no regular file".to_owned() } else { failed(error) };
        let file = open_file(path).map_err(unfit)?;
        let meta = file.metadata().map_err(failed)?;
        let mut bytes = Self { file, len: meta.len(), meta, head: Vec::new() };
        bytes.head = bytes.read(0, HEAD).map_err(failed)?;
        Ok(bytes)
    }

    /// Returns its metadata at the time of opening.
    pub(crate) fn meta(&self) -> &Metadata {
        &self.meta
    }

    /// Returns its length at the time of opening.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Reads up to `length` bytes at `offset`.
    pub(crate) fn read(&self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let end = offset.saturating_add(length as u64).min(self.len);
        if let (Ok(from), Ok(to)) = (usize::try_from(offset), usize::try_from(end))
            && let Some(bytes) = self.head.get(from..to)
        {
            return Ok(bytes.to_vec());
        }
        let there = self.len.saturating_sub(offset);
        let mut bytes = vec![0; usize::try_from(there).unwrap_or(usize::MAX).min(length)];
        let mut filled = 0;
        while filled < bytes.len() {
            match self.file.read_at(&mut bytes[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    }

    /// Reads the last bytes, at most `length`.
    pub(crate) fn tail(&self, length: usize) -> io::Result<Vec<u8>> {
        self.read(self.len.saturating_sub(length as u64), length)
    }
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}
