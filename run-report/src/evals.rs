//! Every consolidated evaluation row of every run as one CSV.

use crate::runs::Runs;
use run_common::cli::out::Out;
use run_common::error::{Error, Exit};
use run_common::fsio::read::open_file;
use run_common::message::{complain, warn};
use run_metrics::csv::{Damage, Record, Records, quote};
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::Path;

/// The consolidated rows of an evaluation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Consolidated {
    /// The names of the columns.
    columns: Vec<String>,
    /// The cells of each row, one for each column.
    rows: Vec<Vec<String>>,
    /// Number of damaged rows: with another number of cells, or an unclosed quote.
    skipped: u64,
}

/// Prints the rows.
pub(crate) fn print(runs: &Runs, out: &mut Out) -> Result<Exit, Error> {
    let mut exit = runs.exit;
    let mut tables: Vec<(&str, String, Consolidated)> = Vec::new();
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
        warn("these runs have no evaluations");
    }
    let mut known = HashSet::from(["step"]);
    let mut columns = Vec::new();
    for column in tables.iter().flat_map(|(.., table)| &table.columns) {
        if known.insert(column) {
            columns.push(column);
        }
    }
    let mut csv = b"run,label,step".to_vec();
    for column in &columns {
        csv.push(b',');
        let taken = ["run", "label"].contains(&column.as_str());
        quote(if taken { format!("eval.{column}") } else { (*column).clone() }.as_bytes(), &mut csv);
    }
    csv.push(b'\n');
    for (run, label, table) in &tables {
        let mut places: HashMap<&str, usize> = HashMap::new();
        for (place, column) in table.columns.iter().enumerate() {
            places.entry(column).or_insert(place);
        }
        let place = |name: &str| places.get(name).copied();
        let step = place("step");
        let places: Vec<Option<usize>> = columns.iter().map(|column| place(column)).collect();
        for row in &table.rows {
            quote(run.as_bytes(), &mut csv);
            csv.push(b',');
            quote(label.as_bytes(), &mut csv);
            for place in std::iter::once(&step).chain(&places) {
                csv.push(b',');
                if let Some(cell) = place.map(|place| &row[place]).filter(|cell| !cell.is_empty()) {
                    quote(cell.as_bytes(), &mut csv);
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

impl Consolidated {
    /// Reads a table, the header first.
    fn read(&mut self, file: File) -> Result<(), Damage> {
        let mut records = Records::new(file, Vec::new())?;
        let text = |record: Record| -> Vec<String> {
            record.cells().map(|cell| String::from_utf8_lossy(cell).into_owned()).collect()
        };
        self.columns = records.next_record()?.map(text).unwrap_or_default();
        while let Some(record) = records.next_record()? {
            if record.count() == self.columns.len() {
                self.rows.push(text(record));
            } else {
                self.skipped += 1;
            }
        }
        Ok(())
    }
}

/// Reads a file; `None` if nothing has been evaluated yet.
fn read_table(path: &Path) -> io::Result<Option<Consolidated>> {
    let file = match open_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let mut table = Consolidated::default();
    match table.read(file) {
        Ok(()) => {}
        Err(Damage::Form(_)) => table.skipped += 1, // an unclosed quote; earlier rows count
        Err(Damage::Io(error)) => return Err(error),
    }
    Ok(Some(table))
}
