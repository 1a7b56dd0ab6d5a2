//! Checks whether a file is whole, as far as its format shows. Reads heads and tails, not whole files.

use crate::bytes::{Bytes, u16_at, u32_at, u64_at};
use crate::name::ends_in;
use crate::{document, pickle, zip};
use run_common::error::plain;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

/// Whether a file or directory proves that it is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    /// The contents show that it is complete.
    Shown,
    /// Nothing shows it: any prefix of the file would look the same.
    None,
}

/// Magic bytes of `NumPy` arrays.
const NUMPY: &[u8] = b"\x93NUMPY";

/// Magic bytes of HDF5 files.
const HDF5: &[u8] = b"\x89HDF\r\n\x1a\n";

/// Maximum size of a safetensors header, by its specification.
const HEADER: u64 = 100_000_000;

/// Extensions of formats that show whether a file is whole.
const MUST_TELL: [&str; 6] = [".pt", ".pth", ".pth.tar", ".zip", ".npz", ".keras"];
/// Extensions of files that may have such a format.
const MAY_TELL: [&str; 6] = [".ckpt", ".bin", ".pkl", ".pickle", ".th", ".tar"];
/// Extensions of other state files.
const STATE: [&str; 20] = [
    ".safetensors",
    ".h5",
    ".hdf5",
    ".npy",
    ".msgpack",
    ".distcp",
    ".onnx",
    ".gguf",
    ".pdparams",
    ".pdopt",
    ".joblib",
    ".params",
    ".caffemodel",
    ".solverstate",
    ".weights",
    ".eqx",
    ".nemo",
    ".bson",
    ".ubj",
    ".cbm",
];

/// Names of state files without a telling extension: Orbax's, TensorFlow's and spaCy's.
const BARE: [&str; 3] = ["manifest.ocdbt", "saved_model.pb", "model"];

fn may_tell(name: &str) -> bool {
    ends_in(name, &MUST_TELL) || ends_in(name, &MAY_TELL)
}

/// Returns whether a file holds state, by its name in lower case.
pub(crate) fn holds_state(name: &str) -> bool {
    let file = name.rsplit('/').next().unwrap_or(name);
    may_tell(name) || ends_in(name, &STATE) || BARE.contains(&file)
}

/// Returns whether a file inside a checkpoint needs to be opened, by its name in lower case.
pub(crate) fn concerns(name: &str) -> bool {
    may_tell(name) || ends_in(name, &[".safetensors", ".npy", ".h5", ".hdf5"])
}

/// Checks a file. `Ok`: it is whole, or proves nothing; the error is the reason why it is not whole.
pub(crate) fn check(path: &Path) -> Result<Proof, String> {
    check_open(&Bytes::open(path)?, path)
}

/// Checks an open file with the name of `path`.
pub(crate) fn check_open(file: &Bytes, path: &Path) -> Result<Proof, String> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    if file.len() == 0 {
        return Err("is empty".to_owned());
    }
    examine(file, &name).unwrap_or_else(|error| Err(format!("cannot be read: {}", plain(&error))))
}

fn examine(file: &Bytes, name: &str) -> io::Result<Result<Proof, String>> {
    if ends_in(name, &[".safetensors"]) {
        return safetensors(file);
    }
    if ends_in(name, &[".npy"]) {
        return npy(file);
    }
    if ends_in(name, &[".h5", ".hdf5"]) {
        return hdf5(file);
    }
    if ends_in(name, &[".json"]) {
        return Ok(document::parse(file)?.map(|_| Proof::Shown));
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
        return match pickle::check(file)? {
            pickle::Finding::Whole => Ok(Ok(Proof::Shown)),
            pickle::Finding::Unknown => Ok(Ok(Proof::None)),
            pickle::Finding::Cut => cut("pickle"),
        };
    }
    if may_tell(name) && head.get(257..262) == Some(b"ustar") {
        return Ok(Ok(Proof::None)); // written by torch before 0.1.11
    }
    if ends_in(name, &MUST_TELL) { cut("zip archive or pickle") } else { Ok(Ok(Proof::None)) }
}

