//! Every metric row of every run as one CSV. Two passes: the first finds the columns, the second
//! writes. Both read long files in pieces, by two threads, so that memory does not grow with the
//! rows.

mod line;
mod reader;
mod table;

use crate::runs::{Fault, Runs};
use crate::sheet::{csv_field, csv_number};
use reader::{Known, Reader, Visit};
use run_common::cli::out::Out;
use run_common::error::{Error, Exit};
use run_common::metrics::attempts::Attempts;
use run_common::metrics::row::Row;
use run_common::metrics::source::Format;
use run_common::metrics::supersede::{Place, Starts};
use run_common::rundir::layout::Layout;
use run_common::rundir::metrics;
use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;
use table::{Rows, Table};

/// Threads that read.
const THREADS: usize = 2;

/// Bytes of a file that are read at once, and the rest of their last line.
const PIECE: usize = 256 << 10;

/// Bytes of rows for which there is room at first: a line has its keys too.
const ROOM: usize = PIECE / 2;

/// Parts that a thread may be ahead of what was printed.
const AHEAD: usize = 8;

/// A run whose rows are consolidated.
struct Input {
    /// Its name, as a field of CSV.
    field: Vec<u8>,
    layout: Layout,
    /// The file of JSON lines, and where attempts after the first began in it; none for rows of
    /// another format.
    lines: Option<(PathBuf, Vec<u64>)>,
    /// What the attempts began with.
    starts: Starts,
}

/// A part of the work: a piece of a file of lines, or all rows of a run.
#[derive(Clone, Copy, Debug)]
struct Piece {
    input: usize,
    start: u64,
    end: u64,
    /// Rows of the run before the piece.
    rows_before: u64,
}

/// Rows as they are printed.
#[derive(Default)]
struct Part {
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
        if rows.bytes().len() <= 2 * PIECE {
            rows.clear(); // what is longer is rare
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(rows);
        }
    }
}

/// What the first pass finds in a piece.
#[derive(Default)]
struct Found {
    /// Names of columns that this thread had not seen before.
    columns: Vec<String>,
    rows: u64,
    starts: Starts,
    error: Option<io::Error>,
}

/// Prints the rows of the runs.
pub(crate) fn print(runs: &Runs, out: &mut Out) -> Result<Exit, Error> {
    let mut exit = runs.exit;
    let mut inputs = Vec::new();
    let mut pieces = Vec::new();
    for run in &runs.all {
        let layout = run.seen.run.layout().clone();
        let mut field = Vec::new();
        csv_field(&run.name, &mut field);
        let lines = lines_of(&layout);
        let length = lines.as_ref().map_or(Ok(1), |(path, _)| fs::metadata(path).map(|file| file.len()));
        let length = length.unwrap_or_default(); // it is gone, and has no rows
        let size = if lines.is_some() { PIECE as u64 } else { length };
        let starts = (0..length).step_by(usize::try_from(size.max(1)).unwrap_or(usize::MAX));
        let input = inputs.len();
        pieces.extend(starts.map(|start| Piece {
            input,
            start,
            end: (start + size).min(length),
            rows_before: 0,
        }));
        inputs.push(Input { field, layout, lines, starts: Starts::default() });
    }
    let mut unread = vec![false; inputs.len()];
    let mut fail = |input: usize, inputs: &[Input], error| {
        if let (Some(fault), false) = (Fault::of(inputs[input].layout.root(), Err(error)), unread[input]) {
            exit = exit.max(fault.say()); // once, however many pieces it has
            unread[input] = true;
        }
    };
    let columns = columns(&mut inputs, &mut pieces, &mut fail);
    let table = Table::new(columns);
    out.bytes(&table.header())?;
    let mut failed = None;
    let mut skipped = vec![0; inputs.len()];
    let spare = Spare::default();
    let work = |piece: &Piece, reader: &mut Reader, send: &mut dyn FnMut(io::Result<Part>)| {
        write(piece, &inputs[piece.input], &table, &spare, reader, send)
    };
    in_turn(&pieces, work, |message: io::Result<Part>, piece| match message {
        Ok(Part { rows, skipped: none }) => match out.bytes(rows.bytes()) {
            Ok(()) => {
                spare.put(rows);
                skipped[piece.input] += none;
                true
            }
            Err(error) => {
                failed = Some(error);
                false
            }
        },
        Err(error) => {
            fail(piece.input, &inputs, error);
            true
        }
    });
    for (input, skipped) in inputs.iter().zip(skipped) {
        if let Some(fault) = Fault::of(input.layout.root(), Ok(skipped)) {
            fault.say();
        }
    }
    failed.map_or(Ok(exit), Err)
}

