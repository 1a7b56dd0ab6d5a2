//! The input: the runs, and the pieces of their files.

use crate::run::Run;
use crate::scalar::Scalar;
use run_common::rundir::layout::Layout;
use run_common::rundir::recorded::Recorded;
use run_metrics::csv::quote;
use run_metrics::of_run;
use run_metrics::resumptions::Resumptions;
use run_metrics::supersede::{FirstSteps, RowOrigin};
use std::fs;
use std::path::PathBuf;

/// Size of a piece of a file, in bytes; the rest of its last line is read, too.
const PIECE: u64 = 256 << 10;

/// A piece of a file of lines, or all rows of a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    /// Number of the run.
    pub(super) input: usize,
    pub(super) start: u64,
    pub(super) end: u64,
    /// Number of the run's rows before the piece, once counted.
    pub(super) rows_before: u64,
    /// Later rows may supersede some of it.
    pub(super) may_be_superseded: bool,
}

impl Piece {
    pub(super) fn of(input: usize, start: u64, end: u64) -> Self {
        Self { input, start, end, rows_before: 0, may_be_superseded: false }
    }
}

/// A run to consolidate.
pub(super) struct Input {
    /// Its name and its settings, as fields of CSV.
    pub(super) field: Vec<u8>,
    pub(super) layout: Layout,
    /// The file of JSON lines; `None` for another format.
    pub(super) lines: Option<LinesFile>,
    /// Where the steps of rows restarted, and with which values.
    pub(super) starts: FirstSteps,
    /// Some epochs are fractions, so epochs do not count as steps.
    pub(super) has_parts_of_epochs: bool,
}

/// A file of JSON lines.
pub(super) struct LinesFile {
    pub(super) path: PathBuf,
    /// Its length at the beginning. Later rows are not read: the second pass could find columns that the
    /// first pass has not seen.
    pub(super) length: u64,
    /// Where later attempts began in the file.
    pub(super) boundaries: Vec<u64>,
}

impl Input {
    /// Creates the input of a run with these settings.
    pub(super) fn of<'a>(run: &Run, settings: impl Iterator<Item = &'a Scalar>) -> Self {
        let layout = run.seen.run.layout().clone();
        let mut field = Vec::new();
        quote(run.name.as_bytes(), &mut field);
        for value in settings {
            field.push(b',');
            value.write_csv(&mut field);
        }
        let lines = LinesFile::of(&layout, &run.seen.recorded);
        Self { field, layout, lines, starts: FirstSteps::default(), has_parts_of_epochs: false }
    }

    /// Cuts the file into pieces, each of one attempt.
    pub(super) fn pieces(&self, input: usize) -> impl Iterator<Item = Piece> {
        let length = self.lines.as_ref().map_or(1, |lines| lines.length);
        let mut boundaries = self.lines.as_ref().map(|lines| lines.boundaries.clone()).unwrap_or_default();
        boundaries.sort_unstable();
        let mut start = 0;
        std::iter::from_fn(move || {
            let next = boundaries.get(boundaries.partition_point(|&boundary| boundary <= start));
            let end = next.map_or(length, |&next| next).min(start + PIECE).min(length);
            let piece = (start < end).then(|| Piece::of(input, start, end));
            start = end;
            piece
        })
    }
}

impl LinesFile {
    /// Finds the file of a run, if its metrics are in a single file.
    fn of(layout: &Layout, recorded: &Recorded) -> Option<Self> {
        let source = of_run::source_by(layout, Some(recorded))?;
        let path = source.plain_lines()?.to_owned();
        let length = match fs::metadata(&path) {
            Ok(file) if file.is_file() => file.len(),
            Err(_) if !path.is_symlink() => 0, // a missing file has no rows
            _ => return None,                  // the reader of all rows reports what it is
        };
        let boundaries = Resumptions::read(layout).map(|later| source.boundaries(&later));
        Some(Self { path, length, boundaries: boundaries.unwrap_or_default() })
    }

    /// Returns whether attempts may have repeated steps.
    pub(super) fn has_attempts(&self) -> bool {
        !self.boundaries.is_empty()
    }

    /// Returns the attempt that wrote the row at an offset.
    pub(super) fn origin(&self, offset: u64) -> RowOrigin {
        let begun = self.boundaries.iter().filter(|&&start| start <= offset);
        RowOrigin { attempt: begun.count(), track: 0, offset }
    }
}