/// A `NumPy` array: a magic word, a version, the length of a header, the header as a Python dictionary, and
/// the values (documentation of `numpy.lib.format`).
fn npy(file: &Bytes) -> io::Result<Result<Proof, String>> {
    let head = file.read(0, 12)?;
    if !head.starts_with(NUMPY) {
        return Ok(if NUMPY.starts_with(&head) { Err("is cut short".to_owned()) } else { Ok(Proof::None) });
    }
    let (length, start) = match head.get(6) {
        Some(1) => (u16_at(&head, 8).map(u64::from), 10),
        _ => (u32_at(&head, 8).map(u64::from), 12),
    };
    let Some(length) = length.filter(|length| start + *length <= file.len()) else {
        return Ok(Err("is cut short".to_owned()));
    };
    let header = file.read(start, usize::try_from(length.min(1 << 16)).unwrap_or(0))?;
    let Some(bytes) = npy_bytes(&String::from_utf8_lossy(&header)) else { return Ok(Ok(Proof::None)) };
    let end = bytes.saturating_add(start + length);
    Ok(if file.len() >= end {
        Ok(Proof::Shown)
    } else {
        Err(format!("is cut short: {} of {end} bytes", file.len()))
    })
}

/// Returns the size of the values in bytes, by the header of an array of plain numbers.
fn npy_bytes(header: &str) -> Option<u64> {
    let after = |key: &str| Some(header.split_once(key)?.1.trim_start_matches([':', ' ']));
    let kind = after("'descr'")?.strip_prefix('\'')?.split('\'').next()?;
    let size: u64 = kind.trim_start_matches(|c: char| !c.is_ascii_digit()).parse().ok()?;
    let is_plain = kind.trim_start_matches(['<', '>', '|', '=']).starts_with(['f', 'i', 'u', 'b', 'c']);
    let shape = after("'shape'")?.strip_prefix('(')?.split(')').next()?;
    let mut sides = shape.split(',').map(str::trim).filter(|side| !side.is_empty());
    let count = sides.try_fold(1u64, |count, side| count.checked_mul(side.parse().ok()?))?;
    is_plain.then(|| count.checked_mul(size))?
}

/// Minimum length of the first block of HDF5.
const BLOCK: usize = 48;

/// An HDF5 file states its end in its first block, which is written before the rest, so a file that reaches
/// this end may still be incomplete (HDF5 File Format Specification, III.A).
fn hdf5(file: &Bytes) -> io::Result<Result<Proof, String>> {
    let head = file.read(0, 64)?;
    if !head.starts_with(HDF5) {
        return Ok(if HDF5.starts_with(&head) { Err("is cut short".to_owned()) } else { Ok(Proof::None) });
    }
    if head.len() < BLOCK {
        return Ok(Err("is cut short".to_owned()));
    }
    let end = match (head.get(8), head.get(13), head.get(9)) {
        (Some(0), Some(8), _) => u64_at(&head, 40),
        (Some(1), Some(8), _) => u64_at(&head, 44),
        (Some(2 | 3), _, Some(8)) => u64_at(&head, 28),
        _ => Some(0),
    };
    let Some(end) = end else { return Ok(Err("is cut short".to_owned())) };
    Ok(if end > file.len() && end != u64::MAX {
        Err(format!("is cut short: {} of {end} bytes", file.len()))
    } else {
        Ok(Proof::None)
    })
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
    if length > file.len() - 8 {
        return wrong("is cut short");
    }
    let header = file.read(8, usize::try_from(length).unwrap_or(usize::MAX))?;
    let Ok(tensors) = serde_json::from_slice::<BTreeMap<String, Tensor>>(&header) else {
        return wrong("is no safetensors file: its header does not parse");
    };
    let end =
        tensors.values().filter_map(|tensor| tensor.data_offsets).map(|(_, end)| end).max().unwrap_or(0);
    match end.checked_add(8 + length) {
        Some(end) if end == file.len() => Ok(Ok(Proof::Shown)),
        Some(end) if end > file.len() => Ok(Err(format!("is cut short: {} of {end} bytes", file.len()))),
        _ => wrong("is longer than its header says"),
    }
}
