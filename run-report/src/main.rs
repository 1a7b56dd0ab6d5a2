//! `run-report`: compare runs, consolidate their metrics, draw curves, add up costs.

mod cli;
mod compare;
mod consolidate;
mod cost;
mod curve;
mod evals;
mod export;
mod plot;
mod runs;
mod sheet;
mod summary;

fn main() -> std::process::ExitCode {
    run_common::cli::entry("run-report", summary::run)
}
