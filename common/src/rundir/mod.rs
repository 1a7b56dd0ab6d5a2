//! A run directory and its record (run-dir(5)): names, contents, and what is so.

pub mod batch;
pub mod evaluation;
pub mod find;
pub mod layout;
pub mod meta;
pub mod observe;
pub mod open;
pub mod record;
pub mod status;
pub mod stop;
pub mod wait;

/// The version of the record that this suite writes, and the newest that it reads.
pub const SCHEMA: u32 = 1;
