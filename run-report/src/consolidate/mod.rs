//! Every metric row of every run as one CSV. Its header names every column, so a first pass finds the
//! columns, and a second writes. Files are read in pieces, by two threads, so that memory does not grow
//! with the rows.

mod line;
mod look;
mod reader;
mod table;
mod write;

use crate::runs::{Fault, Run, Runs};
use run_common::cli::out::Out;
use run_common::error::{Error, Exit};
use run_common::rundir::layout::Layout;
use run_metrics::attempts::Attempts;
use run_metrics::csv::quote;
use run_metrics::of_run;
use run_metrics::source::SourceFormat;
use run_metrics::supersede::{FirstSteps, RowOrigin};
use std::fs;
use std::io;
use std::path::PathBuf;

/// Bytes of a file that are read at once, and the rest of their last line.
const PIECE: u64 = 256 << 10;

/// A piece of a file of lines, or all rows of a run.
#[derive(Clone, Copy, Debug)]
struct Piece {
    /// Number of the run.
    input: usize,
    start: u64,
    end: u64,
    /// Rows of the run before the piece, once they were counted.
    rows_before: u64,
}

/// A run whose rows are consolidated.
struct Input {
    /// Its name, as a field of CSV.
    field: Vec<u8>,
    layout: Layout,
    /// The file of JSON lines, and where attempts after the first began in it; none for rows of
    /// another format.
    lines: Option<(PathBuf, Vec<u64>)>,
    /// Length of that file; what comes later is not read.
    length: u64,
    /// What the attempts began with.
    starts: FirstSteps,
}

impl Input {
    fn of(run: &Run) -> Self {
        let layout = run.seen.run.layout().clone();
        let mut field = Vec::new();
        quote(run.name.as_bytes(), &mut field);
        let lines = lines_of(&layout);
        let length = lines.as_ref().map_or(Ok(1), |(path, _)| fs::metadata(path).map(|file| file.len()));
        let length = length.unwrap_or_default(); // it is gone, and has no rows
        Self { field, layout, lines, length, starts: FirstSteps::default() }
    }

    /// Returns the attempt of what is at an offset.
    fn origin(&self, offset: u64) -> RowOrigin {
        let boundaries = self.lines.iter().flat_map(|(_, boundaries)| boundaries);
        RowOrigin { attempt: boundaries.filter(|&&start| start <= offset).count(), track: 0 }
    }

    fn pieces(&self, input: usize) -> impl Iterator<Item = Piece> {
        let starts = (0..self.length).step_by(usize::try_from(PIECE).unwrap_or(usize::MAX));
        starts.map(move |start| Piece { input, start, end: (start + PIECE).min(self.length), rows_before: 0 })
    }
}

/// Prints the rows of the runs.
pub(crate) fn print(runs: &Runs, out: &mut Out) -> Result<Exit, Error> {
    let mut inputs: Vec<Input> = runs.all.iter().map(Input::of).collect();
    let mut errors: Vec<Option<io::Error>> = inputs.iter().map(|_| None).collect();
    let mut fail = |input: usize, error| {
        errors[input].get_or_insert(error); // once, however many pieces it has
    };
    let mut pieces: Vec<Piece> =
        inputs.iter().enumerate().flat_map(|(number, input)| input.pieces(number)).collect();
    let columns = look::columns(&mut inputs, &mut pieces, &mut fail);
    let skipped = write::print(&inputs, &pieces, columns, out, &mut fail)?;
    // Not before: stderr may be the file that is printed to.
    let mut exit = runs.exit;
    for ((input, error), skipped) in inputs.iter().zip(errors).zip(skipped) {
        let root = input.layout.root();
        let faults = [error.and_then(|error| Fault::of(root, Err(error))), Fault::of(root, Ok(skipped))];
        exit = faults.iter().flatten().fold(exit, |exit, fault| exit.max(fault.say()));
    }
    Ok(exit)
}

/// Finds the file of JSON lines of a run that keeps its metrics in one.
fn lines_of(layout: &Layout) -> Option<(PathBuf, Vec<u64>)> {
    let source = of_run::source(layout).filter(|source| source.format() == SourceFormat::Lines)?;
    let path = source.paths().next()?.to_owned();
    let name = path.file_name()?.to_string_lossy().into_owned();
    let boundaries = Attempts::read(layout).map(|attempts| attempts.offsets(&name));
    Some((path, boundaries.unwrap_or_default()))
}
