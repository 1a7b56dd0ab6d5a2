//! The writer that this copy of a run is to a set, and the prefix of its keys (run-store(5), Writers).

use super::journal::{Begin, Earlier, Journal};
use crate::format::digest::Digest;
use crate::format::key;
use crate::format::manifest::Manifest;
use crate::set::{Commit, History, Set, SetName};
use run_common::error::{Error, Exit};
use run_common::message::warn;
use run_common::rundir::receipts::{self, Backup, Receipt};
use std::path::Path;
use uuid::Uuid;

/// A writer, and the manifest that its backup continues.
#[derive(Debug)]
pub(crate) struct Writer {
    /// The writer's ID.
    pub(crate) id: String,
    /// Prefix of the writer's own keys.
    pub(crate) keys: String,
    /// The manifest to continue.
    pub(crate) parent: Option<(Commit, Manifest)>,
    /// This writer wrote the parent.
    pub(crate) is_own: bool,
    /// Number of the writer's next manifest.
    pub(crate) number: u64,
}

/// A writer according to a receipt or journal: its ID, its keys, and its newest manifest.
struct Claim {
    writer: String,
    keys: String,
    newest: Option<Commit>,
}

/// Knowledge about the writer of a run.
pub(crate) struct Known<'a> {
    /// The backups of the set.
    pub(crate) history: History,
    /// The receipts of the run.
    pub(crate) receipts: &'a [Receipt],
    /// The set, and the place of the run.
    pub(crate) here: &'a Begin,
    /// What the journal tells.
    pub(crate) earlier: &'a Earlier,
    /// ID of the run.
    pub(crate) run_id: &'a str,
    /// A new writer may store its name.
    pub(crate) may_claim: bool,
}

/// Determines the writer. A new writer stores its name in the store.
pub(crate) fn writer(set: &Set<'_>, known: &Known<'_>, journal: &mut Journal) -> Result<Writer, Error> {
    let Known { ref history, receipts, here, earlier, run_id, may_claim } = *known;
    let known = from_receipts(receipts, here);
    let mut claim = match (&earlier.begin, &earlier.keys, known) {
        (Some(begin), Some(keys), known)
            if known.as_ref().is_none_or(|known| known.writer == begin.writer) =>
        {
            let newest = known.and_then(|known| known.newest);
            Some(Claim { writer: begin.writer.clone(), keys: keys.clone(), newest })
        }
        (_, _, known) => known,
    };
    if let (Some(claim), Some((number, digest))) = (&mut claim, earlier.commit) {
        let commit = Commit { number, digest };
        if history.commits.contains(&commit) {
            claim.newest = Some(commit); // it was stored, but the receipt was not written
        }
    }
    let next =
        history.newest().map_or(0, |newest| newest.number).max(earlier.commit.map_or(0, |commit| commit.0));
    let number = next.saturating_add(1);
    if let Some(Claim { writer, keys, newest }) = claim
        && let Some(own) = own_newest(set, history, &writer, newest)?
    {
        journal.begin(&writer);
        let is_own = own.is_some();
        let parent = if is_own { own } else { newest_of_all(set, history, run_id)? };
        return Ok(Writer { id: writer, keys, parent, is_own, number });
    }
    let id = match (&earlier.begin, &earlier.keys) {
        (Some(begin), None) => begin.writer.clone(), // it was about to learn its keys
        _ => Uuid::new_v4().simple().to_string(),
    };
    journal.begin(&id);
    let parent = newest_of_all(set, history, run_id)?;
    let keys = if may_claim { claim_keys(set, &id, journal)? } else { String::new() };
    Ok(Writer { id, keys, parent, is_own: false, number })
}

/// Returns the writer that the copy of a run in a directory is to a set, by its receipts; none without a
/// receipt.
pub(crate) fn writer_here(url: &str, name: &SetName, root: &Path, record: &Path) -> Option<String> {
    let here = Begin::new(url, name, root).ok()?;
    from_receipts(&receipts::read(record).ok()?, &here).map(|claim| claim.writer)
}

/// Returns the manifest that the last receipt of a set names, if this copy of the run wrote it.
pub(crate) fn newest_here(receipts: &[Receipt], here: &Begin) -> Option<Commit> {
    from_receipts(receipts, here)?.newest
}

fn from_receipts(receipts: &[Receipt], here: &Begin) -> Option<Claim> {
    let backup = receipts.iter().rev().find_map(|receipt| match receipt {
        Receipt::Backup(backup) if (&backup.url, &backup.name) == (&here.url, &here.name) => Some(backup),
        _ => None,
    })?;
    let Backup { writer, keys, number, manifest, .. } = backup;
    let is_here = (&backup.host, backup.inode, &backup.path) == (&here.host, here.inode, &here.path);
    let newest = Commit { number: *number, digest: manifest.parse().ok()? };
    is_here.then(|| Claim { writer: writer.clone(), keys: keys.clone(), newest: Some(newest) })
}

/// Returns the newest manifest of a writer, `Some(None)` before the first. Returns `None` if the writer and the
/// store disagree: then the directory is an older state, and another writer.
#[expect(clippy::option_option, reason = "not to be believed, none yet, and one are three answers")]
fn own_newest(
    set: &Set<'_>,
    history: &History,
    writer: &str,
    known: Option<Commit>,
) -> Result<Option<Option<(Commit, Manifest)>>, Error> {
    if let Some(known) = known
        && !history.commits.contains(&known)
    {
        return Ok(None);
    }
    let least = known.map_or(0, |known| known.number);
    for commit in history.commits.iter().filter(|commit| commit.number >= least && Some(**commit) != known) {
        if set.whole_manifest(*commit)?.is_none_or(|manifest| manifest.head.writer == writer) {
            return Ok(None);
        }
    }
    let Some(known) = known else { return Ok(Some(None)) };
    // Nobody knows the content of a damaged manifest: then this copy is another writer, too.
    Ok(set.whole_manifest(known)?.map(|manifest| Some((known, manifest))))
}

/// Returns the newest undamaged manifest, and fails if it is of another run.
fn newest_of_all(
    set: &Set<'_>,
    history: &History,
    run_id: &str,
) -> Result<Option<(Commit, Manifest)>, Error> {
    let mut found = None;
    for commit in history.commits.iter().rev() {
        found = set.whole_manifest(*commit)?.map(|manifest| (*commit, manifest));
        if found.is_some() {
            break;
        }
        warn(&format!("{}; this backup continues an earlier one", set.damaged(*commit)));
    }
    let Some((newest, manifest)) = found else { return Ok(None) };
    if manifest.head.run_id != run_id {
        let what = format!("cannot back up to '{}' in {}", set.name, set.url);
        return Err(Error::new(Exit::No, what)
            .because("another run has this name")
            .hint("--as gives another name"));
    }
    Ok(Some((newest, manifest)))
}

/// Stores the writer's name, then looks for other writers. Returns the prefix of its keys.
fn claim_keys(set: &Set<'_>, id: &str, journal: &Journal) -> Result<String, Error> {
    journal.claim();
    let claim = format!("{}/{id}", key::WRITERS);
    let bytes = id.as_bytes();
    set.store
        .put(&set.key(&claim), bytes, &Digest::of(bytes))
        .map_err(|fault| set.failed("store", &claim, fault))?;
    let History { commits, writers } = set.history()?;
    let is_alone = commits.is_empty() && writers.iter().all(|other| other == id);
    let keys = if is_alone { String::new() } else { key::of_writer(id) };
    journal.keys(&keys);
    Ok(keys)
}