/// Finds the file of JSON lines of a run that keeps its metrics in one.
fn lines_of(layout: &Layout) -> Option<(PathBuf, Vec<u64>)> {
    let source = metrics::source(layout).filter(|source| source.format() == Format::Lines)?;
    let path = source.files().next()?.to_owned();
    let name = path.file_name()?.to_string_lossy().into_owned();
    let boundaries = Attempts::read(&layout.attempts()).map(|attempts| attempts.offsets(&name));
    Some((path, boundaries.unwrap_or_default()))
}

/// Goes through all rows for their columns, in the order in which they first appear. Counts rows,
/// and takes note of what attempts began with.
fn columns(
    inputs: &mut [Input],
    pieces: &mut [Piece],
    fail: &mut dyn FnMut(usize, &[Input], io::Error),
) -> Vec<String> {
    let mut all = Vec::new();
    let mut known = HashSet::new();
    let mut rows = vec![0; inputs.len()];
    let mut starts: Vec<Starts> = vec![Starts::default(); inputs.len()];
    let mut counted = Vec::with_capacity(pieces.len());
    let given: &[Input] = inputs;
    let work = |piece: &Piece, reader: &mut Reader, _: &mut dyn FnMut(Found)| {
        look(piece, &given[piece.input], reader)
    };
    let take = |found: Found, piece: &Piece| {
        for column in found.columns {
            if known.insert(column.clone()) {
                all.push(column);
            }
        }
        counted.push(rows[piece.input]);
        rows[piece.input] += found.rows;
        starts[piece.input].extend(&found.starts);
        if let Some(error) = found.error {
            fail(piece.input, given, error);
        }
        true
    };
    in_turn(pieces, work, take);
    for (piece, rows_before) in pieces.iter_mut().zip(counted) {
        piece.rows_before = rows_before;
    }
    for (input, starts) in inputs.iter_mut().zip(starts) {
        input.starts = starts;
    }
    all
}

/// Looks at a piece for the first pass.
fn look(piece: &Piece, input: &Input, reader: &mut Reader) -> Found {
    let mut found = Found::default();
    let note = |columns: &mut Vec<String>, name: &str| {
        if let Some(column) = table::column(name)
            && !columns.iter().any(|known| known == column)
        {
            columns.push(column.to_owned());
        }
    };
    let Some((path, boundaries)) = &input.lines else {
        let counts = metrics::rows(&input.layout, &mut |row, _| {
            row.cells().for_each(|(name, _)| note(&mut found.columns, name));
        });
        match counts {
            Ok(counts) => found.rows = counts.rows,
            Err(error) => found.error = Some(error),
        }
        return found;
    };
    let (mut columns, mut rows, mut starts) = (Vec::new(), 0, Starts::default());
    let mut passed = 0;
    let skips = boundaries.is_empty().then_some(&mut passed);
    let read = reader.rows(path, piece.start, piece.end, skips, &mut |offset, line| {
        rows += 1;
        let mut begin = |step: Option<(&'static str, f64)>| {
            if let (false, Some((key, step))) = (boundaries.is_empty(), step) {
                starts.note_step(place(boundaries, offset), key, step);
            }
        };
        match line {
            Visit::Plain(known, spans, buffer) => {
                if !known.is_noted {
                    known.is_noted = true;
                    known.template.keys.iter().for_each(|key| note(&mut columns, key));
                }
                if !boundaries.is_empty() {
                    begin(known.step(spans, buffer));
                }
            }
            Visit::Odd(row) => {
                row.cells().for_each(|(name, _)| note(&mut columns, name));
                begin(row.step());
            }
        }
    });
    (found.columns, found.rows, found.starts) = (columns, rows + passed, starts);
    found.error = read.err();
    found
}

