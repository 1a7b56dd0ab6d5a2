//! `run-eval`: evaluate the checkpoints of runs and consolidate what was measured.

mod cli;
mod consolidate;
mod controller;
mod ending;
mod evaluate;
mod metrics;
mod pin;
mod plan;
mod table;

fn main() -> std::process::ExitCode {
    run_common::cli::entry_of_command("run-eval", run_common::error::Exit::Usage as u8, controller::run)
}
