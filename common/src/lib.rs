//! What the run tools share. A layer uses only the layers above it in this list: a test holds
//! that true.

pub mod error;
pub mod message;
pub mod parallel;
pub mod text;
pub mod time;

pub mod fsio;
pub mod process;

pub mod metrics;
pub mod provenance;

pub mod rundir;

pub mod checkpoint;

pub mod cost;

pub mod supervise;

pub mod cli;
