//! Every consolidated evaluation row of every run as one CSV.

use crate::cli::Args;
use crate::runs::Runs;
use crate::sheet::csv_field;
use run_common::cli::out::Out;
use run_common::error::{Error, Exit};
use run_common::evals::{TABLE, Table, directory, find, read_table};
use run_common::message::{complain, warn};

/// Prints the rows.
pub(crate) fn print(runs: &Runs, args: &Args, out: &mut Out) -> Result<Exit, Error> {
    let mut exit = runs.exit;
    let directory = directory(args.eval_dir.as_deref(), &args.runs_dir.path());
    let mut tables: Vec<(&str, String, Table)> = Vec::new();
    for run in &runs.all {
        let batch = run.meta.batch.as_deref();
        for evaluation in find(&directory, run.seen.run.layout(), batch, &run.meta.run_id) {
            let path = evaluation.path.join(TABLE);
            match read_table(&path) {
                Ok(table) => tables.push((&run.name, evaluation.label, table)),
                Err(cause) => {
                    let what = format!("cannot read '{}'", path.display());
                    complain(&Error::new(Exit::BadRun, what).because(cause));
                    exit = exit.max(Exit::BadRun);
                }
            }
        }
    }
    if tables.is_empty() {
        warn(&format!("no evaluations of these runs in '{}'", directory.display()));
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
        warn(&format!(
            "{} rows of the evaluation '{label}' of '{run}' are damaged and left out",
            table.skipped
        ));
    }
    Ok(exit)
}
