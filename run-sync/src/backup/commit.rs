//! Ends a backup: verifies the sent objects, then stores the manifest, with which the backup exists.

use super::journal::{Earlier, Journal, Sending, Sent};
use super::send::Object;
use crate::format::digest::Digest;
use crate::format::entry::{Entry, Kind};
use crate::format::key;
use crate::format::manifest::{Manifest, SetKind, Verified};
use crate::format::sums::sums;
use crate::set::{Commit, Set};
use crate::store::Checks;
use crate::store::fault::Fault;
use crate::workers;
use run_common::error::{Error, Exit};
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;

/// Objects on one page of a list.
const PAGE: usize = 1000;

/// Verifies that the store has the sent objects. `listed` is the approximate number of objects in the set.
pub(crate) fn verify(
    set: &Set<'_>,
    kind: SetKind,
    sent: &[Object],
    listed: usize,
    transfers: usize,
    read_back: bool,
) -> Result<Verified, Error> {
    let missing = "it is missing or has another length than what was sent";
    if sent.len() <= listed / PAGE {
        workers::each(sent, transfers, |object| {
            let found = set.store.head(&set.key(&object.key));
            let found = found.map_err(|fault| set.failed("look at", &object.key, fault))?;
            let is_there = found.is_some_and(|found| object.may_have(found.size));
            if is_there { Ok(()) } else { Err(differs(set, &object.key, missing)) }
        })?;
    } else {
        let mut left: HashMap<&str, &Object> =
            sent.iter().map(|object| (object.key.as_str(), object)).collect();
        set.objects(kind, &mut |found| {
            if left.get(found.key.as_str()).is_some_and(|object| object.may_have(found.size)) {
                left.remove(found.key.as_str());
            }
        })?;
        if let Some(key) = left.keys().min() {
            return Err(differs(set, key, missing));
        }
    }
    if read_back {
        workers::each(sent, transfers, |object| read_back_one(set, object))?;
        return Ok(Verified::Read);
    }
    Ok(match set.store.checks() {
        Checks::Hash => Verified::Checksum,
        Checks::Nothing => Verified::Length,
    })
}

fn differs(set: &Set<'_>, key: &str, why: &str) -> Error {
    Error::new(Exit::System, format!("'{}' in {} is not what was sent", set.key(key), set.url))
        .because(why.to_owned())
}

fn read_back_one(set: &Set<'_>, object: &Object) -> Result<(), Error> {
    let mut hash = Sha256::new();
    let mut take = |bytes: &[u8]| {
        hash.update(bytes);
        Ok(())
    };
    let read = set.store.get(&set.key(&object.key), Some(0..object.size), &mut take);
    read.map_err(|fault| set.failed("read back", &object.key, fault))?;
    if Digest::finish(hash) == object.sha256 {
        Ok(())
    } else {
        Err(differs(set, &object.key, "it has another hash"))
    }
}

/// Reads the objects that an interrupted backup has sent, because a power cut may have damaged them. A damaged
/// object counts as begun.
pub(crate) fn recheck(set: &Set<'_>, earlier: &mut Earlier, transfers: usize) {
    let is_whole = |sent: &Sent| match (&sent.entry.kind, sent.entry.object()) {
        (Kind::File(file), Some(key)) => {
            let object = Object { key, size: file.size, sha256: file.sha256, is_earlier: true };
            read_back_one(set, &object).is_ok()
        }
        _ => true,
    };
    let whole = workers::map(&earlier.sent, transfers, is_whole);
    let sent = std::mem::take(&mut earlier.sent);
    for (sent, is_whole) in sent.into_iter().zip(whole) {
        match (&sent.entry.kind, sent.entry.object()) {
            (Kind::File(file), Some(key)) if !is_whole => {
                let sending = Sending { key: key.clone(), size: file.size, sha256: file.sha256 };
                earlier.sending.insert(key, sending);
            }
            _ => earlier.sent.push(sent),
        }
    }
}

/// Stores a manifest; from then on the backup exists.
pub(crate) fn commit(set: &Set<'_>, manifest: &Manifest, journal: &Journal) -> Result<Commit, Error> {
    let list = sums(&manifest.entries);
    let bytes = manifest
        .to_bytes()
        .map_err(|error| Error::new(Exit::System, "cannot write the manifest").because(error))?;
    let commit = Commit { number: manifest.head.number, digest: Digest::of(&bytes) };
    let sync = || set.store.sync().map_err(|fault| set.failed("write", "", fault));
    sync()?;
    put(set, &key::sums(commit.number, &commit.digest), list.as_bytes())?;
    journal.commit(commit.number, commit.digest);
    let name = key::manifest(commit.number, &commit.digest);
    if let Err(error) = put(set, &name, &bytes) {
        // A lost reply looks like a failure, so look for the manifest.
        let is_there = set.read(&name, bytes.len()).is_ok_and(|found| found == bytes);
        if !is_there {
            return Err(error);
        }
    }
    let seen = set.store.head(&set.key(&name)).map_err(|fault| set.failed("look at", &name, fault))?;
    if seen.is_none_or(|seen| seen.size != bytes.len() as u64) {
        return Err(differs(set, &name, "it is missing or has another length than what was sent"));
    }
    put(set, key::SUMS, list.as_bytes())?;
    sync()?;
    Ok(commit)
}

/// Stores the list of hashes of the newest manifest again.
pub(crate) fn publish_sums(set: &Set<'_>, entries: &[Entry]) -> Result<(), Error> {
    put(set, key::SUMS, sums(entries).as_bytes())
}

/// Returns the objects of a manifest that an interrupted backup has stored.
pub(crate) fn from_before(entries: &[Entry], before: &[Sent], now: &[Object]) -> Vec<Object> {
    let mut before: HashMap<String, &Entry> =
        before.iter().filter_map(|sent| Some((sent.entry.object()?, &sent.entry))).collect();
    for object in now {
        before.remove(&object.key);
    }
    let used = entries.iter().filter_map(Entry::object).filter_map(|key| before.remove_entry(&key));
    let objects = used.filter_map(|(key, entry)| match &entry.kind {
        Kind::File(file) => Some(Object { key, size: file.size, sha256: file.sha256, is_earlier: true }),
        Kind::Dir | Kind::Link(_) => None,
    });
    objects.collect()
}

/// Stores the lists of hashes of a manifest again, where they are damaged or missing.
pub(crate) fn mend_sums(
    set: &Set<'_>,
    commit: Commit,
    entries: &[Entry],
    is_newest: bool,
) -> Result<(), Error> {
    let list = sums(entries);
    let own = key::sums(commit.number, &commit.digest);
    for key in [Some(own.as_str()), is_newest.then_some(key::SUMS)].into_iter().flatten() {
        if set.sums(key)?.as_deref() != Some(list.as_bytes()) {
            put(set, key, list.as_bytes())?;
        }
    }
    Ok(())
}

fn put(set: &Set<'_>, key: &str, bytes: &[u8]) -> Result<(), Error> {
    let stored: Result<_, Fault> = set.store.put(&set.key(key), bytes, &Digest::of(bytes));
    stored.map(drop).map_err(|fault| set.failed("store", key, fault))
}
