//! `run-report`: compare runs, consolidate their metrics, draw curves, add up costs.

mod bridge;
mod cli;
mod compare;
mod consolidate;
mod cost;
mod curve;
mod curves;
mod evals;
mod export;
mod fault;
mod figures;
mod frame;
mod goodput;
mod output;
mod page;
mod plot;
mod report;
mod run;
mod runs;
mod scalar;
mod scraped;
mod serve;
mod settings;
mod sql;
mod table;

fn main() -> std::process::ExitCode {
    run_complete::answer::<cli::Args>("run-report")
        .unwrap_or_else(|| run_common::cli::entry("run-report", report::run))
}
