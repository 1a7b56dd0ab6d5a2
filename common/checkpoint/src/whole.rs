//! Whether a file is whole, as far as its format tells. Heads and tails are read, not files.

use super::name::ends_in;
use super::{pickle, zip};
use run_common::error::{Unfit, plain};
use run_common::fsio::read::open_file;
use run_metrics::row::{Cell, Row};
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// What a file or directory shows of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    /// It is whole.
    Shown,
    /// Nothing: any beginning of it would look as good.
    None,
}

/// Longest header of a safetensors file, by its specification.
const HEADER: u64 = 100_000_000;

/// Longest document that is parsed.
const DOCUMENT: u64 = 64 << 20;

/// A file that is read in places. A file that becomes shorter gives fewer bytes.
#[derive(Debug)]
pub(super) struct Bytes {
    file: File,
    meta: Metadata,
    len: u64,
    /// Its beginning, which all formats ask for: of a small file all of it.
    head: Vec<u8>,
}

/// Bytes at the beginning that are read at once.
const HEAD: usize = 4096;

impl Bytes {
    /// Opens a regular file, or says why not.
    pub(super) fn open(path: &Path) -> Result<Self, String> {
        let failed = |error: io::Error| format!("cannot be read: {}", plain(&error));
        let file = open_file(path).map_err(|error| match Unfit::is(&error) {
            true => "is no regular file".to_owned(),
            false => failed(error),
        })?;
        let meta = file.metadata().map_err(failed)?;
        let mut bytes = Self { file, len: meta.len(), meta, head: Vec::new() };
        bytes.head = bytes.read(0, HEAD).map_err(failed)?;
        Ok(bytes)
    }

    /// What it was when it was opened.
    pub(super) fn meta(&self) -> &Metadata {
        &self.meta
    }

