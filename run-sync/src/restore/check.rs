//! Decides whether a run or batch may be restored to a place: nothing is mixed with another run or batch, and
//! nothing that is active is touched.

use crate::at::Chosen;
use crate::format::manifest::SetKind;
use crate::set::{Set, SetName};
use run_common::error::{Error, Exit};
use run_common::fsio::lock::{Held, ask};
use run_common::rundir::batch::{Batch, BatchDir};
use run_common::rundir::layout::BatchLayout;
use run_common::rundir::meta::Meta;
use run_common::rundir::open::RunDir;
use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

const ELSEWHERE: &str = "--into restores it elsewhere";

/// Checks places. Remembers the IDs of batches in the store.
#[derive(Debug, Default)]
pub(super) struct Checks {
    /// The IDs of batches, by name; none for a batch whose own files are not in the store.
    batches: RefCell<HashMap<String, Option<String>>>,
}

impl Checks {
    /// Refuses a place that belongs to another run or batch, or to an active one.
    pub(super) fn check(&self, set: &Set<'_>, path: &Path, chosen: &Chosen) -> Result<(), Error> {
        let head = &chosen.manifest.head;
        let refused = |why: &str| {
            let what = format!("cannot restore to '{}'", path.display());
            Err(Error::new(Exit::No, what).because(why.to_owned()).hint(ELSEWHERE))
        };
        let batch = BatchDir::at(path)?;
        match head.kind {
            SetKind::Run if batch.is_some() => return refused("a batch has this name here"),
            SetKind::Run => {
                let here = Meta::read(RunDir::seen(path).layout());
                if here.as_ref().is_ok_and(|here| here.run_id != head.run_id) {
                    return refused("another run has this name here");
                }
                if here.is_err() && holds_runs(path) {
                    return refused("a directory with runs has this name here");
                }
            }
            SetKind::Batch if batch.is_some() => {
                if batch_id(path).is_some_and(|here| here != head.run_id) {
                    return refused("another batch has this name here");
                }
            }
            SetKind::Batch if RunDir::at(path).is_ok() => return refused("a run has this name here"),
            SetKind::Batch => {}
        }
        if let Some(above) = path.parent().filter(|above| !above.as_os_str().is_empty()) {
            if Meta::read(RunDir::seen(above).layout()).is_ok() {
                return refused("the directory above it is a run");
            }
            if let Some(batch) = &set.name.batch
                && let Some(here) = batch_id(above)
                && self.stored_id(set, batch)?.is_some_and(|stored| stored != here)
            {
                return refused("another batch has the name of its batch here");
            }
        }
        check_idle(path, head.kind, batch.as_ref())
    }

    /// Returns the ID of a batch in the store.
    fn stored_id(&self, set: &Set<'_>, batch: &str) -> Result<Option<String>, Error> {
        if let Some(known) = self.batches.borrow().get(batch) {
            return Ok(known.clone());
        }
        let name = SetName { batch: None, name: batch.to_owned() };
        let of_batch = Set { store: set.store, url: set.url, name };
        let manifest = match of_batch.history()?.newest() {
            Some(newest) => of_batch.whole_manifest(newest)?,
            None => None,
        };
        let id = manifest.filter(|manifest| manifest.head.kind == SetKind::Batch);
        let id = id.map(|manifest| manifest.head.run_id);
        self.batches.borrow_mut().insert(batch.to_owned(), id.clone());
        Ok(id)
    }
}

/// Returns the path of the lock that the users of a run or batch take.
pub(super) fn lock_of(path: &Path, kind: SetKind) -> PathBuf {
    match kind {
        SetKind::Run => RunDir::seen(path).layout().lock(),
        SetKind::Batch => BatchLayout::new(path).lock(),
    }
}

/// Refuses a run that is active, and the files of a batch that is, or that has an active run.
fn check_idle(path: &Path, kind: SetKind, batch: Option<&BatchDir>) -> Result<(), Error> {
    let is_held = |lock: &Path| ask(lock).is_ok_and(|held| held == Held::Yes);
    let busy = |why: String, hint: &str| {
        let what = format!("cannot restore to '{}'", path.display());
        Err(Error::new(Exit::Busy, what).because(why).hint(hint))
    };
    let stop = "run-stop(1) stops it; --into restores elsewhere";
    if is_held(&lock_of(path, kind)) {
        return match kind {
            SetKind::Run => busy("the run is active".to_owned(), stop),
            SetKind::Batch => busy("the batch is active".to_owned(), ELSEWHERE),
        };
    }
    let runs = batch.and_then(|batch| batch.runs().ok()).unwrap_or_default();
    match runs.iter().find(|run| is_held(&run.layout().lock())) {
        Some(run) => busy(format!("its run '{}' is active", run.layout().name()), stop),
        None => Ok(()),
    }
}

fn batch_id(path: &Path) -> Option<String> {
    Some(Batch::read(&BatchLayout::new(path)).ok()?.batch_id)
}

/// Returns whether runs lie in a directory that is no run: it is a batch without its record.
fn holds_runs(path: &Path) -> bool {
    let entries = path.read_dir().into_iter().flatten().flatten();
    let mut visible = entries.filter(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"."));
    visible.any(|entry| Meta::read(RunDir::seen(entry.path()).layout()).is_ok())
}
