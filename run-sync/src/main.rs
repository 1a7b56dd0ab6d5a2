//! `run-sync`: back runs up, verify, restore and clean up.

mod address;
mod at;
mod backup;
mod bar;
mod cat;
mod clean;
mod cli;
mod diff;
mod examine;
mod fetch;
mod files;
mod format;
mod list;
mod local;
mod names;
mod probe;
mod restore;
mod set;
mod source;
mod store;
mod sync;
mod verify;
mod workers;

fn main() -> std::process::ExitCode {
    run_complete::answer::<cli::Args>("run-sync")
        .unwrap_or_else(|| run_common::cli::entry("run-sync", sync::run))
}
