//! A run's directories as they are on this machine: what lies in them, and the hashes of files. Follows no link.

pub(crate) mod hash;
pub(crate) mod root;
pub(crate) mod scan;
