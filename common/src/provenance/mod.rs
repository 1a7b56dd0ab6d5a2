//! Provenance of a run: code, interpreter, machine, command line. Used by run-new at creation and by run-exec
//! at the start of each attempt, and by run-report to compare.

pub mod config;
pub mod device;
pub mod free_gpus;
pub mod git;
pub mod hash;
pub mod hints;
pub mod machine;
pub mod packages;
pub mod params;
pub mod python;
pub mod redact;
mod script;
pub mod secret;
pub mod untracked;
pub mod wrapper;
