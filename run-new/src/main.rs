//! `run-new`: create run directories and print their paths.

mod cli;
mod config;
mod create;
mod name;

fn main() -> std::process::ExitCode {
    run_common::cli::entry("run-new", create::run)
}
