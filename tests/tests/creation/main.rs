//! `run-new`: names, configs, sweeps, and what is recorded of code and environment.

mod adopt_unknown;
mod captured;
mod command;
mod like;
mod prefix;
mod runs;
mod sweep;
