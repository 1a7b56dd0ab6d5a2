//! `run-stop`: stop runs, gracefully.

mod checkpoint;
mod cli;
mod stop;

fn main() -> std::process::ExitCode {
    run_common::cli::entry("run-stop", stop::run)
}
