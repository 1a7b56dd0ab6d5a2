//! `run-exec`: execute a command in a run directory and keep its record.

mod attempt;
mod batch;
mod cli;
mod ending;
mod front;
mod queue;
mod resume;

fn main() -> std::process::ExitCode {
    run_common::cli::entry_of_command("run-exec", run_common::cli::statuses::STATUSES.failed, front::run)
}
