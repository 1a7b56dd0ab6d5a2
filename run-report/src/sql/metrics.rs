//! The view of metrics: the rows that count, with a column for each metric. Files of JSON lines are read in
//! place. Other rows are in the script itself.

use super::text::{identifier, literal, paths, values};
use crate::fault::{Fault, LeftOut};
use crate::run::Run;
use run_common::error::Exit;
use run_common::pipeline::large_in_order;
use run_metrics::of_run;
use run_metrics::read::judged_rows;
use run_metrics::resumptions::Resumptions;
use run_metrics::row::MetricValue;
use run_metrics::step_key::sort_step_names;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::convert::Infallible;
use std::io;
use std::ops::RangeInclusive;

/// The rows of a run, as found by a scan.
#[derive(Default)]
struct Scanned {
    /// The file of JSON lines that is read in place.
    file: Option<String>,
    /// Otherwise the rows: their numbers and lines.
    rows: Vec<(u64, String)>,
    /// Names of the step, in order of precedence.
    steps: Vec<String>,
    /// Whether some rows have no step, or do not count, so that row numbers are needed.
    is_numbered: bool,
    /// Numbers of the rows that do not count, from 1.
    superseded: Vec<RangeInclusive<u64>>,
    /// All fields, in the order of first appearance.
    fields: Vec<Field>,
    left_out: LeftOut,
}

/// A field of rows.
struct Field {
    name: String,
    /// Whether every value is a number or null.
    is_number: bool,
}

/// Returns the view, and the worst exit status.
pub(super) fn view(runs: &[&Run]) -> (String, Exit) {
    let (mut exit, mut found, mut fields) = (Exit::Ok, Vec::new(), Fields::default());
    let take = |scanned: io::Result<Scanned>| -> Result<(), Infallible> {
        found.push(scanned);
        Ok(())
    };
    let Ok(()) = large_in_order(runs, |run| scan(run), take);
    let mut readable = Vec::new();
    for (run, scanned) in runs.iter().zip(found) {
        let read = scanned.map(|scanned| {
            let left_out = scanned.left_out;
            scanned.fields.iter().for_each(|field| fields.note(&field.name, field.is_number));
            readable.push((*run, scanned));
            left_out
        });
        exit = Fault::say_all(&Fault::of(run.seen.run.layout().root(), read), exit);
    }
    (script(&readable, &fields.all), exit)
}

/// Names of fields, each once.
#[derive(Default)]
struct Fields {
    all: Vec<Field>,
    places: HashMap<String, usize>,
}

impl Fields {
    fn note(&mut self, name: &str, is_number: bool) {
        match self.places.get(name) {
            Some(&place) => self.all[place].is_number &= is_number,
            None => {
                self.places.insert(name.to_owned(), self.all.len());
                self.all.push(Field { name: name.to_owned(), is_number });
            }
        }
    }
}

fn scan(run: &Run) -> io::Result<Scanned> {
    let mut found = Scanned::default();
    let layout = run.seen.run.layout();
    let Some(source) = of_run::source_by(layout, Some(&run.seen.recorded)) else { return Ok(found) };
    let path = source.plain_lines().and_then(|path| std::path::absolute(path).ok());
    found.file = path.and_then(|path| path.to_str().map(str::to_owned));
    let (mut number, mut fields, mut line) = (0, Fields::default(), Vec::new());
    let counts = judged_rows(&source, &Resumptions::read(layout)?, &mut |row| {
        number += 1;
        let Some((row, _)) = row else {
            match found.superseded.last_mut() {
                Some(last) if last.end() + 1 == number => *last = *last.start()..=number,
                _ => found.superseded.push(number..=number),
            }
            return;
        };
        match row.step() {
            Some((name, _)) if found.steps.iter().all(|known| known != name) => {
                found.steps.push(name.to_owned());
            }
            Some(_) => {}
            None => found.is_numbered = true,
        }
        for (name, value) in row.fields() {
            fields.note(name, matches!(value, MetricValue::Number(_) | MetricValue::Other(Value::Null)));
        }
        if found.file.is_none() {
            line.clear();
            row.write_line(&mut line);
            found.rows.push((number, String::from_utf8_lossy(line.trim_ascii_end()).into_owned()));
        }
    })?;
    found.left_out = counts.into();
    sort_step_names(&mut found.steps);
    found.is_numbered |= !found.superseded.is_empty();
    found.fields = fields.all;
    Ok(found)
}

