//! Output directories of nanoGPT: `ckpt.pt`, which is overwritten in place.

use super::{Account, ForeignLayout, Listing};
use std::path::Path;

/// The layout.
#[derive(Debug)]
pub(super) struct NanoGpt;

impl ForeignLayout for NanoGpt {
    fn name(&self) -> &'static str {
        "nanoGPT"
    }

    fn is_run(&self, listing: &Listing) -> bool {
        listing.has_file("ckpt.pt")
    }

    fn account(&self, _run: &Path) -> Account {
        Account::default()
    }
}
