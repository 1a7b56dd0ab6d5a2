//! Every consolidated evaluation row of every run as one CSV.

use crate::runs::Runs;
use crate::sheet::csv_field;
use run_common::cli::out::Out;
use run_common::error::{Error, Exit};
use run_common::fsio::read::{LIMIT, open_file};
use run_common::message::{complain, warn};
use std::io::{self, ErrorKind, Read};
use std::path::Path;

/// Rows under a header.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Table {
    /// The names of the columns.
    columns: Vec<String>,
    /// The cells of each row, as many as there are columns.
    rows: Vec<Vec<String>>,
    /// Rows with another number of cells: nobody knows what they mean.
    skipped: u64,
}

/// Prints the rows.
pub(crate) fn print(runs: &Runs, out: &mut Out) -> Result<Exit, Error> {
    let mut exit = runs.exit;
    let mut tables: Vec<(&str, String, Table)> = Vec::new();
    for run in &runs.all {
        for evaluations in &run.evaluations {
            let path = evaluations.consolidated();
            match read_table(&path) {
                Ok(table) => {
                    tables.extend(
                        table.map(|table| (run.name.as_str(), evaluations.label().to_owned(), table)),
                    );
                }
                Err(error) => {
                    let what = format!("cannot read '{}'", path.display());
                    complain(&Error::new(Exit::BadRun, what).because(error));
                    exit = exit.max(Exit::BadRun);
                }
            }
        }
    }
    if tables.is_empty() {
        warn("there are no evaluations of these runs");
    }
    let mut columns: Vec<&String> = Vec::new();
    for column in tables.iter().flat_map(|(.., table)| &table.columns) {
        if !columns.contains(&column) && column != "step" {
            columns.push(column);
        }
    }
    let mut csv = b"run,label,step".to_vec();
    for column in &columns {
        csv.push(b',');
        let taken = ["run", "label"].contains(&column.as_str());
        csv_field(&if taken { format!("eval.{column}") } else { (*column).clone() }, &mut csv);
    }
    csv.push(b'\n');
    for (run, label, table) in &tables {
        let place = |name: &str| table.columns.iter().position(|column| column == name);
        let step = place("step");
        let places: Vec<Option<usize>> = columns.iter().map(|column| place(column)).collect();
        for row in &table.rows {
            csv_field(run, &mut csv);
            csv.push(b',');
            csv_field(label, &mut csv);
            for place in std::iter::once(&step).chain(&places) {
                csv.push(b',');
                if let Some(cell) = place.map(|place| &row[place]).filter(|cell| !cell.is_empty()) {
                    csv_field(cell, &mut csv);
                }
            }
            csv.push(b'\n');
        }
        out.bytes(&csv)?;
        csv.clear();
    }
    out.bytes(&csv)?;
    for (run, label, table) in tables.iter().filter(|(.., table)| table.skipped > 0) {
        let rows = if table.skipped == 1 { "row" } else { "rows" };
        let are = if table.skipped == 1 { "is" } else { "are" };
        warn(&format!(
            "{} {rows} of the evaluation '{label}' of '{run}' {are} damaged and left out",
            table.skipped
        ));
    }
    Ok(exit)
}

/// Reads a table; texts in quotes may hold line ends. `None` when nothing was evaluated yet.
fn read_table(path: &Path) -> io::Result<Option<Table>> {
    let file = match open_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(Bounded { file, length: 0 });
    let text = |cells: &csv::ByteRecord| -> Vec<String> {
        cells.iter().map(|cell| String::from_utf8_lossy(cell).into_owned()).collect()
    };
    let columns = text(reader.byte_headers()?);
    let mut table = Table { columns, ..Table::default() };
    if let Some(first) = table.columns.first_mut() {
        *first = first.trim_start_matches('\u{feff}').to_owned();
    }
    for row in reader.byte_records() {
        let row = row?;
        if row.len() == table.columns.len() {
            table.rows.push(text(&row));
        } else {
            table.skipped += 1;
        }
    }
    Ok(Some(table))
}

/// A file that is refused when a line of it has no end: all of a row is kept in memory.
struct Bounded<R> {
    file: R,
    /// Bytes of the present line so far.
    length: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, block: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(block)?;
        self.length = match block[..count].iter().rposition(|&byte| byte == b'\n') {
            Some(newline) => (count - newline - 1) as u64,
            None => self.length + count as u64,
        };
        if self.length > LIMIT {
            return Err(io::Error::new(ErrorKind::InvalidData, "it has a line of more than 16 MiB"));
        }
        Ok(count)
    }
}
