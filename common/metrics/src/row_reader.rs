//! Reads the rows of one file, in any format, and later the rows appended to it.

use super::events::EventReader;
use super::lines::{LineReader, is_damage};
use super::row::MetricRow;
use super::scrape::{Patterns, Scraper};
use super::trainer_csv::{Meaning, TableReader};
use super::{mlflow, sacred, snapshot, trainer_state, wandb_rows};
use run_common::wandb::log::LogReader;
use std::fs::File;
use std::io;

/// The format of the rows in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceFormat {
    /// A JSON object per line.
    Lines,
    /// A table with a header.
    Csv,
    /// `trainer_state.json` of Hugging Face's Trainer.
    TrainerState,
    /// TensorBoard event files.
    Events,
    /// A JSON object with the current values, which the trainer keeps rewriting.
    Snapshot,
    /// Lines in the output of a trainer.
    Printed,
    /// A metric in `MLflow`'s file store; the prefix of the file is its name.
    Mlflow,
    /// The metrics of Sacred's file storage.
    Sacred,
    /// The datastore of a W&B run.
    Wandb,
}

/// The position of a row in its file, which determines its attempt.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum RowPlace {
    /// Number of bytes before it.
    Offset(u64),
    /// The time at which it was written, in seconds since 1970.
    Time(f64),
}

/// Called for each row: its position, the row or `None` if it cannot be read, and its size in bytes.
pub(super) type EachRow<'a> = dyn FnMut(RowPlace, Option<MetricRow>, usize) -> io::Result<()> + 'a;

/// The state of a reader of a file.
#[derive(Debug)]
pub(super) enum RowReader {
    Lines(LineReader),
    Csv(LineReader, Box<TableReader>),
    Events(EventReader),
    Printed(LineReader, Box<Scraper>),
    Mlflow(LineReader),
    Wandb(LogReader),
    /// A document, which is read as a whole each time.
    Document(SourceFormat),
}

impl RowReader {
    /// Creates a reader at the beginning of a file.
    pub(super) fn new(format: SourceFormat) -> Self {
        match format {
            SourceFormat::Lines => Self::Lines(LineReader::default()),
            SourceFormat::Csv => Self::Csv(LineReader::default(), Box::default()),
            SourceFormat::Events => Self::Events(EventReader::default()),
            SourceFormat::Printed => {
                Self::Printed(LineReader::default(), Box::new(Scraper::new(Patterns::default())))
            }
            SourceFormat::Mlflow => Self::Mlflow(LineReader::default()),
            SourceFormat::Wandb => Self::Wandb(LogReader::default()),
            SourceFormat::TrainerState | SourceFormat::Snapshot | SourceFormat::Sacred => {
                Self::Document(format)
            }
        }
    }

    /// Returns whether a file is read in pieces as it grows.
    pub(super) fn is_incremental(&self) -> bool {
        !matches!(self, Self::Document(_))
    }

    /// Returns the offset up to which the file was read.
    pub(super) fn position(&self) -> u64 {
        match self {
            Self::Lines(lines) | Self::Csv(lines, _) | Self::Printed(lines, _) | Self::Mlflow(lines) => {
                lines.position()
            }
            Self::Wandb(log) => log.position(),
            Self::Events(events) => events.position(),
            Self::Document(_) => 0,
        }
    }

    /// Reads about `limit` bytes of what was appended; returns whether there may be more. `prefix` is prepended
    /// to the names of metrics.
    pub(super) fn read(
        &mut self,
        file: &File,
        prefix: &str,
        limit: u64,
        act: &mut EachRow,
    ) -> io::Result<bool> {
        match self {
            Self::Lines(lines) => lines.read(file, limit, &mut |offset, line| {
                let row = line.and_then(MetricRow::parse);
                if row.is_none() && !is_damage(line) {
                    return Ok(());
                }
                act(
                    RowPlace::Offset(offset),
                    row.map(|row| prefixed(row, prefix)),
                    line.map_or(0, <[u8]>::len),
                )
            }),
            Self::Csv(lines, table) => lines.read(file, limit, &mut |offset, line| {
                let row = match table.line(line) {
                    Meaning::Row(row) => Some(prefixed(row, prefix)),
                    Meaning::Damaged => None,
                    Meaning::Nothing => return Ok(()),
                };
                act(RowPlace::Offset(offset), row, line.map_or(0, <[u8]>::len))
            }),
            Self::Printed(lines, scraper) => lines.read(file, limit, &mut |offset, line| match line
                .and_then(|line| scraper.printed(line))
            {
                Some(row) => act(RowPlace::Offset(offset), Some(prefixed(row, prefix)), 0),
                None => Ok(()),
            }),
            Self::Mlflow(lines) => lines.read(file, limit, &mut |offset, line| {
                let row = line.and_then(|line| mlflow::row(line, prefix));
                if row.is_none() && !is_damage(line) {
                    return Ok(());
                }
                act(RowPlace::Offset(offset), row, line.map_or(0, <[u8]>::len))
            }),
            Self::Wandb(log) => {
                log.read(file, limit, &mut |offset, record| match record.map_or(Err(()), wandb_rows::row) {
                    Ok(Some(row)) => act(RowPlace::Offset(offset), Some(prefixed(row, prefix)), 0),
                    Ok(None) => Ok(()),
                    Err(()) => act(RowPlace::Offset(offset), None, 0),
                })
            }
            Self::Events(events) => {
                let end = events.position().saturating_add(limit);
                let mut result = Ok(());
                events.read(file, prefix, end, &mut |seconds, row| {
                    if result.is_ok() {
                        result = act(RowPlace::Time(seconds), row, 0);
                    }
                })?;
                result.map(|()| events.position() >= end)
            }
            Self::Document(format) => {
                let mut result = Ok(());
                let mut each = |row| {
                    if result.is_ok() {
                        result = act(RowPlace::Offset(0), row, 0);
                    }
                };
                let skipped = match format {
                    SourceFormat::Snapshot => {
                        each(snapshot::row(file)?);
                        0
                    }
                    SourceFormat::Sacred => sacred::read(file, &mut |row| each(Some(row)))?,
                    _ => trainer_state::read(file, &mut |row| each(Some(row)))?,
                };
                (0..skipped).for_each(|_| each(None));
                result.map(|()| false)
            }
        }
    }
}

/// Prepends a prefix to the names of metrics in a row, except the name of its step.
fn prefixed(row: MetricRow, prefix: &str) -> MetricRow {
    if prefix.is_empty() {
        return row;
    }
    let step = row.step().map(|(key, _)| key.to_owned());
    let fields = row.fields().map(|(name, value)| match &step {
        Some(step) if step == name => (name.to_owned(), value.clone()),
        _ => (format!("{prefix}{name}"), value.clone()),
    });
    MetricRow::new(fields.collect())
}

/// Reads the first row that is wanted, within this number of bytes and rows; in a file of JSON lines, lines
/// that are not rows count as rows.
pub(super) fn first_row(
    file: &File,
    format: SourceFormat,
    limit: u64,
    rows: usize,
    is_wanted: impl Fn(&MetricRow) -> bool,
) -> Option<MetricRow> {
    let mut first = None;
    let mut left = rows;
    let mut reader = RowReader::new(format);
    let enough = || io::Error::from(io::ErrorKind::Interrupted);
    let read = reader.read(file, "", limit, &mut |_, row, _| {
        left -= usize::from(row.is_some() || format == SourceFormat::Lines);
        first = row.filter(&is_wanted);
        if first.is_some() || left == 0 { Err(enough()) } else { Ok(()) }
    });
    drop(read); // stopped on purpose, or nothing to read
    first
}
