//! Proves that stores have what is removed locally: reads every local byte, reads every stored byte back, and
//! compares both with the hashes of the manifest.

use super::copies::Copy;
use super::plan::Removal;
use crate::bar::Bar;
use crate::fetch::{Damage, Piece, Trouble};
use crate::format::entry::{File, Kind};
use crate::local::root::{Root, Stat};
use crate::local::scan::Found;
use crate::workers;
use run_common::error::{Error, Exit, plain};
use rustix::fs::FileType;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Why a file is not removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Doubt {
    /// The local file is not the stored file; why, in words that follow its path.
    Left(String),
    /// A store lacks something that its manifest lists.
    Damaged(String),
}

/// A piece of a file to compare.
struct Work<'a> {
    file: &'a Found,
    at: usize,
    copy: &'a Copy,
    key: String,
    /// `None` for an empty file, whose object need only exist.
    piece: Option<Piece>,
    /// The local bytes were compared with the same hash for another store.
    is_known: bool,
}

/// Compares all files of removals with stores. Returns the doubts, by number of the removal and path of the
/// file.
pub(super) fn prove(
    root: &Root,
    removals: &[Removal],
    copies: &[Copy],
    threads: usize,
    name: &str,
) -> Result<BTreeMap<(usize, String), Doubt>, Error> {
    let mut doubts = BTreeMap::new();
    let mut work = Vec::new();
    for (at, removal) in removals.iter().enumerate() {
        for found in &removal.found {
            match compare(root, found, copies) {
                Ok(pieces) => work.extend(pieces.into_iter().map(|work| Work { at, ..work })),
                Err(doubt) => _ = doubts.insert((at, shown(found)), doubt),
            }
        }
    }
    work.retain(|work| !doubts.keys().any(|(at, _)| *at == work.at)); // files that stay need no reading
    let bytes = work.iter().filter_map(|work| work.piece.as_ref()).map(Piece::len);
    let bar = Bar::new(name, bytes.fold(0, u64::saturating_add));
    let doubts = Mutex::new(doubts);
    workers::each(&work, threads, |work| {
        if let Some(doubt) = work.look(root, &bar)? {
            let key = (work.at, shown(work.file));
            doubts.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_insert(doubt);
        }
        Ok(())
    })?;
    Ok(doubts.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// Returns a path as reports and receipts have it.
pub(super) fn shown(found: &Found) -> String {
    found.place.path.display().to_string()
}

/// Compares an item with its entries in the manifests, without reading it. Returns the pieces to read.
fn compare<'a>(root: &Root, found: &'a Found, copies: &'a [Copy]) -> Result<Vec<Work<'a>>, Doubt> {
    let left = |why: &str| Doubt::Left(why.to_owned());
    if found.place.path.to_str().is_none() {
        return Err(left("has a name that no receipt can hold"));
    }
    let mut work = Vec::new();
    let mut known: Vec<&File> = Vec::new();
    for copy in copies {
        let backup = || format!("backup {} in {}", copy.commit.number, copy.url);
        let absent = || Doubt::Left(format!("is not in {}", backup()));
        let changed = || Doubt::Left(format!("has changed since {}", backup()));
        if found.stat.kind != FileType::RegularFile {
            match (&copy.entry(&found.place).ok_or_else(absent)?.kind, found.stat.kind) {
                (Kind::Dir, FileType::Directory) => continue,
                (Kind::Link(target), FileType::Symlink) if Some(target) == found.target.as_ref() => continue,
                _ => return Err(changed()),
            }
        }
        let (file, key) = copy.file(&found.place).ok_or_else(absent)?;
        if file.size != found.stat.size {
            return Err(changed());
        }
        if copy.is_itself(&key, found.stat.device, found.stat.inode) {
            return Err(Doubt::Damaged(format!("in {} there is only a link to this very file", copy.url)));
        }
        let is_known = known.iter().any(|known| (known.sha256, &known.parts) == (file.sha256, &file.parts));
        known.push(file);
        let pieces: Vec<Option<Piece>> = match file.size {
            0 => vec![None],
            _ => file.pieces().into_iter().map(Some).collect(),
        };
        let make = |piece| Work { file: found, at: 0, copy, key: key.clone(), piece, is_known };
        work.extend(pieces.into_iter().map(make));
    }
    if found.stat.kind == FileType::RegularFile {
        root.open_file(&found.place.path)
            .map_err(|error| Doubt::Left(format!("cannot be read: {}", plain(&error))))?;
    }
    Ok(work)
}

impl Work<'_> {
    /// Reads a piece of the local and of the stored file. Returns the doubt, if they differ.
    fn look(&self, root: &Root, bar: &Bar) -> Result<Option<Doubt>, Error> {
        let set = self.copy.set();
        let damaged = |damage: Damage| Ok(Some(Doubt::Damaged(format!("in {}: {damage}", self.copy.url))));
        let Some(piece) = &self.piece else {
            let found = set.store.head(&set.key(&self.key));
            return match found.map_err(|fault| set.failed("look at", &self.key, fault))? {
                Some(_) => Ok(None),
                None => damaged(Damage::Missing),
            };
        };
        if !self.is_known {
            match self.is_here(root, piece) {
                Ok(true) => {}
                Ok(false) => {
                    let backup = format!("backup {} in {}", self.copy.commit.number, self.copy.url);
                    return Ok(Some(Doubt::Left(format!("has changed since {backup}"))));
                }
                Err(error) => return Ok(Some(Doubt::Left(format!("cannot be read: {}", plain(&error))))),
            }
        }
        let mut take = |_: u64, bytes: &[u8]| {
            bar.add(bytes.len() as u64);
            Ok(())
        };
        match piece.read(&set, &self.key, &mut take) {
            Ok(()) => Ok(None),
            Err(Trouble::Damaged(damage)) => damaged(damage),
            Err(Trouble::Store(error)) => Err(error),
            Err(Trouble::Sink(error)) => Err(Error::new(Exit::System, "cannot read back").because(error)),
        }
    }

    /// Returns whether the local file has the piece, and is the found version both before and after the piece
    /// is read.
    fn is_here(&self, root: &Root, piece: &Piece) -> std::io::Result<bool> {
        let file = root.open_file(&self.file.place.path)?;
        let is_same = |file| Ok::<_, std::io::Error>(Stat::of(file)?.is_same_version(&self.file.stat));
        Ok(is_same(&file)? && piece.is_in(&file)? && is_same(&file)?)
    }
}
