//! `run-sync cat`: prints a stored file, and verifies it piece by piece.

use crate::at::choose;
use crate::cli;
use crate::fetch::{Piece, Trouble};
use crate::format::entry::{Entry, Kind};
use crate::set::{Set, SetName};
use crate::source::Source;
use crate::store::url::StoreUrl;
use crate::workers;
use run_common::cli::out::Out;
use run_common::error::{Error, Exit};
use std::io;
use std::path::Path;

/// Pieces that are read ahead and kept in memory.
const AHEAD: usize = 4;
/// The longest piece that is kept in memory until it is verified.
const LONGEST: u64 = 64 << 20;

/// Prints a file.
pub(crate) fn run(args: &cli::Cat, out: &mut Out) -> Result<Exit, Error> {
    let (url, name, file) = operands(args)?;
    let source = Source::open(url.as_ref(), &args.reach)?;
    let name = SetName::parse(name).ok_or_else(|| Error::usage(format!("'{name}' is no name of a run")))?;
    let set = source.set(name);
    let chosen = choose(&set, args.at.as_deref())?;
    let entry = chosen.manifest.entries.iter().find(|entry| entry.place.shown() == file);
    let missing = |why: &str| {
        let what =
            format!("no file '{}' in backup {} of '{}'", file.display(), chosen.commit.number, set.name);
        Error::new(Exit::No, what).because(why.to_owned())
    };
    let entry = entry.ok_or_else(|| {
        let hint = format!("its files: run-sync restore --dry-run --into NEW-DIR {}", set.name);
        missing("nothing has this name").hint(hint)
    })?;
    match &entry.kind {
        Kind::File(file) => print(&set, entry, &file.pieces(), source.transfers, out)?,
        Kind::Dir => return Err(missing("it is a directory")),
        Kind::Link(target) => return Err(missing(&format!("it is a link to '{}'", target.display()))),
    }
    Ok(Exit::Ok)
}

/// Returns the store, if the operands name one, the name of the run, and the file.
fn operands(args: &cli::Cat) -> Result<(Option<StoreUrl>, &str, &Path), Error> {
    let (url, name, file) = match &args.operands[..] {
        [name, file] => (args.from.from.clone(), name, file),
        [url, name, file] if args.from.from.is_none() => {
            let url = url.to_str().ok_or_else(|| Error::usage("the address of a store is no UTF-8"))?;
            (Some(url.parse()?), name, file)
        }
        _ => return Err(Error::usage("cat takes the name of a run and a file; a store is named once")),
    };
    let name = name.to_str().ok_or_else(|| Error::usage("the name of a run is no UTF-8"))?;
    Ok((url, name, Path::new(file)))
}

fn print(set: &Set<'_>, entry: &Entry, pieces: &[Piece], threads: usize, out: &mut Out) -> Result<(), Error> {
    let key = entry.object().unwrap_or_default();
    let failed = |trouble| match trouble {
        Trouble::Store(error) => error,
        Trouble::Sink(error) => Error::new(Exit::System, "cannot write to stdout").because(error),
        Trouble::Damaged(damage) => {
            Error::new(Exit::No, format!("'{}' of '{}' is damaged", entry.place.shown().display(), set.name))
                .because(damage.to_string())
        }
    };
    for some in pieces.chunks(AHEAD) {
        if some.iter().any(|piece| piece.len() > LONGEST) {
            for piece in some {
                let mut printed = piece.range.start;
                let mut take = |at: u64, bytes: &[u8]| {
                    if at != printed {
                        return Err(io::Error::other("the stored file is damaged")); // too late to take it back
                    }
                    printed += bytes.len() as u64;
                    out.bytes(bytes).map_err(io::Error::other)
                };
                piece.read(set, &key, &mut take).map_err(failed)?;
            }
            continue;
        }
        let read = workers::map(some, threads, |piece| {
            let mut bytes = Vec::new();
            piece.read(set, &key, &mut |at, more| {
                bytes.truncate(usize::try_from(at - piece.range.start).unwrap_or(0));
                bytes.extend_from_slice(more);
                Ok(())
            })?;
            Ok(bytes)
        });
        for bytes in read {
            out.bytes(&bytes.map_err(failed)?)?;
        }
    }
    Ok(())
}
