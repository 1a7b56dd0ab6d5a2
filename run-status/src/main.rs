//! `run-status`: report the state of runs.

mod annotate;
mod backup;
mod cli;
mod columns;
mod curve;
mod detail;
mod entry;
mod facts;
mod keys;
mod list;
mod log;
mod picture;
mod prometheus;
mod rows;
mod select;
mod status;
mod unseen;
mod wait;
mod watch;
mod watched;

fn main() -> std::process::ExitCode {
    run_complete::answer::<cli::Args>("run-status")
        .unwrap_or_else(|| run_common::cli::entry("run-status", status::run))
}
