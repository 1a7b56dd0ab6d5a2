//! Every metric row of every run as one CSV. Its header names every column, so one pass finds the
//! columns, and a second writes. When stdout is a file, the first looks at samples of the files alone:
//! should a row have other columns, what was printed is taken back, and both passes look at all. Files
//! are read in pieces, by two threads, so that memory does not grow with the rows.

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

/// Bytes at the begin, in the middle and at the end of a file that are looked at for its columns.
const SAMPLE: u64 = 32 << 10;

/// A piece of a file of lines, or all rows of a run.
#[derive(Clone, Copy, Debug)]
struct Piece {
    /// Number of the run.
    input: usize,
    start: u64,
    end: u64,
    /// Rows of the run before the piece; none, when they were not counted.
    rows_before: Option<u64>,
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

    /// Returns all of it.
    fn pieces(&self, input: usize) -> Vec<Piece> {
        let starts = (0..self.length).step_by(usize::try_from(PIECE).unwrap_or(usize::MAX));
        starts.map(|start| piece(input, start, (start + PIECE).min(self.length))).collect()
    }

    /// Returns the pieces that are looked at first: all, when more than columns is to be known.
    fn samples(&self, input: usize) -> Vec<Piece> {
        let is_plain = self.lines.as_ref().is_some_and(|(_, boundaries)| boundaries.is_empty());
        if !is_plain || self.length <= 3 * SAMPLE {
            return self.pieces(input);
        }
        let starts = [0, (self.length - SAMPLE) / 2, self.length - SAMPLE];
        starts.map(|start| piece(input, start, start + SAMPLE)).into()
    }
}

fn piece(input: usize, start: u64, end: u64) -> Piece {
    Piece { input, start, end, rows_before: (start == 0).then_some(0) }
}

/// Prints the rows of the runs.
pub(crate) fn print(runs: &Runs, out: &mut Out) -> Result<Exit, Error> {
    let mut inputs: Vec<Input> = runs.all.iter().map(Input::of).collect();
    let mut errors: Vec<Option<io::Error>> = inputs.iter().map(|_| None).collect();
    let mut fail = |input: usize, error| {
        errors[input].get_or_insert(error); // once, however many pieces it has
    };
    let of_each = |inputs: &[Input], which: fn(&Input, usize) -> Vec<Piece>| -> Vec<Piece> {
        inputs.iter().enumerate().flat_map(|(number, input)| which(input, number)).collect()
    };
    let mut pieces = of_each(&inputs, Input::pieces);
    let mut printed = None;
    if let Some(mark) = out.mark()? {
        let mut samples = of_each(&inputs, Input::samples);
        let columns = look::columns(&mut inputs, &mut samples, &mut fail);
        let tried = write::print(&inputs, &pieces, columns, true, out, &mut fail)?;
        if tried.is_right {
            printed = Some(tried);
        } else {
            out.take_back(mark, tried.bytes)?;
        }
    }
    let printed = match printed {
        Some(printed) => printed,
        None => {
            let columns = look::columns(&mut inputs, &mut pieces, &mut fail);
            write::print(&inputs, &pieces, columns, false, out, &mut fail)?
        }
    };
    // Not before: stderr may be the file that is printed to.
    let mut exit = runs.exit;
    for ((input, error), skipped) in inputs.iter().zip(errors).zip(printed.skipped) {
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
