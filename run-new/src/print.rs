//! How a run that was created, or adopted, is printed.

use crate::cli::Args;
use run_common::cli::out::Out;
use run_common::error::Error;
use run_common::fsio::read_small;
use run_common::rundir::layout::Layout;
use std::io;
use std::path::Path;

/// Prints a run by a path, or its record as JSON, with its other path made absolute.
pub(crate) fn print_run(args: &Args, shown: &Path, path: &Path, out: &mut Out) -> Result<(), Error> {
    if !args.json {
        out.bytes(shown.to_string_lossy().as_bytes())?;
        return out.bytes(if args.null { b"\0" } else { b"\n" });
    }
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let file = Layout::new(&path).meta();
    let read = || -> io::Result<Vec<u8>> {
        let mut line = read_small(&file)?;
        line.truncate(line.trim_ascii_end().len().saturating_sub(1)); // the brace that closes it
        line.extend_from_slice(b",\"path\":");
        serde_json::to_writer(&mut line, &path.to_string_lossy())?;
        line.extend_from_slice(b"}\n");
        Ok(line)
    };
    out.bytes(&read().map_err(|error| Error::io("read", &file, error))?)
}
