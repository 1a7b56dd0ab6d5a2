//! Metric rows: one row type, read from what programs append, print and leave behind, and their
//! figures.

pub mod aggregate;
pub mod csv;
mod events;
pub mod follow;
pub mod lines;
pub mod of_run;
pub mod read;
pub mod resumptions;
pub mod row;
pub mod scrape;
pub mod source;
pub mod supersede;
mod trainer_csv;
mod trainer_state;
