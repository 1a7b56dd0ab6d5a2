//! A run directory and its record (run-dir(5)): names, contents, and state.

pub mod attempts;
pub mod batch;
pub mod captured;
pub mod environment;
pub mod evaluation;
pub mod evaluations;
pub mod find;
pub mod fingerprint;
pub mod foreign;
pub mod launch;
pub mod layout;
pub mod log_end;
pub mod logs;
pub mod meta;
pub mod notes;
pub mod observe;
pub mod open;
pub mod options;
pub mod placeholders;
pub mod raw;
pub mod receipts;
pub mod record;
pub mod recorded;
pub mod sample;
pub mod status;
pub mod status_json;
pub mod stop;
pub mod template;
mod trust;
pub mod wait;
pub mod writable;

/// The version of the record that this suite writes, and the newest that it reads.
pub const SCHEMA: u32 = 1;
