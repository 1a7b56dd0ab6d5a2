//! `run-exec`: execute a command in a run directory and keep its record.

mod attempt;
mod batch;
mod cli;
mod controller;
mod detached;
mod ending;
mod environment;
mod gpus;
mod held_run;
mod launch;
mod options;
mod plan;
mod prepare;
mod queue;
mod resume;
mod retry;
mod run;
mod settings;
mod tally;
mod told;
mod unfinished;
mod worker;

fn main() -> std::process::ExitCode {
    run_complete::answer::<cli::Args>("run-exec").unwrap_or_else(|| {
        run_common::cli::entry_of_command("run-exec", run_common::cli::statuses::STATUSES.failed, run::run)
    })
}