/// Returns the attempt of what is at an offset.
fn place(boundaries: &[u64], offset: u64) -> Place {
    Place { attempt: boundaries.iter().filter(|&&start| start <= offset).count(), track: 0 }
}

/// Writes the rows of a piece, in parts of a bounded size.
fn write(
    piece: &Piece,
    input: &Input,
    table: &Table,
    spare: &Spare,
    reader: &mut Reader,
    send: &mut dyn FnMut(io::Result<Part>),
) -> io::Result<Part> {
    let mut into = spare.take();
    let mut odd = Vec::new(); // a row that is no plain line
    let mut number = piece.rows_before;
    let Some((path, boundaries)) = &input.lines else {
        let read = metrics::rows(&input.layout, &mut |row, _| {
            number += 1;
            into.append(&input.field);
            odd.push(b',');
            table.write_row(&row, &step_of(&row, number), &mut odd);
            into.append(&odd);
            odd.clear();
            hand_on(&mut into, spare, send);
        });
        return read.map(|counts| Part { rows: into, skipped: counts.skipped });
    };
    let read = reader.rows(path, piece.start, piece.end, None, &mut |offset, line| {
        number += 1;
        let is_superseded = |step: Option<(&'static str, f64)>| {
            step.is_some_and(|(key, step)| input.starts.supersede_step(place(boundaries, offset), key, step))
        };
        match line {
            Visit::Plain(known, spans, buffer) => {
                if !boundaries.is_empty() && is_superseded(known.step(spans, buffer)) {
                    return;
                }
                into.append(&input.field);
                match known.step_span(spans) {
                    Some((span, _)) => table::write_value(span, buffer, &mut into),
                    None => into.append(format!(",{number}").as_bytes()),
                }
                let Known { plan, template, .. } = known;
                plan.get_or_insert_with(|| table.plan(template)).write(spans, buffer, &mut into);
            }
            Visit::Odd(row) => {
                if !boundaries.is_empty() && is_superseded(row.step()) {
                    return;
                }
                into.append(&input.field);
                odd.push(b',');
                table.write_row(&row, &step_of(&row, number), &mut odd);
                into.append(&odd);
                odd.clear();
            }
        }
        hand_on(&mut into, spare, send);
    });
    read.map(|skipped| Part { rows: into, skipped })
}

/// Sends rows when there are many of them: with thousands of columns a short line is a long row.
fn hand_on(into: &mut Rows, spare: &Spare, send: &mut dyn FnMut(io::Result<Part>)) {
    if into.len() > PIECE {
        let rows = std::mem::replace(into, spare.take());
        send(Ok(Part { rows, skipped: 0 }));
    }
}

/// Returns the step of a row as it is written.
fn step_of(row: &Row, number: u64) -> String {
    row.step().map_or_else(|| number.to_string(), |(_, step)| csv_number(step))
}

/// Does `work` for every piece, by several threads, and hands what it sends, and what it returns, to
/// `take` in the order of the pieces, until that has enough.
fn in_turn<T: Send>(
    pieces: &[Piece],
    work: impl Fn(&Piece, &mut Reader, &mut dyn FnMut(T)) -> T + Sync,
    mut take: impl FnMut(T, &Piece) -> bool,
) {
    thread::scope(|scope| {
        let start = |thread: usize| -> Receiver<(T, bool)> {
            let (send, receive): (SyncSender<(T, bool)>, _) = sync_channel(AHEAD);
            let work = &work;
            scope.spawn(move || {
                let mut reader = Reader::default();
                for piece in pieces.iter().skip(thread).step_by(THREADS) {
                    let mut more = |part| {
                        let _nobody_wants_it = send.send((part, false)); // which is seen at the last part
                    };
                    let last = work(piece, &mut reader, &mut more);
                    if send.send((last, true)).is_err() {
                        return; // nobody wants more
                    }
                }
            });
            receive
        };
        let threads: Vec<_> = (0..THREADS).map(start).collect();
        for (number, piece) in pieces.iter().enumerate() {
            while let Ok((part, is_last)) = threads[number % THREADS].recv() {
                if !take(part, piece) {
                    return;
                }
                if is_last {
                    break;
                }
            }
        }
    });
}
