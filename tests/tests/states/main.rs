//! `run-status`: what it says of runs, once and as they go on.

mod agents;
mod fits;
mod list_facts;
mod notes;
mod operands;
mod prometheus;
mod status;
mod watch;
