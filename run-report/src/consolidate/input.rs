//! What is read: the runs, and the pieces of their files.

use crate::run::Run;
use run_common::rundir::layout::Layout;
use run_metrics::attempts::Attempts;
use run_metrics::csv::quote;
use run_metrics::of_run;
use run_metrics::source::SourceFormat;
use run_metrics::supersede::{FirstSteps, RowOrigin};
use std::fs;
use std::path::PathBuf;

/// Bytes of a file that are read at once, and the rest of their last line.
const PIECE: u64 = 256 << 10;

/// A piece of a file of lines, or all rows of a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    /// Number of the run.
    pub(super) input: usize,
    pub(super) start: u64,
    pub(super) end: u64,
    /// Rows of the run before the piece, once they were counted.
    pub(super) rows_before: u64,
}

/// A run whose rows are consolidated.
pub(super) struct Input {
    /// Its name, as a field of CSV.
    pub(super) field: Vec<u8>,
    pub(super) layout: Layout,
    /// The file of JSON lines, and where attempts after the first began in it; none for rows of
    /// another format.
    pub(super) lines: Option<(PathBuf, Vec<u64>)>,
    /// Length of that file; what comes later is not read.
    length: u64,
    /// What the attempts began with.
    pub(super) starts: FirstSteps,
}

impl Input {
    pub(super) fn of(run: &Run) -> Self {
        let layout = run.seen.run.layout().clone();
        let mut field = Vec::new();
        quote(run.name.as_bytes(), &mut field);
        let lines = lines_of(&layout);
        let length = lines.as_ref().map_or(Ok(1), |(path, _)| fs::metadata(path).map(|file| file.len()));
        let length = length.unwrap_or_default(); // it is gone, and has no rows
        Self { field, layout, lines, length, starts: FirstSteps::default() }
    }

    /// Returns the attempt of what is at an offset.
    pub(super) fn origin(&self, offset: u64) -> RowOrigin {
        let boundaries = self.lines.iter().flat_map(|(_, boundaries)| boundaries);
        RowOrigin { attempt: boundaries.filter(|&&start| start <= offset).count(), track: 0 }
    }

    /// Cuts the file into pieces.
    pub(super) fn pieces(&self, input: usize) -> impl Iterator<Item = Piece> {
        let starts = (0..self.length).step_by(usize::try_from(PIECE).unwrap_or(usize::MAX));
        starts.map(move |start| Piece { input, start, end: (start + PIECE).min(self.length), rows_before: 0 })
    }
}

/// Finds the file of JSON lines of a run that keeps its metrics in one.
fn lines_of(layout: &Layout) -> Option<(PathBuf, Vec<u64>)> {
    let source = of_run::source(layout).filter(|source| source.format() == SourceFormat::Lines)?;
    let path = source.paths().next()?.to_owned();
    let name = path.file_name()?.to_string_lossy().into_owned();
    let boundaries = Attempts::read(layout).map(|attempts| attempts.offsets(&name));
    Some((path, boundaries.unwrap_or_default()))
}
