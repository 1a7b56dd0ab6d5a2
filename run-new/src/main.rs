//! `run-new`: create run directories and print their paths.

mod batch;
mod cli;
mod config;
mod create;
mod name;
mod plan;
mod staged;
mod sweep;

fn main() -> std::process::ExitCode {
    run_common::cli::entry("run-new", create::run)
}
