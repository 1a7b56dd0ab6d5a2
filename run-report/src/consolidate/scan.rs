//! The first pass: scans for columns, and for rows that supersede others.

use super::columns::column;
use super::input::{Input, LinesFile, Piece};
use super::reader::{Ascent, Reader, Visit};
use run_common::pipeline::parts_in_order;
use run_metrics::of_run;
use run_metrics::standing::Standing;
use run_metrics::supersede::FirstSteps;
use std::collections::HashSet;
use std::convert::Infallible;
use std::io;

/// Names of columns that a thread has seen.
#[derive(Default)]
struct Names(HashSet<String>);

impl Names {
    /// Adds the new columns of some metrics to `into`.
    fn note<'a>(&mut self, metrics: impl Iterator<Item = &'a str>, into: &mut Vec<String>) {
        for column in metrics.filter_map(column) {
            if !self.0.contains(column) {
                self.0.insert(column.to_owned());
                into.push(column.to_owned());
            }
        }
    }
}

/// The result for a piece.
#[derive(Default)]
struct Scanned {
    /// Names of columns that were new to this thread.
    columns: Vec<String>,
    rows: u64,
    ascent: Ascent,
    error: Option<io::Error>,
}

/// Scans the rows of some pieces: finds their columns, in the order of first appearance, counts rows, and
/// determines which rows supersede others.
pub(super) fn columns(
    inputs: &mut [Input],
    pieces: &mut [Piece],
    fail: &mut dyn FnMut(usize, io::Error),
) -> Vec<String> {
    let mut all = Vec::new();
    let mut known = HashSet::new();
    let mut rows = vec![0; inputs.len()];
    let mut ascents: Vec<Ascent> = inputs.iter().map(|_| Ascent::default()).collect();
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
        ascents[input].extend(found.ascent);
        if let Some(error) = found.error {
            fail(input, error);
        }
        Ok(())
    };
    let Ok(()) = parts_in_order(&*pieces, state, work, take);
    for (piece, rows_before) in pieces.iter_mut().zip(counted) {
        piece.rows_before = rows_before;
    }
    find_starts(inputs, &ascents, fail);
    all
}

fn scan(piece: &Piece, input: &Input, reader: &mut Reader, names: &mut Names) -> Scanned {
    let mut scanned = Scanned::default();
    let Scanned { columns, rows, ascent, error } = &mut scanned;
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
    let read = reader.rows(lines, piece, Some(ascent), &mut |_, line| {
        *rows += 1;
        match line {
            Visit::Plain(known, ..) => {
                if !known.is_noted {
                    known.is_noted = true;
                    names.note(known.template.keys.iter().map(String::as_str), columns);
                }
            }
            Visit::Odd(row) => names.note(row.fields().map(|(name, _)| name), columns),
        }
    });
    *rows += ascent.skipped;
    *error = read.err();
    scanned
}

/// Finds where the steps of rows restarted in a file, unless the rows are plainly in order. Pieces are read
/// one after another, because the meaning of a row depends on earlier rows.
fn find_starts(inputs: &mut [Input], ascents: &[Ascent], fail: &mut dyn FnMut(usize, io::Error)) {
    let may_repeat = |(number, ascent): (usize, &Ascent)| {
        let has_attempts = inputs[number].lines.as_ref().is_some_and(LinesFile::has_attempts);
        (has_attempts || ascent.is_broken).then_some(number)
    };
    let wanted: Vec<usize> = ascents.iter().enumerate().filter_map(may_repeat).collect();
    let given: &[Input] = inputs;
    let work = |reader: &mut Reader, number: &usize, _: &mut dyn FnMut((usize, io::Result<Starts>))| {
        (*number, starts(&given[*number], *number, reader))
    };
    let mut found = Vec::new();
    let take = |(number, starts): (usize, io::Result<Starts>)| -> Result<(), Infallible> {
        match starts {
            Ok(starts) => found.push((number, starts)),
            Err(error) => fail(number, error),
        }
        Ok(())
    };
    let Ok(()) = parts_in_order(&wanted, Reader::default, work, take);
    for (number, starts) in found {
        inputs[number].starts = starts.first_steps;
        inputs[number].has_parts_of_epochs = starts.has_parts_of_epochs;
    }
}

/// The result for a file.
#[derive(Default)]
struct Starts {
    first_steps: FirstSteps,
    has_parts_of_epochs: bool,
}

fn starts(input: &Input, number: usize, reader: &mut Reader) -> io::Result<Starts> {
    let mut found = Starts::default();
    let Some(lines) = &input.lines else { return Ok(found) };
    for piece in input.pieces(number) {
        reader.rows(lines, &piece, None, &mut |offset, line| {
            let mut note = |standing: Option<Standing>| {
                if let Some(standing) = standing {
                    found.has_parts_of_epochs |= standing.is_part_of_epoch();
                    found.first_steps.note_at(lines.origin(offset), &standing);
                }
            };
            match line {
                Visit::Plain(known, spans, buffer) => note(known.standing(spans, buffer)),
                Visit::Odd(row) => note(row.standing()),
            }
        })?;
    }
    Ok(found)
}
