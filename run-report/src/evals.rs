//! Every consolidated evaluation row of every run as one CSV.

use crate::runs::Runs;
use crate::sheet::csv_field;
use run_common::cli::out::Out;
use run_common::error::{Error, Exit, plain};
use run_common::message::{complain, warn};
use std::io::ErrorKind;
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
                Err(cause) => {
                    let what = format!("cannot read '{}'", path.display());
                    complain(&Error::new(Exit::BadRun, what).because(cause));
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
///
/// Errors: why it cannot be read, in one line.
fn read_table(path: &Path) -> Result<Option<Table>, String> {
    let mut reader = match csv::ReaderBuilder::new().flexible(true).from_path(path) {
        Ok(reader) => reader,
        Err(error) => {
            return match error.into_kind() {
                csv::ErrorKind::Io(error) if error.kind() == ErrorKind::NotFound => Ok(None),
                csv::ErrorKind::Io(error) => Err(plain(&error)),
                other => Err(format!("{other:?}")),
            };
        }
    };
    let text = |cells: &csv::ByteRecord| -> Vec<String> {
        cells.iter().map(|cell| String::from_utf8_lossy(cell).into_owned()).collect()
    };
    let columns = text(reader.byte_headers().map_err(|error| error.to_string())?);
    let mut table = Table { columns, ..Table::default() };
    if let Some(first) = table.columns.first_mut() {
        *first = first.trim_start_matches('\u{feff}').to_owned();
    }
    for row in reader.byte_records() {
        let row = row.map_err(|error| error.to_string())?;
        if row.len() == table.columns.len() {
            table.rows.push(text(&row));
        } else {
            table.skipped += 1;
        }
    }
    Ok(Some(table))
}
