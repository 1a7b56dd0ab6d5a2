//! `run-eval`: which checkpoints, how, and what becomes of the results.

mod choice;
mod control;
mod labels;
mod repeated;
mod results;
