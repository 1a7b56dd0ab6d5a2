//! The stores that have a run according to its receipts, each with the manifest of its newest backup.

use crate::format::entry::{Absent, Entry, File, Kind, Place};
use crate::format::manifest::Manifest;
use crate::set::{Commit, Set, SetName};
use crate::store::url::StoreUrl;
use crate::store::{self, Access, Store};
use run_common::error::{Error, Exit};
use run_common::message::warn;
use run_common::rundir::receipts::{Backup, Receipt};
use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// A store that has a run.
pub(super) struct Copy {
    store: Box<dyn Store>,
    /// The store, as receipts and messages call it.
    pub(super) url: String,
    name: SetName,
    /// The backup in the store.
    pub(super) commit: Commit,
    manifest: Manifest,
    /// All backups in the set.
    history: Vec<Commit>,
    /// The directory, if the store is one.
    directory: Option<PathBuf>,
}

impl Copy {
    /// The set in the store.
    pub(super) fn set(&self) -> Set<'_> {
        Set { store: &*self.store, url: &self.url, name: self.name.clone() }
    }

    /// Name of the run in the store.
    pub(super) fn name(&self) -> String {
        self.name.to_string()
    }

    /// Returns the backup's entry of a place.
    pub(super) fn entry(&self, place: &Place) -> Option<&Entry> {
        let at = self.manifest.entries.binary_search_by(|entry| entry.place.cmp(place)).ok()?;
        self.manifest.entries.get(at).filter(|entry| entry.absent != Some(Absent::Gone))
    }

    /// Returns the backup's entry of a file, and the key of the object.
    pub(super) fn file(&self, place: &Place) -> Option<(&File, String)> {
        let entry = self.entry(place)?;
        match (&entry.kind, entry.object()) {
            (Kind::File(file), Some(key)) => Some((file, key)),
            _ => None,
        }
    }

    /// Returns whether an object is the local file itself, reached through a link.
    pub(super) fn is_itself(&self, key: &str, device: u64, inode: u64) -> bool {
        let path = self.directory.as_ref().map(|root| root.join(self.set().key(key)));
        path.and_then(|path| fs::metadata(path).ok())
            .is_some_and(|found| (found.dev(), found.ino()) == (device, inode))
    }

    /// Returns whether a store has the other's backup, or the reverse. Two stores have none in common: the backups
    /// to each have writers of their own.
    fn is_of_one_history(&self, other: &Self) -> bool {
        self.history.contains(&other.commit) || other.history.contains(&self.commit)
    }

    fn open(backup: &Backup, run_id: &str, access: &Access, is_alone: bool) -> Result<Self, Error> {
        let bad = || {
            let what = format!("the receipt of backup {} in {} is damaged", backup.number, backup.url);
            Error::new(Exit::BadRun, what)
        };
        let url: StoreUrl = backup.url.parse()?;
        let name = SetName::parse(&backup.name).ok_or_else(bad)?;
        let commit = Commit { number: backup.number, digest: backup.manifest.parse().map_err(|_| bad())? };
        let store = store::open(&url, access)?;
        let set = Set { store: &*store, url: &backup.url, name: name.clone() };
        let manifest = set.manifest(commit)?;
        if manifest.head.run_id != run_id {
            let what = format!("backup {} of '{name}' in {}", backup.number, backup.url);
            return Err(Error::new(Exit::BadRun, format!("{what} is of another run")));
        }
        let history = if is_alone { Vec::new() } else { set.history()?.commits };
        let directory = match url {
            StoreUrl::Directory(root) => Some(root),
            StoreUrl::Cloud { .. } | StoreUrl::Rclone(_) => None,
        };
        Ok(Self { store, url: backup.url.clone(), name, commit, manifest, history, directory })
    }
}

/// Opens this number of stores that have a run, by the newest receipts. Fails if there are fewer. Addresses that
/// share a manifest count once: they lead to one store, or to a store and a copy of it.
pub(super) fn copies(
    receipts: &[Receipt],
    from: Option<&str>,
    run_id: &str,
    count: usize,
    access: &Access,
) -> Result<Vec<Copy>, Error> {
    let (mut found, mut seen, mut places) = (Vec::<Copy>::new(), HashSet::new(), HashSet::new());
    let (mut errors, mut same) = (Vec::new(), 0);
    for receipt in receipts.iter().rev() {
        let Receipt::Backup(backup) = receipt else { continue };
        if found.len() == count
            || from.is_some_and(|from| backup.url != from)
            || !seen.insert(backup.url.clone())
        {
            continue;
        }
        match Copy::open(backup, run_id, access, count == 1) {
            Ok(copy) if found.iter().any(|other| copy.is_of_one_history(other)) => same += 1,
            Ok(copy) => {
                let place = copy.directory.as_ref().and_then(|root| fs::metadata(root).ok());
                let is_new = place.is_none_or(|place| places.insert((place.dev(), place.ino())));
                found.extend(is_new.then_some(copy));
            }
            Err(error) => errors.push(error),
        }
    }
    if found.len() == count {
        for error in errors {
            warn(&error.to_string());
        }
        return Ok(found);
    }
    if let Some(error) = errors.into_iter().next() {
        return Err(error);
    }
    let what = match (seen.len(), from) {
        (0, Some(from)) => format!("no receipt says that {from} has it"),
        (0, None) => "no receipt says that a store has it".to_owned(),
        _ => {
            let what = format!("--copies {count} asks for {count} stores, and the receipts of the run name");
            let once = if same > 0 { "; addresses that have a backup in common count once" } else { "" };
            format!("{what} {}{once}", found.len())
        }
    };
    let error = Error::new(Exit::BadRun, "no backup").because(what);
    Err(error.hint("run-sync backup stores it, and writes the receipt"))
}
