//! Runs that a real Slurm executes, or another launcher.

mod again;
mod arrays;
mod ends;
mod evaluations;
mod faults;
mod kubernetes;
mod late_answers;
mod launchers;
mod nodes;
mod settings;
mod slurm;
mod strange_launchers;
mod waiting_runs;
