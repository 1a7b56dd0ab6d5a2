//! A run's directories as they are on this machine: which they are, what lies in them, and the hashes of files.
//! Follows no link.

pub(crate) mod beneath;
pub(crate) mod hash;
pub(crate) mod home;
pub(crate) mod root;
pub(crate) mod scan;
pub(crate) mod subject;
