//! The second pass: the rows.

use super::columns::Columns;
use super::input::{Input, Piece};
use super::reader::{Known, Reader, Visit};
use super::rows::{Rows, write_value};
use crate::scalar::csv_number;
use run_common::cli::out::Out;
use run_common::error::Error;
use run_common::pipeline::parts_in_order;
use run_metrics::of_run;
use run_metrics::row::MetricRow;
use std::io;
use std::sync::{Mutex, PoisonError};

/// Bytes of rows that are printed at once, or somewhat more.
const PART: usize = 256 << 10;

/// Bytes of rows for which there is room at first.
const ROOM: usize = PART / 2;

/// Rows of a piece, as they are printed.
#[derive(Default)]
struct Written {
    rows: Rows,
    /// Lines that were none.
    skipped: u64,
}

/// Memory of rows that were printed, for others.
#[derive(Default)]
struct Spare(Mutex<Vec<Rows>>);

impl Spare {
    fn take(&self) -> Rows {
        let spare = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        spare.unwrap_or_else(|| Rows::with_capacity(ROOM))
    }

    fn put(&self, mut rows: Rows) {
        if rows.bytes().len() <= 2 * PART {
            rows.clear(); // what is longer is rare
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(rows);
        }
    }
}

/// Prints the rows of the pieces; returns how many lines of each run were none.
pub(super) fn print(
    inputs: &[Input],
    pieces: &[Piece],
    columns: Vec<String>,
    out: &mut Out,
    fail: &mut dyn FnMut(usize, io::Error),
) -> Result<Vec<u64>, Error> {
    let columns = Columns::new(columns);
    out.bytes(&columns.header())?;
    let mut skipped = vec![0; inputs.len()];
    let spare = Spare::default();
    let work = |reader: &mut Reader, piece: &Piece, hand_on: &mut dyn FnMut((usize, io::Result<Written>))| {
        let mut hand_on = |part| hand_on((piece.input, part));
        let last = write(piece, &inputs[piece.input], &columns, &spare, reader, &mut hand_on);
        (piece.input, last)
    };
    let take = |(input, part): (usize, io::Result<Written>)| {
        match part {
            Ok(part) => {
                skipped[input] += part.skipped;
                out.bytes(part.rows.bytes())?;
                spare.put(part.rows);
            }
            Err(error) => fail(input, error),
        }
        Ok(())
    };
    parts_in_order(pieces, Reader::default, work, take)?;
    Ok(skipped)
}

/// Writes the rows of a piece, in parts of a bounded size.
fn write(
    piece: &Piece,
    input: &Input,
    columns: &Columns,
    spare: &Spare,
    reader: &mut Reader,
    send: &mut dyn FnMut(io::Result<Written>),
) -> io::Result<Written> {
    let mut part = Written { rows: spare.take(), ..Written::default() };
    let mut number = piece.rows_before;
    let Some(lines) = &input.lines else {
        let counts = of_run::rows(&input.layout, &mut |row, _| {
            number += 1;
            write_row(&row, number, input, columns, &mut part.rows);
            hand_on(&mut part, spare, send);
        })?;
        part.skipped = counts.skipped;
        return Ok(part);
    };
    let skipped = reader.rows(lines, piece, None, &mut |offset, line| {
        number += 1;
        let is_superseded = |step: Option<(&'static str, f64)>| {
            step.is_some_and(|(key, step)| input.starts.supersede_step(lines.origin(offset), key, step))
        };
        match line {
            Visit::Plain(known, spans, buffer) => {
                if lines.has_attempts() && is_superseded(known.step(spans, buffer)) {
                    return;
                }
                part.rows.append(&input.field);
                match known.step_span(spans) {
                    Some((span, _)) => write_value(span, buffer, &mut part.rows),
                    None => {
                        part.rows.append(format!(",{number}").as_bytes());
                    }
                }
                let Known { plan, template, .. } = known;
                plan.get_or_insert_with(|| columns.plan(template)).write(spans, buffer, &mut part.rows);
            }
            Visit::Odd(row) => {
                if lines.has_attempts() && is_superseded(row.step()) {
                    return;
                }
                write_row(&row, number, input, columns, &mut part.rows);
            }
        }
        hand_on(&mut part, spare, send);
    })?;
    part.skipped = skipped;
    Ok(part)
}

/// Writes a row that is no plain line.
fn write_row(row: &MetricRow, number: u64, input: &Input, columns: &Columns, into: &mut Rows) {
    let step = row.step().map_or_else(|| number.to_string(), |(_, step)| csv_number(step));
    let mut line = input.field.clone();
    line.push(b',');
    columns.write_row(row, &step, &mut line);
    into.append(&line);
}

/// Sends rows when there are many of them: with thousands of columns a short line is a long row.
fn hand_on(part: &mut Written, spare: &Spare, send: &mut dyn FnMut(io::Result<Written>)) {
    if part.rows.len() > PART {
        send(Ok(std::mem::replace(part, Written { rows: spare.take(), ..Written::default() })));
    }
}