fn script(found: &[(&Run, Scanned)], fields: &[Field]) -> String {
    let (mut together, mut sources): (BTreeMap<&[String], Vec<String>>, Vec<String>) = Default::default();
    let (mut owners, mut superseded) = (Vec::new(), Vec::new());
    for (run, scanned) in found {
        let Some(file) = &scanned.file else {
            if !scanned.rows.is_empty() {
                sources.push(given(&run.path(), scanned));
                owners.push([literal(&run.path()), literal(&run.name)].join(", "));
            }
            continue;
        };
        owners.push([literal(file), literal(&run.name)].join(", "));
        if scanned.is_numbered {
            sources.push(numbered(file, &scanned.steps));
        } else {
            together.entry(&scanned.steps).or_default().push(file.clone());
        }
        let ranges = scanned.superseded.iter();
        superseded
            .extend(ranges.map(|range| format!("{}, {}, {}", literal(file), range.start(), range.end())));
    }
    let plain = together.into_iter().map(|(steps, files)| {
        format!(
            "SELECT filename, NULL::BIGINT AS n, {} AS step, json FROM {}",
            step(steps, "NULL"),
            read(&files)
        )
    });
    let sources: Vec<String> = plain.chain(sources).collect();
    let head = "\nCREATE OR REPLACE VIEW metrics AS";
    if sources.is_empty() {
        return format!("{head} SELECT NULL::VARCHAR AS run, NULL::DOUBLE AS step WHERE false;\n");
    }
    let owners = values(owners.into_iter(), "file VARCHAR, run VARCHAR");
    let superseded = values(superseded.into_iter(), "file VARCHAR, first BIGINT, last BIGINT");
    format!(
        "{head} WITH
files AS ({owners}),
superseded AS ({superseded}),
lines AS (
{})
SELECT files.run, lines.step{}
FROM lines JOIN files ON files.file = lines.filename
LEFT JOIN superseded s ON s.file = lines.filename AND lines.n BETWEEN s.first AND s.last
WHERE s.file IS NULL AND json_type(lines.json) = 'OBJECT';\n",
        sources.join("\nUNION ALL\n"),
        columns(fields),
    )
}

/// Returns a table of the lines of files.
fn read(files: &[String]) -> String {
    format!(
        "read_ndjson_objects([{}], filename = true, ignore_errors = true, hive_partitioning = false)",
        paths(files)
    )
}

/// Returns the lines of a file that are rows, with their numbers.
fn numbered(file: &str, steps: &[String]) -> String {
    let file = [file.to_owned()];
    format!(
        "SELECT filename, n, {} AS step, json FROM (SELECT filename, row_number() OVER () AS n, json
  FROM {} WHERE json_type(json) = 'OBJECT')",
        step(steps, "n"),
        read(&file)
    )
}

/// Returns the rows that are not read in place.
fn given(path: &str, scanned: &Scanned) -> String {
    let rows = scanned.rows.iter().map(|(n, line)| format!("{n}, {}", literal(line)));
    let rows = values(rows, "n BIGINT, json VARCHAR");
    let step = step(&scanned.steps, "n");
    format!("SELECT {} AS filename, n, {step} AS step, json::JSON AS json FROM ({rows})", literal(path))
}

/// Returns the step of a row: the first that exists, or else the given one.
fn step(names: &[String], or: &str) -> String {
    let numbers = names.iter().map(|name| format!("TRY_CAST({} AS DOUBLE)", value(name)));
    let numbers: Vec<String> = numbers.chain([format!("{or}::DOUBLE")]).collect();
    format!("coalesce({})", numbers.join(", "))
}

/// Returns the columns of the fields. The step has its own column; SQL ignores case.
fn columns(fields: &[Field]) -> String {
    let mut known = HashSet::from(["run".to_owned(), "step".to_owned()]);
    let mut columns = String::new();
    for field in fields.iter().filter(|field| field.name != "step") {
        let is_taken = ["", "run"].contains(&field.name.as_str()); // SQL has no column without a name
        let mut column = if is_taken { format!("metric.{}", field.name) } else { field.name.clone() };
        for number in 2.. {
            if known.insert(column.to_lowercase()) {
                break;
            }
            column = format!("{}_{number}", field.name);
        }
        let value = value(&field.name);
        let value = if field.is_number { format!("TRY_CAST({value} AS DOUBLE)") } else { value };
        columns.extend([",\n  ", &value, " AS ", &identifier(&column)]);
    }
    columns
}

/// Returns the value of a field as text. A name with slashes may be that of a nested field.
fn value(name: &str) -> String {
    let pointer = |parts: &[&str]| {
        let escaped = parts.iter().map(|part| part.replace('~', "~0").replace('/', "~1"));
        literal(&escaped.map(|part| format!("/{part}")).collect::<String>())
    };
    let flat = format!("json ->> {}", pointer(&[name]));
    if !name.contains('/') {
        return format!("({flat})");
    }
    let parts: Vec<&str> = name.split('/').collect();
    format!("coalesce({flat}, json ->> {})", pointer(&parts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_have_names_of_their_own() {
        let field = |name: &str| Field { name: name.to_owned(), is_number: true };
        let columns = columns(&["step", "Loss", "loss", "run", "Step", ""].map(field));
        let names: Vec<&str> =
            columns.split(" AS \"").skip(1).map(|one| one.split('"').next().unwrap()).collect();
        assert_eq!(names, ["Loss", "loss_2", "metric.run", "Step_2", "metric."]);
    }

    #[test]
    fn a_step_is_the_first_that_there_is() {
        let expected = "coalesce(TRY_CAST((json ->> '/step') AS DOUBLE), TRY_CAST((json ->> '/epoch') AS DOUBLE), n::DOUBLE)";
        assert_eq!(step(&["step".to_owned(), "epoch".to_owned()], "n"), expected);
    }

    #[test]
    fn names_are_quoted_and_may_be_nested() {
        assert_eq!(value("it's"), "(json ->> '/it''s')");
        assert_eq!(value(""), "(json ->> '/')");
        assert_eq!(value("a/b"), "coalesce(json ->> '/a~1b', json ->> '/a/b')");
    }
}
