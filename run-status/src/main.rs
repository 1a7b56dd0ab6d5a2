//! `run-status`: say what runs are doing.

mod cli;
mod detail;
mod entry;
mod list;
mod log;
mod rows;
mod select;
mod sparkline;
mod status;
mod wait;
mod watch;

fn main() -> std::process::ExitCode {
    run_common::cli::entry("run-status", status::run)
}
