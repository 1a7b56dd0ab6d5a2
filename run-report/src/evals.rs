//! Every consolidated evaluation row of every run as one CSV.

use crate::runs::Runs;
use run_common::cli::out::Out;
use run_common::error::{Error, Exit};
use run_common::message::{complain, warn};
use run_metrics::csv::quote;
use run_metrics::evaluated::EvaluationTable;
use std::collections::{HashMap, HashSet};
use std::path::Path;

/// Prints the rows.
pub(crate) fn print(runs: &Runs, out: &mut Out) -> Result<Exit, Error> {
    let mut exit = runs.exit;
    let mut tables: Vec<(&str, String, EvaluationTable)> = Vec::new();
    let mut read = |path: &Path| {
        EvaluationTable::read(path).unwrap_or_else(|error| {
            let what = format!("cannot read '{}'", path.display());
            complain(&Error::new(Exit::BadRun, what).because(error));
            exit = exit.max(Exit::BadRun);
            None
        })
    };
    for run in &runs.all {
        for evaluations in &run.evaluations {
            let table = read(&evaluations.consolidated());
            tables.extend(table.map(|table| (run.name.as_str(), evaluations.label().to_owned(), table)));
        }
        for evaluations in &run.foreign_evaluations {
            let mut all = EvaluationTable::default();
            for (step, path) in &evaluations.tables {
                let step = step.map_or_else(|| "final".to_owned(), |step| step.to_string());
                if let Some(table) = read(path) {
                    all.add_step(&step, table);
                }
            }
            tables.push((run.name.as_str(), evaluations.label.clone(), all));
            if evaluations.is_cut {
                warn(&format!(
                    "the evaluation '{}' of '{}' has too many files: some of its steps may be missing",
                    evaluations.label, run.name
                ));
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
