//! The second pass: writes the rows.

use super::columns::Columns;
use super::input::{Input, Piece};
use super::reader::{Known, Reader, Visit};
use super::rows::{Rows, write_value};
use crate::fault::LeftOut;
use crate::scalar::csv_number;
use run_common::cli::out::Out;
use run_common::error::Error;
use run_common::pipeline::parts_in_order;
use run_common::spare::Spare;
use run_metrics::of_run;
use run_metrics::row::MetricRow;
use run_metrics::standing::Standing;
use std::io;

/// Bytes of rows to print at once; a little more is possible.
const PART: usize = 256 << 10;

/// Initial capacity for rows, in bytes.
const ROOM: usize = PART / 2;

/// Printed rows of a piece.
#[derive(Default)]
struct Written {
    rows: Rows,
    /// Lines that were not rows, and rows that later rows superseded.
    left_out: LeftOut,
}

/// Allocates memory for rows.
fn room(spare: &Spare<Rows>) -> Rows {
    spare.take(|| Rows::with_capacity(ROOM))
}

/// Prints the rows of the pieces; returns the number of lines and rows left out of each run.
pub(super) fn print(
    inputs: &[Input],
    pieces: &[Piece],
    columns: &Columns,
    out: &mut Out,
    fail: &mut dyn FnMut(usize, io::Error),
) -> Result<Vec<LeftOut>, Error> {
    out.bytes(&columns.header())?;
    let mut left_out = vec![LeftOut::default(); inputs.len()];
    let spare = Spare::<Rows>::default();
    let work = |reader: &mut Reader, piece: &Piece, hand_on: &mut dyn FnMut((usize, io::Result<Written>))| {
        let mut hand_on = |part| hand_on((piece.input, part));
        let last = write(piece, &inputs[piece.input], columns, &spare, reader, &mut hand_on);
        (piece.input, last)
    };
    let take = |(input, part): (usize, io::Result<Written>)| {
        match part {
            Ok(mut part) => {
                left_out[input].skipped += part.left_out.skipped;
                left_out[input].superseded += part.left_out.superseded;
                out.bytes(part.rows.bytes())?;
                if part.rows.bytes().len() <= 2 * PART {
                    part.rows.clear(); // more rows are rare
                    spare.put(part.rows);
                }
            }
            Err(error) => fail(input, error),
        }
        Ok(())
    };
    parts_in_order(pieces, Reader::default, work, take)?;
    Ok(left_out)
}

/// Writes the rows of a piece, in parts of a bounded size.
fn write(
    piece: &Piece,
    input: &Input,
    columns: &Columns,
    spare: &Spare<Rows>,
    reader: &mut Reader,
    send: &mut dyn FnMut(io::Result<Written>),
) -> io::Result<Written> {
    let mut part = Written { rows: room(spare), ..Written::default() };
    let mut number = piece.rows_before;
    let Some(lines) = &input.lines else {
        let counts = of_run::rows(&input.layout, &mut |row, _| {
            number += 1;
            write_row(&row, number, input, columns, &mut part.rows);
            hand_on(&mut part, spare, send);
        })?;
        part.left_out = counts.into();
        return Ok(part);
    };
    let epochs = !input.has_parts_of_epochs;
    let mut superseded = 0;
    let skipped = reader.rows(lines, piece, None, &mut |offset, line| {
        number += 1;
        let is_superseded = |standing: Option<Standing>| {
            standing.is_some_and(|standing| input.starts.supersede_at(lines.origin(offset), &standing))
        };
        match line {
            Visit::Plain(known, spans, buffer) => {
                if piece.may_be_superseded && is_superseded(known.standing(spans, buffer)) {
                    superseded += 1;
                    return;
                }
                part.rows.append(&input.field);
                match known.step(spans, epochs) {
                    Some(at) => write_value(&spans[at], buffer, &mut part.rows),
                    None => {
                        part.rows.append(format!(",{number}").as_bytes());
                    }
                }
                let Known { plan, template, .. } = known;
                plan.get_or_insert_with(|| columns.plan(template)).write(spans, buffer, &mut part.rows);
            }
            Visit::Odd(row) => {
                if piece.may_be_superseded && is_superseded(row.standing()) {
                    superseded += 1;
                    return;
                }
                let row = if epochs { row } else { row.without_epoch() };
                write_row(&row, number, input, columns, &mut part.rows);
            }
        }
        hand_on(&mut part, spare, send);
    })?;
    (part.left_out.skipped, part.left_out.superseded) = (skipped, superseded);
    Ok(part)
}

/// Writes a row that was parsed in full.
fn write_row(row: &MetricRow, number: u64, input: &Input, columns: &Columns, into: &mut Rows) {
    let step = row.step().map_or_else(|| number.to_string(), |(_, step)| csv_number(step));
    let mut line = input.field.clone();
    line.push(b',');
    columns.write_row(row, &step, &mut line);
    into.append(&line);
}

/// Sends rows once there are many: with thousands of columns, a short line is a long row.
fn hand_on(part: &mut Written, spare: &Spare<Rows>, send: &mut dyn FnMut(io::Result<Written>)) {
    if part.rows.len() > PART {
        send(Ok(std::mem::replace(part, Written { rows: room(spare), ..Written::default() })));
    }
}
