//! `run-sync`: back runs up, verify, restore and clean up.

mod backup;
mod cli;
mod format;
mod local;
mod set;
mod store;
mod sync;

fn main() -> std::process::ExitCode {
    run_common::cli::entry("run-sync", sync::run)
}
