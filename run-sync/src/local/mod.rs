//! The local directories of a run: their names, their contents, and the hashes of files. Follows no links.

pub(crate) mod beneath;
pub(crate) mod hash;
pub(crate) mod home;
pub(crate) mod root;
pub(crate) mod scan;
pub(crate) mod subject;
