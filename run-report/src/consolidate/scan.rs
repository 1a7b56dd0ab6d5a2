//! The first pass: the scan for the columns, and for what attempts began with.

use super::input::{Input, Piece};
use super::reader::{Reader, Visit};
use run_common::pipeline::parts_in_order;
use run_metrics::of_run;
use run_metrics::supersede::FirstSteps;
use std::collections::HashSet;
use std::convert::Infallible;
use std::io;

/// What is found in a piece.
#[derive(Default)]
struct Scanned {
    /// Names of columns that this thread had not seen before.
    columns: Vec<String>,
    rows: u64,
    starts: FirstSteps,
    error: Option<io::Error>,
}

/// Goes through the rows of some pieces for their columns, in the order in which they first appear.
/// Counts rows, and takes note of what attempts began with.
pub(super) fn columns(
    inputs: &mut [Input],
    pieces: &mut [Piece],
    fail: &mut dyn FnMut(usize, io::Error),
) -> Vec<String> {
    let mut all = Vec::new();
    let mut known = HashSet::new();
    let mut rows = vec![0; inputs.len()];
    let mut starts: Vec<FirstSteps> = vec![FirstSteps::default(); inputs.len()];
    let mut counted = Vec::with_capacity(pieces.len());
    let given: &[Input] = inputs;
    let work = |reader: &mut Reader, piece: &Piece, _: &mut dyn FnMut((usize, Scanned))| {
        (piece.input, scan(piece, &given[piece.input], reader))
    };
    let take = |(input, found): (usize, Scanned)| -> Result<(), Infallible> {
        for column in found.columns {
            if known.insert(column.clone()) {
                all.push(column);
            }
        }
        counted.push(rows[input]);
        rows[input] += found.rows;
        starts[input].extend(&found.starts);
        if let Some(error) = found.error {
            fail(input, error);
        }
        Ok(())
    };
    let Ok(()) = parts_in_order(&*pieces, Reader::default, work, take);
    for (piece, rows_before) in pieces.iter_mut().zip(counted) {
        piece.rows_before = rows_before;
    }
    for (input, starts) in inputs.iter_mut().zip(starts) {
        input.starts = starts;
    }
    all
}

fn scan(piece: &Piece, input: &Input, reader: &mut Reader) -> Scanned {
    let mut found = Scanned::default();
    let Some((path, boundaries)) = &input.lines else {
        let counts = of_run::rows(&input.layout, &mut |row, _| {
            reader.names.note(row.fields().map(|(name, _)| name), &mut found.columns);
        });
        match counts {
            Ok(counts) => found.rows = counts.rows,
            Err(error) => found.error = Some(error),
        }
        return found;
    };
    let (mut columns, mut rows, mut starts) = (Vec::new(), 0, FirstSteps::default());
    let mut passed = 0;
    let skips = boundaries.is_empty().then_some(&mut passed);
    let read = reader.rows(path, piece.start, piece.end, skips, &mut |names, offset, line| {
        rows += 1;
        let mut begin = |step: Option<(&'static str, f64)>| {
            if let (false, Some((key, step))) = (boundaries.is_empty(), step) {
                starts.note_step(input.origin(offset), key, step);
            }
        };
        match line {
            Visit::Plain(known, spans, buffer) => {
                known.note(names, &mut columns);
                if !boundaries.is_empty() {
                    begin(known.step(spans, buffer));
                }
            }
            Visit::Odd(row) => {
                names.note(row.fields().map(|(name, _)| name), &mut columns);
                begin(row.step());
            }
        }
    });
    (found.columns, found.rows, found.starts) = (columns, rows + passed, starts);
    found.error = read.err();
    found
}
