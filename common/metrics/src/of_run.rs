//! The metrics of a run: which of its files count, and the rows in them.

use crate::read::{self, RowCounts};
use crate::resumptions::Resumptions;
use crate::row::MetricRow;
use crate::source::MetricSource;
use run_common::rundir::layout::Layout;
use std::io;

/// Finds where a run keeps its metrics: the rows that the program wrote, else those that were read
/// off its output, else what its trainer left behind (run-dir(5)).
pub fn source(layout: &Layout) -> Option<MetricSource> {
    MetricSource::lines(layout.metrics())
        .or_else(|| MetricSource::lines(layout.scraped()))
        .or_else(|| MetricSource::of_trainer(layout.root()))
}

/// Reads the rows that count, each with the number of its attempt from 1, in bounded memory. A run
/// without metrics has none.
pub fn rows(layout: &Layout, each: &mut dyn FnMut(MetricRow, usize)) -> io::Result<RowCounts> {
    match source(layout) {
        Some(source) => read::rows(&source, &Resumptions::read(layout)?, each),
        None => Ok(RowCounts::default()),
    }
}
