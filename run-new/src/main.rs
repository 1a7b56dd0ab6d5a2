//! `run-new`: create run directories and print their paths.

mod adopt;
mod batch;
mod cli;
mod command;
mod config;
mod create;
mod guard;
mod like;
mod name;
mod new;
mod numbers;
mod plan;
mod print;
mod random;
mod spec;
mod staged;
mod sweep;
mod unknown;

fn main() -> std::process::ExitCode {
    run_complete::answer::<cli::Args>("run-new")
        .unwrap_or_else(|| run_common::cli::entry("run-new", new::run))
}
