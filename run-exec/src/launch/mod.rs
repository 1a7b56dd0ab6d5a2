//! Runs that other machines execute: `--slurm` and `--launch`, and what a job of theirs does.

mod again;
mod follow;
pub(crate) mod job;
mod passed;
pub(crate) mod submit;
mod waiting;
