//! Files that the command line names for output.

use run_common::cli::out::Out;
use run_common::error::Error;
use run_common::fsio::atomic::{Durability, replace};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;

/// Replaces a file, or the target of a link; `-` is stdout. A pipe or a device is written to directly.
pub(crate) fn write_file(file: &Path, bytes: &[u8], out: &mut Out) -> Result<(), Error> {
    if file == Path::new("-") {
        return out.bytes(bytes);
    }
    let written = if fs::metadata(file).is_ok_and(|found| !found.is_file() && !found.is_dir()) {
        OpenOptions::new().write(true).open(file).and_then(|mut other| other.write_all(bytes))
    } else {
        let target = fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
        replace(&target, bytes, Durability::Process)
    };
    written.map_err(|error| Error::io("write", file, error))
}
