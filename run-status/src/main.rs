//! `run-status`: say what runs are doing.

mod cli;
mod detail;
mod list;
mod log;

fn main() -> std::process::ExitCode {
    run_common::cli::entry("run-status", list::run)
}
