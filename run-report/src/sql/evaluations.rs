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

/// Returns the view, and the worst exit status.
pub(super) fn view(runs: &[&Run]) -> (String, Exit) {
    let (mut files, mut owners, mut exit) = (Vec::new(), Vec::new(), Exit::Ok);
    let (mut columns, mut known) = (Vec::new(), HashSet::from(["step".to_owned()]));
    let (mut has_steps, mut has_foreign) = (false, false);
    for run in runs {
        let ours = run.evaluations.iter().map(|of| (of.label(), None, of.consolidated()));
        let foreign = run.foreign_evaluations.iter().flat_map(|of| {
            of.tables.iter().map(|(step, path)| (of.label.as_str(), Some(*step), path.clone()))
        });
        for (label, step, path) in ours.chain(foreign) {
            let found = match header(&path) {
                Ok(Some(found)) => found,
                Ok(None) => continue,
                Err(error) => {
                    let what = format!("cannot read '{}'", path.display());
                    complain(&Error::new(Exit::BadRun, what).because(error));
                    exit = Exit::BadRun;
                    continue;
                }
            };
            let Ok(path) = std::path::absolute(&path) else { continue };
            let Some(path) = path.to_str() else { continue };
            has_foreign |= step.is_some();
            has_steps |= found.iter().any(|column| column.eq_ignore_ascii_case("step"));
            let step = step.flatten().map_or_else(|| "NULL".to_owned(), |step| step.to_string());
            columns.extend(found.into_iter().filter(|column| known.insert(column.to_lowercase())));
            owners.push([literal(path), literal(&run.name), literal(label), step].join(", "));
            files.push(path.to_owned());
        }
    }
    let head = "\nCREATE OR REPLACE VIEW evaluations AS";
    if files.is_empty() {
        let none = "NULL::VARCHAR AS run, NULL::VARCHAR AS label, NULL::BIGINT AS step";
        return (format!("{head} SELECT {none} WHERE false;\n"), exit);
    }
    let columns: String = columns
        .iter()
        .map(|column| match column.to_lowercase().as_str() {
            "run" | "label" => {
                format!(", e.{} AS {}", identifier(column), identifier(&format!("eval.{column}")))
            }
            _ => format!(", e.{}", identifier(column)),
        })
        .collect();
    let owners = values(owners.into_iter(), "file VARCHAR, run VARCHAR, label VARCHAR, step BIGINT");
    // The tables of other systems have their step in their path, and may be damaged.
    let step = match (has_foreign, has_steps) {
        (false, _) => "e.step",
        (true, true) => "coalesce(l.step::BIGINT, TRY_CAST(e.step AS BIGINT)) AS step",
        (true, false) => "l.step::BIGINT AS step",
    };
    let ignore = if has_foreign { ", ignore_errors = true" } else { "" };
    let view = format!(
        "{head} SELECT l.run, l.label, {step}{columns}
FROM ({owners}) l JOIN read_csv([{}], delim = ',', quote = '\"', escape = '\"', header = true, union_by_name = true,
    sample_size = -1, filename = 'file of the row', hive_partitioning = false{ignore}) e ON e.\"file of the row\" = l.file;\n",
        paths(&files)
    );
    (view, exit)
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
