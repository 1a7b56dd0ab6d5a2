//! Metric rows: one row type, read from what programs append, and their figures.

pub mod aggregate;
pub mod follow;
pub mod row;
mod supersede;
