//! `run-sync verify`: reads the stored files of runs, and compares them with the hashes of their manifests.

use crate::at::{Chosen, choose_of_several};
use crate::bar::Bar;
use crate::cli;
use crate::fetch::{Damage, Piece, Trouble};
use crate::format::digest::Digest;
use crate::format::entry::{Entry, Kind};
use crate::format::key;
use crate::format::sums::sums;
use crate::set::{Commit, Set};
use crate::source::Source;
use crate::workers;
use run_common::cli::out::Out;
use run_common::error::{Error, Exit};
use run_common::figures::{counted, human_bytes};
use run_common::message::warn;
use serde::Serialize;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use uuid::Uuid;

/// Bytes that a list of hashes may have.
const LIST: usize = 1 << 30;
/// The whole: shares are counted in millionths.
const WHOLE: u64 = 1_000_000;

/// The result for a backup.
#[derive(Debug, Serialize)]
struct Report {
    name: String,
    number: u64,
    manifest: String,
    /// Files in the backup.
    files: usize,
    /// Bytes of the files' objects.
    bytes: u64,
    /// Bytes that were read.
    read: u64,
    damaged: Vec<Damaged>,
}

/// A damaged or missing file.
#[derive(Debug, Serialize)]
struct Damaged {
    path: String,
    key: String,
    why: String,
}

/// A part of an object.
struct Work<'a> {
    key: &'a str,
    /// None for an empty object, which need only exist.
    piece: Option<Piece>,
    /// The part is read; otherwise only existence and length are checked.
    is_read: bool,
}

/// Verifies backups.
pub(crate) fn run(args: &cli::Verify, out: &mut Out) -> Result<Exit, Error> {
    out.outlive_reader();
    let share = args.sample.as_deref().map_or(Ok(WHOLE), share)?;
    let source = Source::open(args.from.from.as_ref(), &args.reach)?;
    let (names, mut status) = source.sets(&args.names)?;
    for name in names {
        let set = source.set(name);
        let Some(chosen) = choose_of_several(&set, args.at.as_deref(), &mut status)? else { continue };
        let report = verify(&set, &chosen, share, source.transfers)?;
        if !report.damaged.is_empty() {
            status = status.max(Exit::No);
        }
        report.print(out, args.reach.json)?;
    }
    Ok(status)
}

/// Parses a share: `5%`, `0.1%`, `5`.
fn share(text: &str) -> Result<u64, Error> {
    let wrong = || Error::usage(format!("'{text}' is no share; write --sample 5%"));
    let percent: f64 = text.trim_end_matches('%').parse().map_err(|_| wrong())?;
    if !(percent > 0.0 && percent <= 100.0) {
        return Err(wrong());
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is at most a million")]
    let share = (percent * 10_000.0).ceil() as u64;
    Ok(share)
}

/// Draws at random whether an item belongs to a share.
fn is_drawn(share: u64) -> bool {
    share == WHOLE || u64::from(Uuid::new_v4().as_fields().0) % WHOLE < share
}

fn verify(set: &Set<'_>, chosen: &Chosen, share: u64, threads: usize) -> Result<Report, Error> {
    let entries = &chosen.manifest.entries;
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
    let drawn = work.iter().filter(|work| work.is_read).filter_map(|work| work.piece.as_ref());
    let bar = Bar::new(&set.name.to_string(), drawn.map(Piece::len).fold(0, u64::saturating_add));
    let read = AtomicU64::new(0);
    let damaged = Mutex::new(HashMap::new());
    workers::each(&work, threads, |work| {
        if let Some(damage) = work.look(set, &bar, &read)? {
            damaged.lock().unwrap_or_else(PoisonError::into_inner).insert(work.key, damage);
        }
        Ok(())
    })?;
    let damaged = damaged.into_inner().unwrap_or_else(PoisonError::into_inner);
    let files = keys.iter().filter_map(|(key, entry)| Some((key.as_deref()?, *entry)));
    let of_damaged = files.clone().filter_map(|(key, entry)| Some((key, entry, damaged.get(key)?)));
    let pieces = work.iter().filter_map(|work| work.piece.as_ref());
    let damaged_files = of_damaged.map(|(key, entry, damage)| Damaged {
        path: entry.place.shown().display().to_string(),
        key: set.key(key),
        why: damage.to_string(),
    });
    Ok(Report {
        name: set.name.to_string(),
        number: chosen.commit.number,
        manifest: chosen.commit.digest.to_string(),
        files: files.count(),
        bytes: pieces.map(Piece::len).fold(0, u64::saturating_add),
        read: read.into_inner(),
        damaged: damaged_files.chain(lists(set, chosen)?).collect(),
    })
}

/// Compares the lists of hashes with the manifest. A missing list proves nothing, and is no damage.
fn lists(set: &Set<'_>, chosen: &Chosen) -> Result<Vec<Damaged>, Error> {
    let expected = sums(&chosen.manifest.entries);
    let of = |commit: &Commit| key::sums(commit.number, &commit.digest);
    let own = of(&chosen.commit);
    let mut damaged = Vec::new();
    if list(set, &own)?.is_some_and(|found| found != expected.as_bytes()) {
        damaged.push(own);
    }
    // `SHA256SUMS` may be the list of an earlier backup, if the newest backup was killed at its very end.
    if let Some(found) = list(set, key::SUMS)?.filter(|found| found != expected.as_bytes()) {
        let mut is_of_one = false;
        for commit in set.history()?.commits.iter().rev() {
            is_of_one = is_of_one || list(set, &of(commit))?.as_ref() == Some(&found);
        }
        if !is_of_one {
            damaged.push(key::SUMS.to_owned());
        }
    }
    let why = "it is the list of no backup";
    Ok(damaged
        .into_iter()
        .map(|key| Damaged { path: key.clone(), key: set.key(&key), why: why.to_owned() })
        .collect())
}

/// Reads a list of hashes, if there is one.
fn list(set: &Set<'_>, key: &str) -> Result<Option<Vec<u8>>, Error> {
    let found = set.store.head(&set.key(key)).map_err(|fault| set.failed("look at", key, fault))?;
    found.map(|_| set.read(key, LIST)).transpose()
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

impl Report {
    fn print(&self, out: &mut Out, json: bool) -> Result<(), Error> {
        for damaged in &self.damaged {
            warn(&format!("'{}' of '{}' is damaged: {}", damaged.path, self.name, damaged.why));
        }
        if json {
            return out.json(self);
        }
        let Self { name, number, .. } = self;
        let files = counted(self.files, "file");
        let read = if self.read == self.bytes {
            human_bytes(self.bytes)
        } else {
            format!("{} of {} read", human_bytes(self.read), human_bytes(self.bytes))
        };
        out.text(&match self.damaged.len() {
            0 => format!("{name}: backup {number}, {files} intact ({read})"),
            damaged => format!("{name}: backup {number}, {damaged} of {files} damaged ({read})"),
        })
    }
}
