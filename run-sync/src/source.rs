//! The store that a verb reads.

use crate::address::{address, shown};
use crate::names::Names;
use crate::set::{Set, SetName};
use crate::store::reach::Reach;
use crate::store::url::StoreUrl;
use crate::store::{self, Access, Store};
use crate::workers;
use run_common::error::{Error, Exit};
use run_common::message::{complain, warn};

/// A store to read.
pub(crate) struct Source {
    store: Box<dyn Store>,
    /// Name of the store in messages.
    pub(crate) url: String,
    /// Address of the store in receipts.
    pub(crate) shown: String,
    /// Requests at a time.
    pub(crate) transfers: usize,
}

impl Source {
    /// Opens the given store, else that of `RUN_SYNC_URL`. A directory must exist.
    pub(crate) fn open(given: Option<&StoreUrl>, reach: &Reach) -> Result<Self, Error> {
        let access = Access::new(reach)?;
        let url = address(given, "--from", &access)?;
        if let StoreUrl::Directory(root) = &url
            && !root.is_dir()
        {
            let error = Error::new(Exit::System, format!("no store '{}'", root.display()));
            return Err(error.because("there is no such directory"));
        }
        let store = store::open(&url, &access)?;
        Ok(Self { store, url: url.to_string(), shown: shown(&url), transfers: access.transfers })
    }

    /// Returns a set of the store.
    pub(crate) fn set(&self, name: SetName) -> Set<'_> {
        Set { store: self.store.as_ref(), url: &self.url, name }
    }

    /// Returns a finder for the sets of the store.
    pub(crate) fn names(&self) -> Names<'_> {
        Names { store: self.store.as_ref(), url: &self.url, transfers: self.transfers }
    }

    /// Returns the sets for these names, or all sets. A name without a set is reported, and determines the
    /// status.
    pub(crate) fn sets(&self, names: &[String]) -> Result<(Vec<SetName>, Exit), Error> {
        let finder = self.names();
        if names.is_empty() {
            let all = finder.all()?;
            if all.is_empty() {
                warn(&format!("no runs in {}{}", self.url, finder.what_else()?));
            }
            return Ok((all, Exit::Ok));
        }
        let (mut sets, mut status) = (Vec::new(), Exit::Ok);
        let found = workers::map(names, self.transfers, |name| finder.named(name));
        for found in found {
            match found {
                Ok(named) => sets.extend(named),
                Err(error) if error.exit() == Exit::System => return Err(error),
                Err(error) => {
                    complain(&error);
                    status = status.max(error.exit());
                }
            }
        }
        let mut seen = std::collections::HashSet::new();
        sets.retain(|set| seen.insert(set.clone()));
        Ok((sets, status))
    }
}
