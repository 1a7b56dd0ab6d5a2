//! Executes runs on other machines. A launcher is a program that starts jobs there: Slurm, which is built in,
//! or an executable `run-launch-NAME`. Both follow the contract of run-launch(7): four verbs, JSON lines in and
//! out.
//!
//! The record of a run tells its outcome. A launcher says whether a job waits, was started, or is gone, and may
//! say that it does not know.

mod cache;
mod call;
pub mod choice;
pub mod contract;
pub mod ending;
mod executable;
pub mod hand_over;
pub mod inside;
pub mod launcher;
mod own;
pub mod passed;
pub mod settle;
pub mod slurm;
pub mod used;
