//! `run-exec`: execute a command in a run directory and keep its record.

mod attempt;
mod batch;
mod cli;
mod front;
mod queue;
mod resume;

fn main() -> std::process::ExitCode {
    run_common::cli::entry_of_command("run-exec", run_supervise::FAILED, front::run)
}
