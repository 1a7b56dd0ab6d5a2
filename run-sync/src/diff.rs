//! `run-sync diff`: the differences between a backup and the present run, or between two backups.

use crate::address::{address, shown};
use crate::at::choose;
use crate::cli;
use crate::format::entry::{Entry, Identity, Kind, Place};
use crate::format::manifest::Manifest;
use crate::local::root::Root;
use crate::local::scan::{Found, Scan};
use crate::local::subject::Subject;
use crate::set::SetName;
use crate::source::Source;
use crate::store::Access;
use crate::workers;
use run_common::cli::names::Names;
use run_common::cli::operands::Operand;
use run_common::cli::out::Out;
use run_common::error::{Error, Exit};
use run_common::rundir::evaluations::Finder;
use run_common::rundir::receipts::{self, Receipt};
use rustix::fs::FileType;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

/// The differences.
#[derive(Debug, Default, Serialize)]
struct Report {
    name: String,
    /// Number of the older backup.
    old: u64,
    /// Number of the newer backup; none for the present run.
    new: Option<u64>,
    added: Vec<String>,
    removed: Vec<String>,
    changed: Vec<String>,
}

/// The kind of difference.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    Added,
    Removed,
    Changed,
}

/// Prints the differences.
pub(crate) fn run(args: &cli::Diff, out: &mut Out) -> Result<Exit, Error> {
    let source = Source::open(args.from.from.as_ref(), &args.reach)?;
    let url = shown(&address(args.from.from.as_ref(), "--from", &Access::new(&args.reach)?)?);
    let named = SetName::parse(&args.name).filter(|_| args.new.is_some());
    let is_stored = named.as_ref().map_or(Ok(false), |name| source.names().has(name))?;
    let (name, subject) = match named.filter(|_| is_stored) {
        Some(name) => (name, None),
        None => {
            let subject = local(&args.name, &args.runs_dir.path())?;
            (stored_name(&subject, &url), Some(subject))
        }
    };
    let set = source.set(name);
    let old = choose(&set, args.old.as_deref())?;
    let mut report = Report { name: set.name.to_string(), old: old.commit.number, ..Report::default() };
    let changes = match (&args.new, subject) {
        (Some(when), _) => {
            let new = choose(&set, Some(when))?;
            report.new = Some(new.commit.number);
            between(&old.manifest, &new.manifest)
        }
        (None, Some(subject)) => since(&old.manifest, &subject, source.transfers)?,
        (None, None) => BTreeMap::new(), // a name without a second backup is a local run
    };
    for (place, change) in changes {
        let path = place.shown().display().to_string();
        let list = match change {
            Change::Added => &mut report.added,
            Change::Removed => &mut report.removed,
            Change::Changed => &mut report.changed,
        };
        if !args.reach.json {
            let mark = match change {
                Change::Added => '+',
                Change::Removed => '-',
                Change::Changed => '~',
            };
            out.text(&format!("{mark} {path}"))?;
        }
        list.push(path);
    }
    if args.reach.json {
        out.json(&report)?;
    }
    let is_same = report.added.is_empty() && report.removed.is_empty() && report.changed.is_empty();
    Ok(if is_same { Exit::Ok } else { Exit::No })
}

/// Opens the local run or batch with a name.
fn local(name: &str, runs_dir: &Path) -> Result<Subject, Error> {
    match Names::below(runs_dir).open(name)? {
        Operand::Run(run) => Subject::run(&run, None, Some(&Finder::new(None))),
        Operand::Batch(batch) => Subject::batch(&batch),
        Operand::Others(path, _) => {
            Err(Error::usage(format!("'{}' holds several runs", path.display())).hint("name one of them"))
        }
    }
}

/// Returns the name of a run in a store, from its last receipt for this store, else its own name.
fn stored_name(subject: &Subject, url: &str) -> SetName {
    let receipts = receipts::read(&subject.record).unwrap_or_default();
    let here = receipts.iter().rev().find_map(|receipt| match receipt {
        Receipt::Backup(backup) if backup.url == url => SetName::parse(&backup.name),
        _ => None,
    });
    here.unwrap_or_else(|| subject.name.clone())
}

/// Compares two backups.
fn between(old: &Manifest, new: &Manifest) -> BTreeMap<Place, Change> {
    let mut changes = removed_from(old);
    for entry in new.entries.iter().filter(|entry| entry.absent.is_none()) {
        match there(old, &entry.place) {
            None => drop(changes.insert(entry.place.clone(), Change::Added)),
            Some(old) if is_same(old, entry) => drop(changes.remove(&entry.place)),
            Some(_) => drop(changes.insert(entry.place.clone(), Change::Changed)),
        }
    }
    changes
}

/// Compares a backup with the present run.
fn since(old: &Manifest, subject: &Subject, threads: usize) -> Result<BTreeMap<Place, Change>, Error> {
    let scan = Scan::of(&subject.roots);
    if let Some((place, error)) = scan.unreadable.into_iter().next() {
        return Err(Error::io("read", &subject.path().join(place.shown()), error));
    }
    let mut changes = removed_from(old);
    let compared = workers::map(&scan.found, threads, |found| match there(old, &found.place) {
        None => Ok(Some(Change::Added)),
        Some(entry) => Ok((!is_still(entry, found, &subject.roots)?).then_some(Change::Changed)),
    });
    for (found, change) in scan.found.iter().zip(compared) {
        match change.map_err(|error| Error::io("read", &subject.path().join(found.place.shown()), error))? {
            None => drop(changes.remove(&found.place)),
            Some(change) => drop(changes.insert(found.place.clone(), change)),
        }
    }
    Ok(changes)
}

/// Returns all places of a backup as removed.
fn removed_from(old: &Manifest) -> BTreeMap<Place, Change> {
    let there = old.entries.iter().filter(|entry| entry.absent.is_none());
    there.map(|entry| (entry.place.clone(), Change::Removed)).collect()
}

/// Returns the backup's entry of a place.
fn there<'a>(manifest: &'a Manifest, place: &Place) -> Option<&'a Entry> {
    let found = manifest.entries.binary_search_by(|entry| entry.place.cmp(place)).ok()?;
    manifest.entries.get(found).filter(|entry| entry.absent.is_none())
}

fn is_same(old: &Entry, new: &Entry) -> bool {
    let is_same_kind = match (&old.kind, &new.kind) {
        (Kind::File(old), Kind::File(new)) => (old.size, old.sha256) == (new.size, new.sha256),
        (old, new) => old == new,
    };
    is_same_kind && old.mode == new.mode
}

/// Returns whether an item is still as it was stored, by stat(2) or else by its hash.
fn is_still(entry: &Entry, found: &Found, roots: &[Root]) -> io::Result<bool> {
    let stat = found.stat;
    match &entry.kind {
        Kind::Dir => Ok(stat.kind == FileType::Directory && stat.mode == entry.mode),
        Kind::Link(target) => Ok(found.target.as_ref() == Some(target)),
        Kind::File(file) => {
            let is_alike =
                (stat.kind, stat.size, stat.mode) == (FileType::RegularFile, file.size, entry.mode);
            let identity = Some(Identity { inode: stat.inode, ctime: stat.ctime });
            if !is_alike || (file.identity == identity && entry.mtime == stat.mtime) {
                return Ok(is_alike);
            }
            let root = roots.iter().find(|root| root.evaluation == found.place.evaluation);
            let Some(root) = root else { return Ok(false) };
            let here = root.open_file(&found.place.path)?;
            for piece in file.pieces() {
                if !piece.is_in(&here)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
    }
}
