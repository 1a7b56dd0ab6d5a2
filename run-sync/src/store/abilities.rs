//! The abilities that were seen in a store: `.run-store/abilities.json` (run-store(5)). No other ability is
//! relied on.

use super::fault::Fault;
use super::{Checks, Experiments, Store};
use crate::format::digest::Digest;
use crate::format::key::ABILITIES;
use run_common::error::Error;
use run_common::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::io;
use std::sync::OnceLock;
use uuid::Uuid;

/// Bytes of the document.
const LIMIT: usize = 64 << 10;
/// Prefix of the keys of experiments.
pub(crate) const PROBES: &str = ".run-store/probe";

/// The abilities of a store; none where an ability was not tested.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Abilities {
    /// Version of the document.
    pub(crate) schema: u64,
    /// Address of the tested store: in a copy elsewhere, the document says nothing.
    pub(crate) address: String,
    /// Time of the test.
    pub(crate) time: Timestamp,
    /// Version of the tool.
    pub(crate) tool_version: String,
    /// The store refuses a request whose bytes do not have the hash that the request names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) checksums: Option<bool>,
    /// If several writers create one object at once, one succeeds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) create: Option<bool>,
    /// The store does not replace an object that has changed since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) replace: Option<bool>,
    /// Objects can be sent in parts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) parts: Option<bool>,
    /// Parts of an upload may have several sizes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) unequal_parts: Option<bool>,
    /// Objects are read from another address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) redirects: Option<bool>,
}

impl Abilities {
    /// Creates a document for an address, without any ability.
    pub(crate) fn new(address: &str) -> Self {
        Self {
            schema: 1,
            address: address.to_owned(),
            time: Timestamp::now(),
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            checksums: None,
            create: None,
            replace: None,
            parts: None,
            unequal_parts: None,
            redirects: None,
        }
    }

    /// Reads the abilities of this address. If there are none, tests whether the store checks checksums, and
    /// records this.
    fn known_or_seen(store: &dyn Store, experiments: &dyn Experiments, address: &str) -> Result<Self, Fault> {
        if let Some(known) = Self::read(store, address)?.filter(|known| known.checksums.is_some()) {
            return Ok(known);
        }
        let mut seen = Self::new(address);
        seen.checksums = Some(checks_hashes(store, experiments)?);
        seen.write(store)?;
        Ok(seen)
    }

    /// Determines, once, how far to rely on the checks of a store. `name` is the store in messages.
    pub(crate) fn settle(
        store: &dyn Store,
        experiments: &dyn Experiments,
        name: &str,
        checks: &OnceLock<Checks>,
    ) -> Result<(), Error> {
        if checks.get().is_none() {
            let known = Self::known_or_seen(store, experiments, &experiments.address());
            let abilities = known.map_err(|fault| fault.error("use", "", name))?;
            let _ = checks.set(abilities.checks()); // another thread may have been faster
        }
        Ok(())
    }

    /// Reads the recorded abilities of this address, if there are any.
    pub(crate) fn read(store: &dyn Store, address: &str) -> Result<Option<Self>, Fault> {
        let mut bytes = Vec::new();
        let mut take = |piece: &[u8]| {
            bytes.extend_from_slice(piece);
            if bytes.len() > LIMIT { Err(io::Error::other("it is too large")) } else { Ok(()) }
        };
        match store.get(ABILITIES, None, &mut take) {
            Ok(()) => {
                let known: Option<Self> = serde_json::from_slice(&bytes).ok();
                Ok(known.filter(|known| known.schema == 1 && known.address == address))
            }
            Err(Fault::NotFound | Fault::Sink(_)) => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    /// Stores the document.
    pub(crate) fn write(&self, store: &dyn Store) -> Result<(), Fault> {
        let mut bytes = serde_json::to_vec(self).unwrap_or_default();
        bytes.push(b'\n');
        store.put(ABILITIES, &bytes, &Digest::of(&bytes)).map(drop)
    }

    /// Returns how far to rely on the store's own checks.
    fn checks(&self) -> Checks {
        if self.checksums == Some(true) { Checks::Hash } else { Checks::Nothing }
    }
}

/// Returns a new key for an experiment.
pub(crate) fn probe_key() -> String {
    format!("{PROBES}/{}", Uuid::new_v4())
}

/// Sends bytes with the hash of others. A store that accepts them checks nothing.
pub(crate) fn checks_hashes(store: &dyn Store, experiments: &dyn Experiments) -> Result<bool, Fault> {
    let key = probe_key();
    let is_refused =
        experiments.refuses(&key, b"these are other bytes\n", &Digest::of(b"than the hash is of\n"))?;
    if !is_refused {
        store.delete(&key)?;
    }
    Ok(is_refused)
}
