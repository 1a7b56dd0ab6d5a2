//! `run-status`: say what runs are doing.

mod cli;
mod detail;
mod line;
mod list;
mod log;
mod select;
mod spark;
mod wait;
mod watch;

fn main() -> std::process::ExitCode {
    run_common::cli::entry("run-status", list::run)
}