    /// Looks at it: whole, nothing to tell, or why it is not whole.
    pub(super) fn look(&self, path: &Path) -> Result<Proof, String> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
        if self.len == 0 {
            return Err("is empty".to_owned());
        }
        examine(self, &name).unwrap_or_else(|error| Err(format!("cannot be read: {}", plain(&error))))
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Reads up to `length` bytes from `offset` on.
    pub(super) fn read(&self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
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
    pub(super) fn tail(&self, length: usize) -> io::Result<Vec<u8>> {
        self.read(self.len.saturating_sub(length as u64), length)
    }
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

/// Extensions whose files are of a format that tells whether it is whole.
const MUST_TELL: [&str; 6] = [".pt", ".pth", ".pth.tar", ".zip", ".npz", ".keras"];
/// Extensions whose files may be of such a format.
const MAY_TELL: [&str; 4] = [".ckpt", ".bin", ".pkl", ".pickle"];
/// Extensions of other files that hold state, and so something.
const STATE: [&str; 9] =
    [".safetensors", ".h5", ".hdf5", ".npy", ".msgpack", ".distcp", ".onnx", ".gguf", ".pdparams"];

fn may_tell(name: &str) -> bool {
    ends_in(name, &MUST_TELL) || ends_in(name, &MAY_TELL)
}

/// Says whether a file holds state, by its name in lower case.
pub(super) fn holds_state(name: &str) -> bool {
    may_tell(name) || ends_in(name, &STATE)
}

/// Says whether a file inside of a checkpoint needs to be looked into, by its name in lower case.
pub(super) fn concerns(name: &str) -> bool {
    may_tell(name) || ends_in(name, &[".safetensors"])
}

/// Looks at a file: whole, nothing to tell, or why it is not whole.
pub(super) fn look(path: &Path) -> Result<Proof, String> {
    Bytes::open(path)?.look(path)
}

fn examine(file: &Bytes, name: &str) -> io::Result<Result<Proof, String>> {
    if ends_in(name, &[".safetensors"]) {
        return safetensors(file);
    }
    if ends_in(name, &[".json"]) {
        return Ok(document(file)?.map(|_| Proof::Shown));
    }
    let head = file.read(0, 512)?;
    let cut = |what: &str| Ok(Err(format!("is cut short, or no {what}")));
    if may_tell(name) && head.len() < zip::MAGIC.len() && zip::MAGIC.starts_with(&head) {
        return cut("zip archive");
    }
    if head.starts_with(zip::MAGIC) {
        return if zip::is_whole(file)? { Ok(Ok(Proof::Shown)) } else { cut("zip archive") };
    }
    if may_tell(name) && pickle::begins(&head) {
        return match pickle::look(file)? {
            pickle::Finding::Whole => Ok(Ok(Proof::Shown)),
            pickle::Finding::Unknown => Ok(Ok(Proof::None)),
            pickle::Finding::Cut => cut("pickle"),
        };
    }
    if may_tell(name) && head.get(257..262) == Some(b"ustar") {
        return if tar_is_whole(file)? { Ok(Ok(Proof::Shown)) } else { cut("tar archive") };
    }
    if ends_in(name, &MUST_TELL) { cut("zip archive or pickle") } else { Ok(Ok(Proof::None)) }
}

/// A tensor in the header of a safetensors file, and the metadata beside the tensors.
#[derive(Deserialize)]
struct Tensor {
    data_offsets: Option<(u64, u64)>,
}

/// The format: the header's length in 8 bytes, the header in JSON, the tensors.
fn safetensors(file: &Bytes) -> io::Result<Result<Proof, String>> {
    let wrong = |why: &str| Ok(Err(why.to_owned()));
    let Some(length) = u64_at(&file.read(0, 8)?, 0) else { return wrong("is cut short") };
    if length > HEADER {
        return wrong("is no safetensors file: its header is too long");
    }
    if length > file.len - 8 {
        return wrong("is cut short");
    }
    let header = file.read(8, usize::try_from(length).unwrap_or(usize::MAX))?;
    let Ok(tensors) = serde_json::from_slice::<BTreeMap<String, Tensor>>(&header) else {
        return wrong("is no safetensors file: its header does not parse");
    };
    let end =
        tensors.values().filter_map(|tensor| tensor.data_offsets).map(|(_, end)| end).max().unwrap_or(0);
    match end.checked_add(8 + length) {
        Some(end) if end == file.len => Ok(Ok(Proof::Shown)),
        Some(end) if end > file.len => Ok(Err(format!("is cut short: {} of {end} bytes", file.len))),
        _ => wrong("is longer than its header says"),
    }
}

/// A tar archive of torch before 0.1.11: headers and contents in blocks, two empty blocks at last.
fn tar_is_whole(file: &Bytes) -> io::Result<bool> {
    let mut at: u64 = 0;
    loop {
        let header = file.read(at, 1024)?;
        if header.len() < 1024 {
            return Ok(false);
        }
        if header.iter().all(|byte| *byte == 0) {
            return Ok(true);
        }
        let size = std::str::from_utf8(&header[124..135]).ok();
        let size = size.and_then(|size| u64::from_str_radix(size.trim_matches([' ', '\0']), 8).ok());
        let next =
            size.and_then(|size| at.checked_add(512)?.checked_add(size.checked_next_multiple_of(512)?));
        let Some(next) = next else { return Ok(false) };
        at = next;
    }
}

/// Reads a JSON document; of one that is very long only its last character. A row is of one that
/// is an object, `NaN` and `Infinity` included.
fn document(file: &Bytes) -> io::Result<Result<Option<Row>, String>> {
    if file.len > DOCUMENT {
        let tail = file.tail(64)?;
        let ends = matches!(tail.trim_ascii_end().last(), Some(b'}' | b']'));
        return Ok(if ends { Ok(None) } else { Err("is cut short".to_owned()) });
    }
    let bytes = file.read(0, usize::try_from(file.len).unwrap_or(usize::MAX))?;
    Ok(match Row::parse(&bytes) {
        Some(row) => Ok(Some(row)),
        None if serde_json::from_slice::<IgnoredAny>(&bytes).is_ok() => Ok(None),
        None => Err("does not parse".to_owned()),
    })
}

/// Reads a JSON object that says something of a checkpoint.
pub(super) fn record(path: &Path) -> Result<Row, String> {
    let file = Bytes::open(path)?;
    if file.len == 0 {
        return Err("is empty".to_owned());
    }
    match document(&file) {
        Ok(Ok(Some(row))) => Ok(row),
        Ok(Ok(None)) => Err("is no object".to_owned()),
        Ok(Err(why)) => Err(why),
        Err(error) => Err(format!("cannot be read: {}", plain(&error))),
    }
}

/// Returns the step under one of `keys`, the first that is a whole number from 0 on.
pub(super) fn step(row: &Row, keys: &[&str]) -> Option<u64> {
    keys.iter().find_map(|key| match row.get(key) {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "checked to be whole and small"
        )]
        Some(Cell::Number(step)) if step.fract() == 0.0 && (0.0..9e15).contains(step) => Some(*step as u64),
        _ => None,
    })
}

/// Returns the files that an index of shards names.
pub(super) fn shards(path: &Path) -> Result<Vec<String>, String> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let file = Bytes::open(path)?;
    if file.len > HEADER {
        return Err("is too long".to_owned());
    }
    let bytes = file.read(0, usize::try_from(file.len).unwrap_or(usize::MAX));
    let bytes = bytes.map_err(|error| format!("cannot be read: {}", plain(&error)))?;
    let index: Index = serde_json::from_slice(&bytes).map_err(|_| "does not parse")?;
    let mut names: Vec<String> = index.weight_map.into_values().collect();
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

/// Returns the first word of a small text file, such as a tracker.
pub(super) fn word(path: &Path) -> Option<String> {
    let bytes = Bytes::open(path).ok()?.read(0, 4096).ok()?;
    Some(String::from_utf8(bytes).ok()?.split_whitespace().next()?.to_owned())
}
