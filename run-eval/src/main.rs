//! `run-eval`: evaluate the checkpoints of runs and consolidate what was measured.

mod aside;
mod claim;
mod cli;
mod consolidate;
mod controller;
mod copy;
mod decide;
mod ending;
mod job;
mod launch;
mod look;
mod measure;
mod metrics;
mod object;
mod open_files;
mod options;
mod pin;
mod prepare;
mod record;
mod recorded;
mod report;
mod run;
mod select;
mod session;

fn main() -> std::process::ExitCode {
    run_complete::answer::<cli::Args>("run-eval").unwrap_or_else(|| {
        run_common::cli::entry_of_command("run-eval", run_common::error::Exit::Usage as u8, run::run)
    })
}
