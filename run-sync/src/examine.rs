//! Reads the objects of a manifest, and compares them with their hashes.

use crate::bar::Bar;
use crate::fetch::{Damage, Piece, Trouble};
use crate::format::digest::Digest;
use crate::format::entry::{Entry, Kind};
use crate::set::Set;
use crate::workers;
use run_common::error::{Error, Exit};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use uuid::Uuid;

/// The whole: shares are counted in millionths.
pub(crate) const WHOLE: u64 = 1_000_000;

/// The state of the objects of a manifest.
#[derive(Debug)]
pub(crate) struct Examined {
    /// The damaged and missing objects, by key.
    pub(crate) damaged: HashMap<String, Damage>,
    /// Bytes of all objects.
    pub(crate) bytes: u64,
    /// Bytes that were read.
    pub(crate) read: u64,
}

/// A part of an object.
struct Work<'a> {
    key: &'a str,
    /// None for an empty object, which need only exist.
    piece: Option<Piece>,
    /// The part is read; otherwise only existence and length are checked.
    is_read: bool,
}

/// Draws at random whether an item belongs to a share.
fn is_drawn(share: u64) -> bool {
    share == WHOLE || u64::from(random()) % WHOLE < share
}

fn random() -> u32 {
    Uuid::new_v4().as_fields().0
}

/// Examines the objects of entries: reads this share of the pieces, and at least one.
pub(crate) fn examine(
    set: &Set<'_>,
    entries: &[Entry],
    share: u64,
    threads: usize,
) -> Result<Examined, Error> {
    let keys: Vec<(Option<String>, &Entry)> = entries.iter().map(|entry| (entry.object(), entry)).collect();
    let mut known: HashMap<(&str, u64, u64), Vec<Digest>> = HashMap::new();
    let mut work = Vec::new();
    for (key, entry) in &keys {
        let (Some(key), Kind::File(file)) = (key.as_deref(), &entry.kind) else { continue };
        let mut add = |piece: Option<Piece>| {
            let range = piece.as_ref().map_or(0..0, |piece| piece.range.clone());
            let sha256 = piece.as_ref().map_or(file.sha256, |piece| piece.sha256);
            let same = known.entry((key, range.start, range.end)).or_default();
            if !same.contains(&sha256) {
                same.push(sha256);
                work.push(Work { key, is_read: piece.is_some() && is_drawn(share), piece });
            }
        };
        if file.size == 0 {
            add(None);
        }
        file.pieces().into_iter().for_each(|piece| add(Some(piece)));
    }
    draw_one(&mut work);
    let drawn = work.iter().filter(|work| work.is_read).filter_map(|work| work.piece.as_ref());
    let bar = Bar::new(&set.name.to_string(), drawn.map(Piece::len).fold(0, u64::saturating_add));
    let read = AtomicU64::new(0);
    let damaged = Mutex::new(HashMap::new());
    workers::each(&work, threads, |work| {
        if let Some(damage) = work.look(set, &bar, &read)? {
            damaged.lock().unwrap_or_else(PoisonError::into_inner).insert(work.key.to_owned(), damage);
        }
        Ok(())
    })?;
    let pieces = work.iter().filter_map(|work| work.piece.as_ref());
    Ok(Examined {
        damaged: damaged.into_inner().unwrap_or_else(PoisonError::into_inner),
        bytes: pieces.map(Piece::len).fold(0, u64::saturating_add),
        read: read.into_inner(),
    })
}

/// Draws one piece at random if none was drawn: of a small run, the share may be nothing.
fn draw_one(work: &mut [Work<'_>]) {
    if work.iter().any(|work| work.is_read) {
        return;
    }
    let mut pieces: Vec<&mut Work<'_>> = work.iter_mut().filter(|work| work.piece.is_some()).collect();
    if let Some(drawn) = (random() as usize).checked_rem(pieces.len()) {
        pieces[drawn].is_read = true;
    }
}

impl Work<'_> {
    /// Checks the existence and length of the object, or reads its piece.
    fn look(&self, set: &Set<'_>, bar: &Bar, read: &AtomicU64) -> Result<Option<Damage>, Error> {
        let Some(piece) = self.piece.as_ref().filter(|_| self.is_read) else {
            let found =
                set.store.head(&set.key(self.key)).map_err(|fault| set.failed("look at", self.key, fault))?;
            let least = self.piece.as_ref().map_or(0, |piece| piece.range.end);
            return Ok(match found {
                None => Some(Damage::Missing),
                Some(object) if object.size < least => Some(Damage::Short),
                Some(_) => None,
            });
        };
        let mut take = |_: u64, bytes: &[u8]| {
            bar.add(bytes.len() as u64);
            Ok(())
        };
        match piece.read(set, self.key, &mut take) {
            Ok(()) => {
                read.fetch_add(piece.len(), Ordering::Relaxed);
                Ok(None)
            }
            Err(Trouble::Damaged(damage)) => Ok(Some(damage)),
            Err(Trouble::Store(error)) => Err(error),
            Err(Trouble::Sink(error)) => Err(Error::new(Exit::System, "cannot verify").because(error)),
        }
    }
}
