//! Metric rows: one row type, read from what programs append and print, and their figures.

pub mod aggregate;
pub mod follow;
pub mod row;
pub mod scrape;
mod supersede;
