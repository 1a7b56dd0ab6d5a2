//! Reads the metric rows of a run from wherever it keeps them, in bounded memory. Used by every tool that
//! needs more than the figures in status.json.

use super::ascent::ascends;
use super::mlflow;
use super::resumptions::Resumptions;
use super::row::MetricRow;
use super::row_reader::{RowPlace, RowReader};
use super::source::{MetricSource, SourceFile, SourceFormat};
use super::supersede::{FirstSteps, RowOrigin};
use std::io;

/// Maximum total size, in bytes, of the files of a source whose rows are kept in memory until all starts are
/// known. Larger files are read twice.
const KEPT: u64 = 1 << 20;

/// Counts of rows, and of lines that are not rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RowCounts {
    /// Rows that count.
    pub rows: u64,
    /// Rows that later starts superseded.
    pub superseded: u64,
    /// Unreadable lines or records. An unfinished last line counts only if it is too long already.
    pub skipped: u64,
}

/// Reads the rows that count, in the order of the files, each with the number of its attempt from 1. Rows that
/// a later attempt superseded, or a later start within an attempt, are left out (run-dir(5)).
pub fn rows(
    source: &MetricSource,
    attempts: &Resumptions,
    each: &mut dyn FnMut(MetricRow, usize),
) -> io::Result<RowCounts> {
    judged_rows(source, attempts, &mut |row| {
        if let Some((row, attempt)) = row {
            each(row, attempt);
        }
    })
}

/// Like [`rows`], with `None` for each superseded row.
pub fn judged_rows(
    source: &MetricSource,
    attempts: &Resumptions,
    each: &mut dyn FnMut(Option<(MetricRow, usize)>),
) -> io::Result<RowCounts> {
    marked_rows(source, attempts, &mut |row, attempt, counts| each(counts.then_some((row, attempt))))
}

/// Reads all rows like [`rows`], each with the number of its attempt from 1, and whether it counts.
pub fn marked_rows(
    source: &MetricSource,
    attempts: &Resumptions,
    each: &mut dyn FnMut(MetricRow, usize, bool),
) -> io::Result<RowCounts> {
    let mut starts = FirstSteps::default();
    let mut has_parts_of_epochs = false;
    let mut kept = None;
    if !is_plain(source, attempts)? {
        let mut rows = (source.size() <= KEPT).then(Vec::new);
        let skipped = pass(source, attempts, &mut |origin, row| {
            has_parts_of_epochs |= row.has_part_of_epoch();
            starts.note(origin, &row);
            if let Some(rows) = &mut rows {
                rows.push((origin, row));
            }
        })?;
        kept = rows.map(|rows| (rows, skipped));
    }
    let mut counts = RowCounts::default();
    let mut judge = |origin: RowOrigin, row: MetricRow| {
        if starts.supersede(origin, &row) {
            counts.superseded += 1;
            each(row, origin.attempt + 1, false);
        } else {
            counts.rows += 1;
            each(if has_parts_of_epochs { row.without_epoch() } else { row }, origin.attempt + 1, true);
        }
    };
    let skipped = match kept {
        Some((rows, skipped)) => {
            for (origin, row) in rows {
                judge(origin, row);
            }
            skipped
        }
        None => pass(source, attempts, &mut judge)?,
    };
    Ok(RowCounts { skipped, ..counts })
}

/// Reads all rows, including superseded ones.
pub fn all_rows(source: &MetricSource, each: &mut dyn FnMut(MetricRow)) -> io::Result<RowCounts> {
    let mut counts = RowCounts::default();
    counts.skipped = pass(source, &Resumptions::default(), &mut |_, row| {
        counts.rows += 1;
        each(row);
    })?;
    Ok(counts)
}

/// Returns whether no row of a source can be superseded, and all epochs in it are whole numbers.
fn is_plain(source: &MetricSource, attempts: &Resumptions) -> io::Result<bool> {
    if source.may_repeat(attempts) {
        return Ok(false);
    }
    match (source.format(), source.files()) {
        (
            SourceFormat::TrainerState
            | SourceFormat::Events
            | SourceFormat::Snapshot
            | SourceFormat::Sacred
            | SourceFormat::Wandb,
            _,
        ) => Ok(true),
        (SourceFormat::Lines, [only]) if source.step_key().is_none() => {
            source.open(&only.path)?.as_ref().map_or(Ok(true), ascends)
        }
        (SourceFormat::Lines | SourceFormat::Csv | SourceFormat::Printed | SourceFormat::Mlflow, _) => {
            Ok(false)
        }
    }
}

/// Reads all rows once; returns the number of unreadable lines.
fn pass(
    source: &MetricSource,
    attempts: &Resumptions,
    act: &mut dyn FnMut(RowOrigin, MetricRow),
) -> io::Result<u64> {
    if source.format() == SourceFormat::Mlflow {
        let files: Vec<_> =
            source.files().iter().map(|file| (file.path.as_path(), file.prefix.as_str())).collect();
        let mut each = |row: MetricRow| act(RowOrigin::default(), row.with_step(source.step_key()));
        if let Some(skipped) = mlflow::merged(&files, &|path| source.open(path), &mut each)? {
            return Ok(skipped);
        }
    }
    let mut skipped = 0;
    for of_source in source.files() {
        let Some(file) = source.open(&of_source.path)? else { continue };
        let origins = Origins::of(of_source, source.format(), attempts);
        let mut reader = RowReader::new(source.format());
        reader.read(&file, &of_source.prefix, u64::MAX, &mut |place, row, _| {
            match row {
                Some(row) => act(origins.at(place), row.with_step(source.step_key())),
                None => skipped += 1,
            }
            Ok(())
        })?;
    }
    Ok(skipped)
}

/// Assigns the rows of a file to attempts.
#[derive(Clone, Debug)]
pub(super) struct Origins {
    first: RowOrigin,
    /// Offsets at which attempts after the first began.
    boundaries: Vec<u64>,
    attempts: Resumptions,
    /// Whether all rows belong to the attempt of `first`.
    is_of_one: bool,
}

impl Origins {
    pub(super) fn of(file: &SourceFile, format: SourceFormat, attempts: &Resumptions) -> Self {
        Self {
            first: file.origin,
            boundaries: file.boundaries(format, attempts),
            attempts: attempts.clone(),
            is_of_one: file.is_of_one,
        }
    }

    /// Returns the origin of the row at a place.
    pub(super) fn at(&self, place: RowPlace) -> RowOrigin {
        let RowOrigin { attempt, .. } = self.first;
        match place {
            RowPlace::Offset(offset) => {
                let begun = self.boundaries.iter().filter(|&&start| start <= offset).count();
                RowOrigin { attempt: attempt + begun, offset, ..self.first }
            }
            RowPlace::Time(_) if self.is_of_one || self.attempts.is_single() => self.first,
            RowPlace::Time(seconds) => RowOrigin { attempt: self.attempts.at(seconds), ..self.first },
        }
    }

    /// Returns the offset at which the last attempt began in the file.
    pub(super) fn last_boundary(&self) -> u64 {
        self.boundaries.last().copied().unwrap_or_default()
    }

    /// Assigns the whole file to the last attempt, which rewrote it.
    pub(super) fn begin_anew(&mut self) {
        self.boundaries.fill(0);
    }
}

#[cfg(test)]
mod tests;
