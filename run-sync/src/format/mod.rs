//! The format of a store, as run-store(5) defines it: keys, manifests, lists of hashes. Pure: reads and writes
//! no files.

pub(crate) mod digest;
pub(crate) mod entry;
pub(crate) mod key;
pub(crate) mod manifest;
pub(crate) mod percent;
pub(crate) mod stamp;
pub(crate) mod sums;
pub(crate) mod valid;
