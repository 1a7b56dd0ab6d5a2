//! The first pass: scans for columns, and for rows that supersede others.

use super::columns::column;
use super::input::{Input, LinesFile, Piece};
use super::order::{Ascent, Found, Skim};
use super::reader::{Reader, Visit};
use run_common::pipeline::parts_in_order;
use run_metrics::of_run;
use run_metrics::standing::Standing;
use run_metrics::supersede::FirstSteps;
use run_metrics::turns::Noted;
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
    order: Option<Found>,
    error: Option<io::Error>,
}

/// What is known of the order of the rows of an input.
#[derive(Default)]
struct InputOrder {
    ascent: Ascent,
    starts: FirstSteps,
    has_parts_of_epochs: bool,
}

impl InputOrder {
    /// Takes what need be noted of the next piece; returns its greatest rows.
    fn take(&mut self, lines: Option<&LinesFile>, noted: Noted) -> Option<Vec<Standing>> {
        let lines = lines?;
        for (offset, standing) in noted.rows {
            self.starts.note_at(lines.origin(offset), &standing);
        }
        self.has_parts_of_epochs |= noted.has_parts_of_epochs;
        noted.greatest
    }
}

/// Goes through the rows of some pieces for their columns, in the order in which they first appear.
/// Counts rows, and finds out which supersede others.
pub(super) fn columns(
    inputs: &mut [Input],
    pieces: &mut [Piece],
    fail: &mut dyn FnMut(usize, io::Error),
) -> Vec<String> {
    let mut all = Vec::new();
    let mut known = HashSet::new();
    let mut rows = vec![0; inputs.len()];
    let mut orders: Vec<InputOrder> = inputs.iter().map(|_| InputOrder::default()).collect();
    let mut counted = Vec::with_capacity(pieces.len());
    let mut greatest = Vec::with_capacity(pieces.len());
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
        greatest.push(match found.order {
            Some(Found::Turns(noted)) => orders[input].take(given[input].lines.as_ref(), noted),
            Some(Found::Ascent(ascent)) => {
                orders[input].ascent.extend(ascent);
                None
            }
            None => None,
        });
        if let Some(error) = found.error {
            fail(input, error);
        }
        Ok(())
    };
    let Ok(()) = parts_in_order(&*pieces, state, work, take);
    look_again(given, pieces, &mut orders, &mut greatest, fail);
    for ((piece, rows_before), greatest) in pieces.iter_mut().zip(counted).zip(greatest) {
        piece.rows_before = rows_before;
        let (input, starts) = (&inputs[piece.input], &orders[piece.input].starts);
        piece.may_be_superseded = starts.may_supersede()
            && input.lines.as_ref().is_some_and(|lines| {
                let start = lines.origin(piece.start);
                greatest.is_none_or(|greatest| greatest.iter().any(|row| starts.supersede_at(start, row)))
            });
    }
    for (input, order) in inputs.iter_mut().zip(orders) {
        input.starts = order.starts;
        input.has_parts_of_epochs = order.has_parts_of_epochs;
    }
    all
}

fn scan(piece: &Piece, input: &Input, reader: &mut Reader, names: &mut Names) -> Scanned {
    let mut scanned = Scanned::default();
    let Scanned { columns, rows, order, error } = &mut scanned;
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
    let mut skim = if lines.has_attempts() { Skim::for_turns() } else { Skim::for_ascent() };
    let read = reader.rows(lines, piece, Some(&mut skim), &mut |_, line| {
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
    *rows += skim.skipped;
    *order = Some(skim.finish());
    *error = read.err();
    scanned
}

/// Looks once more at files that one attempt wrote, but not plainly in order: something in it may have begun anew.
fn look_again(
    inputs: &[Input],
    pieces: &[Piece],
    orders: &mut [InputOrder],
    greatest: &mut [Option<Vec<Standing>>],
    fail: &mut dyn FnMut(usize, io::Error),
) {
    let is_wanted = |(_, piece): &(usize, &Piece)| orders[piece.input].ascent.is_broken;
    let wanted: Vec<(usize, &Piece)> = pieces.iter().enumerate().filter(is_wanted).collect();
    let work = |reader: &mut Reader, (number, piece): &(usize, &Piece), _: &mut dyn FnMut(_)| {
        let mut skim = Skim::for_turns();
        let read = match &inputs[piece.input].lines {
            Some(lines) => reader.rows(lines, piece, Some(&mut skim), &mut |_, line| {
                if let Visit::Plain(known, ..) = line {
                    known.is_noted = true;
                }
            }),
            None => Ok(0),
        };
        (*number, piece.input, read.map(|_| skim.finish()))
    };
    let take = |(number, input, found): (usize, usize, io::Result<Found>)| -> Result<(), Infallible> {
        match found {
            Ok(Found::Turns(noted)) => {
                greatest[number] = orders[input].take(inputs[input].lines.as_ref(), noted);
            }
            Ok(Found::Ascent(_)) => {}
            Err(error) => fail(input, error),
        }
        Ok(())
    };
    let Ok(()) = parts_in_order(&wanted, Reader::default, work, take);
}
