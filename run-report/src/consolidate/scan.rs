//! The first pass: the scan for the columns, and for what attempts began with.

use super::columns::column;
use super::input::{Input, Piece};
use super::reader::{Reader, Visit};
use run_common::pipeline::parts_in_order;
use run_metrics::of_run;
use run_metrics::supersede::FirstSteps;
use std::collections::HashSet;
use std::convert::Infallible;
use std::io;

/// Names of columns that a thread has seen.
#[derive(Default)]
struct Names(HashSet<String>);

impl Names {
    /// Adds the columns of some metrics to `into` that were not seen before.
    fn note<'a>(&mut self, metrics: impl Iterator<Item = &'a str>, into: &mut Vec<String>) {
        for column in metrics.filter_map(column) {
            if !self.0.contains(column) {
                self.0.insert(column.to_owned());
                into.push(column.to_owned());
            }
        }
    }
}

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
    let state = || (Reader::default(), Names::default());
    let work = |(reader, names): &mut (Reader, Names), piece: &Piece, _: &mut dyn FnMut((usize, Scanned))| {
        (piece.input, scan(piece, &given[piece.input], reader, names))
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
    let Ok(()) = parts_in_order(&*pieces, state, work, take);
    for (piece, rows_before) in pieces.iter_mut().zip(counted) {
        piece.rows_before = rows_before;
    }
    for (input, starts) in inputs.iter_mut().zip(starts) {
        input.starts = starts;
    }
    all
}

fn scan(piece: &Piece, input: &Input, reader: &mut Reader, names: &mut Names) -> Scanned {
    let mut scanned = Scanned::default();
    let Scanned { columns, rows, starts, error } = &mut scanned;
    let Some(lines) = &input.lines else {
        let counts = of_run::rows(&input.layout, &mut |row, _| {
            names.note(row.fields().map(|(name, _)| name), columns);
        });
        match counts {
            Ok(counts) => *rows = counts.rows,
            Err(failed) => *error = Some(failed),
        }
        return scanned;
    };
    let mut skipped = 0;
    let skips = (!lines.has_attempts()).then_some(&mut skipped);
    let read = reader.rows(lines, piece, skips, &mut |offset, line| {
        *rows += 1;
        let step = match line {
            Visit::Plain(known, spans, buffer) => {
                if !known.is_noted {
                    known.is_noted = true;
                    names.note(known.template.keys.iter().map(String::as_str), columns);
                }
                if lines.has_attempts() { known.step(spans, buffer) } else { None }
            }
            Visit::Odd(row) => {
                names.note(row.fields().map(|(name, _)| name), columns);
                row.step().filter(|_| lines.has_attempts())
            }
        };
        if let Some((key, step)) = step {
            starts.note_step(lines.origin(offset), key, step);
        }
    });
    *rows += skipped;
    *error = read.err();
    scanned
}
