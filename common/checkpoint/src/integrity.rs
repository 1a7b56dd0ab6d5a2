//! Whether a file is whole, as far as its format tells. Heads and tails are read, not files.

use crate::bytes::{Bytes, u64_at};
use crate::name::ends_in;
use crate::{document, pickle, zip};
use run_common::error::plain;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

/// What a file or directory shows of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    /// It is whole.
    Shown,
    /// Nothing: any beginning of it would look as good.
    None,
}

/// Longest header of a safetensors file, by its specification.
const HEADER: u64 = 100_000_000;

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
pub(crate) fn holds_state(name: &str) -> bool {
    may_tell(name) || ends_in(name, &STATE)
}

/// Says whether a file inside of a checkpoint needs to be looked into, by its name in lower case.
pub(crate) fn concerns(name: &str) -> bool {
    may_tell(name) || ends_in(name, &[".safetensors"])
}

/// Checks a file: it is whole, tells nothing, or why it is not whole.
pub(crate) fn check(path: &Path) -> Result<Proof, String> {
    check_open(&Bytes::open(path)?, path)
}

/// Checks a file that is open, whose name is that of `path`.
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
        return Ok(Ok(Proof::None)); // of torch before 0.1.11
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
