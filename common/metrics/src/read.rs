//! Reads the metric rows of a run from wherever it keeps them, in bounded memory. Used by whoever
//! needs more than the figures in status.json.

use super::lines::{each_line, is_damage};
use super::resumptions::Resumptions;
use super::row::MetricRow;
use super::source::{MetricSource, SourceFormat};
use super::supersede::{FirstSteps, RowOrigin};
use super::{events, trainer_csv, trainer_state};
use run_common::fsio::open_regular;
use std::fs::File;
use std::io;

/// How many rows there were, and what was none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RowCounts {
    /// Rows that count.
    pub rows: u64,
    /// Rows that a later attempt superseded.
    pub superseded: u64,
    /// Lines or records that could not be read. An unfinished last one does not count, unless it is
    /// too long already.
    pub skipped: u64,
}

/// Reads the rows that count, in the order of the files, each with the number of its attempt from
/// 1. Rows of earlier attempts that a later one superseded are left out (run-dir(5)).
pub fn rows(
    source: &MetricSource,
    attempts: &Resumptions,
    each: &mut dyn FnMut(MetricRow, usize),
) -> io::Result<RowCounts> {
    let mut starts = FirstSteps::default();
    if source.may_repeat(attempts) {
        pass(source, attempts, &mut |origin, row| {
            starts.note(origin, &row);
        })?;
    }
    let mut counts = RowCounts::default();
    counts.skipped = pass(source, attempts, &mut |origin, row| {
        if starts.supersede(origin, &row) {
            counts.superseded += 1;
        } else {
            counts.rows += 1;
            each(row, origin.attempt + 1);
        }
    })?;
    Ok(counts)
}

/// Reads all rows once; returns what was skipped.
fn pass(
    source: &MetricSource,
    attempts: &Resumptions,
    act: &mut dyn FnMut(RowOrigin, MetricRow),
) -> io::Result<u64> {
    let mut skipped = 0;
    for of_source in source.files() {
        let Some(file) = open_regular(&of_source.path)? else { continue };
        let boundaries = of_source.name.as_ref().map(|name| attempts.offsets(name)).unwrap_or_default();
        let mut at_offset = |offset: u64, row: MetricRow| {
            let begun = boundaries.iter().filter(|&&start| start <= offset).count();
            act(RowOrigin { attempt: of_source.origin.attempt + begun, track: of_source.origin.track }, row);
        };
        skipped += match source.format() {
            SourceFormat::Lines => json_lines(&file, &mut at_offset)?,
            SourceFormat::Csv => trainer_csv::read(&file, &mut at_offset)?,
            SourceFormat::TrainerState => trainer_state::read(&file, &mut |row| at_offset(0, row))?,
            SourceFormat::Events => events::read(&file, &of_source.prefix, &mut |seconds, row| {
                let attempt =
                    if attempts.is_single() { of_source.origin.attempt } else { attempts.at(seconds) };
                act(RowOrigin { attempt, track: of_source.origin.track }, row);
            })?,
        };
    }
    Ok(skipped)
}

fn json_lines(file: &File, act: &mut dyn FnMut(u64, MetricRow)) -> io::Result<u64> {
    let mut skipped = 0;
    each_line(file, &mut |offset, line| match line.and_then(MetricRow::parse) {
        Some(row) => act(offset, row),
        None => skipped += u64::from(is_damage(line)),
    })?;
    Ok(skipped)
}

#[cfg(test)]
mod tests;
