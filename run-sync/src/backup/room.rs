//! Whether there is room in a store for a new set: the keys of one set never lie among those of another, except
//! for the runs of a batch.

use crate::format::key;
use crate::format::manifest::SetKind;
use crate::local::subject::Subject;
use crate::set::{Set, SetName};
use run_common::error::{Error, Exit};
use std::collections::HashMap;

const OTHER_NAME: &str = "--as gives another name";

/// Checks the names of new sets. Remembers the batches, which many sets may have in common.
#[derive(Debug, Default)]
pub(crate) struct Rooms {
    /// Whether a run has this name in the store.
    runs: HashMap<String, bool>,
}

impl Rooms {
    /// Fails if a new set would lie inside of the set of a run, or have sets inside of it.
    pub(crate) fn check(&mut self, set: &Set<'_>, kind: SetKind) -> Result<(), Error> {
        let refused = |why: String| {
            let what = format!("cannot back up to '{}' in {}", set.name, set.url);
            Err(Error::new(Exit::No, what).because(why).hint(OTHER_NAME))
        };
        match &set.name.batch {
            Some(batch) if self.is_run(set, batch)? => refused(format!("a run has the name '{batch}' there")),
            None if kind == SetKind::Run && holds_sets(set)? => {
                refused("a batch has this name there".to_owned())
            }
            _ => Ok(()),
        }
    }

    fn is_run(&mut self, set: &Set<'_>, name: &str) -> Result<bool, Error> {
        if let Some(known) = self.runs.get(name) {
            return Ok(*known);
        }
        let above =
            Set { store: set.store, url: set.url, name: SetName { batch: None, name: name.to_owned() } };
        let mut is_run = false;
        for commit in above.history()?.commits.iter().rev() {
            if let Some(manifest) = above.whole_manifest(*commit)? {
                is_run = manifest.head.kind == SetKind::Run;
                break;
            }
        }
        self.runs.insert(name.to_owned(), is_run);
        Ok(is_run)
    }
}

/// Returns whether the sets of other runs lie below the name of a set. Mostly there is nothing at all.
fn holds_sets(set: &Set<'_>) -> Result<bool, Error> {
    let below = set.name.prefix();
    let failed = |fault| set.failed("list", "", fault);
    let names = set.store.list_directories(&below).map_err(failed)?;
    if names.iter().all(|name| name.starts_with('.')) {
        return Ok(false);
    }
    let mut is_found = false;
    let mut take = |object: crate::store::Object| {
        let inside = object.key.strip_prefix(&below).and_then(|rest| rest.split_once('/'));
        is_found |= inside.is_some_and(|(_, key)| key::parse_manifest(key).is_some());
    };
    set.store.list(&below, &mut take).map_err(failed)?;
    Ok(is_found)
}

/// Refuses a subject that is called as something in the store is.
pub(crate) fn check_name(subject: &Subject) -> Result<(), Error> {
    let Some(reserved) = subject.name.reserved() else { return Ok(()) };
    let error = Error::new(Exit::BadRun, format!("cannot back up '{}'", subject.path().display()))
        .because(format!("a store has files of its own under the name '{reserved}'"));
    Err(if subject.kind == SetKind::Run { error.hint(OTHER_NAME) } else { error })
}
