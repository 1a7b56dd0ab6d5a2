//! The code that the run tools share. Each layer uses only the layers above it in this list; a test enforces
//! this.

pub mod checksum;
pub mod error;
pub mod figures;
pub mod json;
pub mod message;
pub mod natural;
pub mod palette;
pub mod pipeline;
pub mod protobuf;
pub mod shell;
pub mod spare;
pub mod text;
pub mod time;

pub mod process;

pub mod fsio;

pub mod wandb;

pub mod provenance;

pub mod rundir;

pub mod cost;

pub mod cli;
