//! The view of evaluations: all their rows.

use super::text::{identifier, literal, paths, values};
use crate::run::Run;
use run_common::error::{Error, Exit};
use run_common::fsio::read::open_file;
use run_common::message::complain;
use run_metrics::csv::{Damage, Records};
use std::collections::HashSet;
use std::io;
use std::path::Path;

/// Tables that are read in one way.
#[derive(Default)]
struct Tables {
    files: Vec<String>,
    /// Of each file: path, run, label and step, as literals.
    owners: Vec<String>,
    /// Their columns other than `step`, each once.
    columns: Vec<String>,
    known: HashSet<String>,
    has_steps: bool,
}

/// Returns the view, and the worst exit status.
pub(super) fn view(runs: &[&Run]) -> (String, Exit) {
    let (mut ours, mut foreign, mut exit) = (Tables::default(), Tables::default(), Exit::Ok);
    let mut take = |into: &mut Tables, run: &Run, label: &str, step: Option<u64>, path: &Path| {
        if let Err(error) = into.add(run, label, step, path) {
            let what = format!("cannot read '{}'", path.display());
            complain(&Error::new(Exit::BadRun, what).because(error));
            exit = Exit::BadRun;
        }
    };
    for run in runs {
        for of in &run.evaluations {
            take(&mut ours, run, of.label(), None, &of.consolidated());
        }
        for of in &run.foreign_evaluations {
            for (step, path) in &of.tables {
                take(&mut foreign, run, &of.label, step.or_else(|| last_step(run)), path);
            }
        }
    }
    let head = "\nCREATE OR REPLACE VIEW evaluations AS";
    let foreign_step = if foreign.has_steps {
        "coalesce(l.step::BIGINT, TRY_CAST(e.step AS BIGINT)) AS step"
    } else {
        "l.step::BIGINT AS step"
    };
    // The tables of other systems have their step in their path, and may be damaged.
    let parts = [ours.select("e.step", ""), foreign.select(foreign_step, ", ignore_errors = true")];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() {
        let none = "NULL::VARCHAR AS run, NULL::VARCHAR AS label, NULL::BIGINT AS step";
        return (format!("{head} SELECT {none} WHERE false;\n"), exit);
    }
    (format!("{head} {};\n", parts.join("\nUNION ALL BY NAME ")), exit)
}

/// Returns the step of the final checkpoint: the last step of the run.
fn last_step(run: &Run) -> Option<u64> {
    let step = run.seen.recorded.step().filter(|step| (0.0..9e15).contains(step) && step.fract() == 0.0)?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is in bounds")]
    let whole = step as u64;
    Some(whole)
}

impl Tables {
    /// Adds a table, unless nothing has been evaluated yet.
    fn add(&mut self, run: &Run, label: &str, step: Option<u64>, path: &Path) -> io::Result<()> {
        let Some(found) = header(path)? else { return Ok(()) };
        let Ok(path) = std::path::absolute(path) else { return Ok(()) };
        let Some(path) = path.to_str() else { return Ok(()) };
        let is_step = |column: &String| column.eq_ignore_ascii_case("step");
        self.has_steps |= found.iter().any(is_step);
        let others = found.into_iter().filter(|column| !is_step(column));
        self.columns.extend(others.filter(|column| self.known.insert(column.to_lowercase())));
        let step = step.map_or_else(|| "NULL".to_owned(), |step| step.to_string());
        self.owners.push([literal(path), literal(&run.name), literal(label), step].join(", "));
        self.files.push(path.to_owned());
        Ok(())
    }

    /// Returns the query of their rows, with such a step and such further options of the reader.
    fn select(self, step: &str, options: &str) -> Option<String> {
        if self.files.is_empty() {
            return None;
        }
        let columns: String = self
            .columns
            .iter()
            .map(|column| match column.to_lowercase().as_str() {
                "run" | "label" => {
                    format!(", e.{} AS {}", identifier(column), identifier(&format!("eval.{column}")))
                }
                _ => format!(", e.{}", identifier(column)),
            })
            .collect();
        let owners = values(self.owners.into_iter(), "file VARCHAR, run VARCHAR, label VARCHAR, step BIGINT");
        Some(format!(
            "SELECT l.run, l.label, {step}{columns}
FROM ({owners}) l JOIN read_csv([{}], delim = ',', quote = '\"', escape = '\"', header = true, union_by_name = true,
    sample_size = -1, filename = 'file of the row', hive_partitioning = false{options}) e ON e.\"file of the row\" = l.file",
            paths(&self.files)
        ))
    }
}

/// Returns the names of the columns of a table; `None` if nothing has been evaluated yet.
fn header(path: &Path) -> io::Result<Option<Vec<String>>> {
    let file = match open_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let read = || {
        let mut records = Records::new(file, Vec::new())?;
        let text = |cell| String::from_utf8_lossy(cell).into_owned();
        Ok(records.next_record()?.map(|record| record.cells().map(text).collect()))
    };
    match read() {
        Ok(columns) => Ok(columns),
        Err(Damage::Form(_)) => Ok(None),
        Err(Damage::Io(error)) => Err(error),
    }
}
