//! `run-stop`: stop runs, gracefully.

mod ask;
mod batches;
mod checkpoint;
mod cli;
mod finish;
mod leftovers;
mod stop;

fn main() -> std::process::ExitCode {
    run_complete::answer::<cli::Args>("run-stop")
        .unwrap_or_else(|| run_common::cli::entry("run-stop", stop::run))
}
