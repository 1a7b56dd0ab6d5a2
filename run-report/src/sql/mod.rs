//! A script of views with which DuckDB queries runs in place: their records, metrics, attempts and
//! evaluations.

mod evaluations;
mod metrics;
mod text;

use crate::output::write_file;
use crate::run::Run;
use crate::runs::Runs;
use crate::settings::settings;
use run_common::cli::out::Out;
use run_common::error::{Error, Exit};
use run_common::message::warn;
use run_common::rundir::attempts::Attempt;
use serde_json::Value;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use text::{literal, paths, values};

const HEAD: &str = "-- Views of runs for DuckDB, written by run-report(1). They read the files of the runs whenever they are queried.
-- Which runs, metrics and evaluations there are is as it was when this script was written.
";

/// Columns of the view `runs` from status.json: how each is read, and what is taken from it.
const RECORDED: [(&str, &str, &str); 17] = [
    ("run_id", "VARCHAR", "s.run_id"),
    ("status", "VARCHAR", "s.status"),
    ("reason", "VARCHAR", "s.reason"),
    ("attempt", "BIGINT", "s.attempt"),
    ("step", "DOUBLE", "s.step"),
    ("total_steps", "BIGINT", "s.total_steps"),
    ("created", "VARCHAR", TIME),
    ("start_time", "VARCHAR", TIME),
    ("end_time", "VARCHAR", TIME),
    ("last_heartbeat", "VARCHAR", TIME),
    ("host", "VARCHAR", "s.host"),
    ("exit_code", "BIGINT", "s.exit_code"),
    ("signal", "BIGINT", "s.signal"),
    ("overrides", "JSON", "s.overrides"),
    ("tags", "JSON", "s.tags"),
    ("metrics", "JSON", "s.metrics"),
    ("resources", "JSON", "s.resources"),
];

/// Columns of the view `attempts` from the lines of attempts.jsonl, after the number.
const ATTEMPTED: [(&str, &str, Event); 18] = [
    ("start_time", "VARCHAR", Event::Start),
    ("end_time", "VARCHAR", Event::End),
    ("duration_s", "DOUBLE", Event::End),
    ("status", "VARCHAR", Event::End),
    ("reason", "VARCHAR", Event::End),
    ("exit_code", "BIGINT", Event::End),
    ("signal", "BIGINT", Event::End),
    ("final_step", "DOUBLE", Event::End),
    ("final_checkpoint", "VARCHAR", Event::End),
    ("resume_from", "VARCHAR", Event::Start),
    ("resume_step", "BIGINT", Event::Start),
    ("total_steps", "BIGINT", Event::Start),
    ("host", "VARCHAR", Event::Start),
    ("device", "VARCHAR", Event::Start),
    ("gpus", "JSON", Event::Start),
    ("git_commit", "VARCHAR", Event::Start),
    ("resources", "JSON", Event::End),
    ("cost_usd", "DOUBLE", Event::End),
];

/// The type of a time, which is text in the files.
const TIME: &str = "";

/// A line of attempts.jsonl.
#[derive(Clone, Copy)]
enum Event {
    Start,
    End,
}

/// Writes the script.
pub(crate) fn write(runs: &Runs, file: &Path, out: &mut Out) -> Result<Exit, Error> {
    let mut exit = runs.exit;
    let (known, unnamed): (Vec<&Run>, Vec<&Run>) =
        runs.all.iter().partition(|run| run.seen.run.absolute().to_str().is_some());
    for run in unnamed {
        warn(&format!("'{}' is left out: no script can hold its path, which is not UTF-8", run.name));
        exit = exit.max(Exit::BadRun);
    }
    let mut script = String::from(HEAD);
    script += &list(&known);
    script += &recorded(&known);
    script += &attempted(&known);
    let (view, worst) = metrics::view(&known);
    script += &view;
    exit = exit.max(worst);
    let (view, worst) = evaluations::view(&known);
    script += &view;
    write_file(file, script.as_bytes(), out).map(|()| exit.max(worst))
}

/// The runs: their names, directories and settings, which do not change.
fn list(runs: &[&Run]) -> String {
    let rows = runs.iter().map(|run| {
        let settings = Value::Object(settings(run)).to_string();
        [literal(&run.name), literal(&run.path()), literal(&settings)].join(", ")
    });
    let rows = values(rows, "run VARCHAR, path VARCHAR, settings VARCHAR");
    format!("\nCREATE OR REPLACE VIEW run_list AS {rows};\n")
}

/// The last recorded state of the runs.
fn recorded(runs: &[&Run]) -> String {
    let files = runs.iter().map(|run| run.seen.run.layout().status());
    let read = RECORDED.iter().map(|(name, kind, _)| (*name, *kind));
    let given = without_record(runs).map(|run| given(run, "status.json", &state(run)));
    let source = documents(existing(runs, files), "unstructured", read, given);
    let columns: String = RECORDED
        .iter()
        .map(|(name, _, taken)| match *taken {
            TIME => format!("  TRY_CAST(s.{name} AS TIMESTAMP) AS {name},\n"),
            taken => format!("  {taken},\n"),
        })
        .collect();
    format!(
        "\nCREATE OR REPLACE VIEW runs AS SELECT l.run,\n{columns}  l.settings::JSON AS settings, l.path
FROM run_list l LEFT JOIN {source} s ON s.filename = l.path || '/.run/status.json';\n"
    )
}

/// The attempts: a line for the start of each, and one for its end.
fn attempted(runs: &[&Run]) -> String {
    let files = runs.iter().map(|run| run.seen.run.layout().attempts());
    let read = [("event", "VARCHAR"), ("attempt", "BIGINT")].into_iter();
    let read = read.chain(ATTEMPTED.iter().map(|(name, kind, _)| (*name, *kind)));
    let given = without_record(runs).flat_map(|run| {
        let lines = run.attempts.iter().flat_map(|Attempt { start, end }| {
            [serde_json::to_value(start).ok(), end.as_ref().and_then(|end| serde_json::to_value(end).ok())]
        });
        lines.flatten().map(|line| given(run, "attempts.jsonl", &line))
    });
    let source = documents(existing(runs, files), "newline_delimited", read, given);
    let columns: String = ATTEMPTED
        .iter()
        .map(|(name, _, event)| {
            let event = match event {
                Event::Start => "start",
                Event::End => "end",
            };
            let value = format!("any_value(a.{name}) FILTER (WHERE a.event = '{event}')");
            let is_time = name.ends_with("_time");
            let value = if is_time { format!("TRY_CAST({value} AS TIMESTAMP)") } else { value };
            format!(",\n  {value} AS {name}")
        })
        .collect();
    format!(
        "\nCREATE OR REPLACE VIEW attempts AS SELECT l.run, a.attempt{columns}
FROM run_list l JOIN {source} a ON a.filename = l.path || '/.run/attempts.jsonl'
WHERE a.event IN ('start', 'end') GROUP BY l.run, a.attempt ORDER BY l.run, a.attempt;\n"
    )
}

/// Returns the runs of other systems, which have no record: the script itself holds what is known of them.
fn without_record<'a>(runs: &'a [&Run]) -> impl Iterator<Item = &'a Run> {
    runs.iter().copied().filter(|run| run.seen.run.layout().foreign().is_some())
}

/// Returns the state of a run as its status.json would have it.
fn state(run: &Run) -> Value {
    let mut state = serde_json::to_value(&run.seen.recorded).unwrap_or_default();
    if let Value::Object(fields) = &mut state {
        fields.insert("status".to_owned(), run.seen.status().to_string().into());
        fields.insert("reason".to_owned(), run.seen.reason().into());
    }
    state
}

/// Returns a row of what is known of a run without a record: the file that would hold it, and the document.
fn given(run: &Run, file: &str, document: &Value) -> String {
    [literal(&format!("{}/.run/{file}", run.path())), literal(&document.to_string())].join(", ")
}

/// Returns the absolute paths of the files that exist.
fn existing<'a>(
    runs: &'a [&Run],
    files: impl Iterator<Item = PathBuf> + 'a,
) -> impl Iterator<Item = PathBuf> + 'a {
    let absolute = |(run, file): (&&Run, PathBuf)| {
        let below = file.strip_prefix(run.seen.run.layout().root()).map(Path::to_owned);
        run.seen.run.absolute().join(below.unwrap_or(file))
    };
    runs.iter().zip(files).map(absolute).filter(|file| file.is_file())
}

/// Returns a table of the objects in files, and of those that are given, with these columns.
fn documents<'a>(
    files: impl Iterator<Item = PathBuf>,
    format: &str,
    columns: impl Iterator<Item = (&'a str, &'a str)>,
    given: impl Iterator<Item = String>,
) -> String {
    let columns: Vec<(&str, &str)> = columns.collect();
    let given: Vec<String> = given.collect();
    if !given.is_empty() {
        let read = documents(files, format, columns.iter().copied(), std::iter::empty());
        let (mut names, mut values_of) = (String::new(), String::new());
        for (name, kind) in &columns {
            let arrow = if *kind == "JSON" { "->" } else { "->>" };
            let _ = write!(names, "{name}, ");
            let _ = write!(values_of, "TRY_CAST((json::JSON {arrow} '/{name}') AS {kind}) AS {name}, ");
        }
        let given = values(given.into_iter(), "filename VARCHAR, json VARCHAR");
        return format!(
            "(SELECT {names}filename FROM {read} UNION ALL\nSELECT {values_of}filename FROM ({given}))"
        );
    }
    let files: Vec<String> = files.map(|file| file.to_string_lossy().into_owned()).collect();
    if files.is_empty() {
        let none = columns.iter().map(|(name, kind)| format!("NULL::{kind} AS {name}, ")).collect::<String>();
        return format!("(SELECT {none}NULL::VARCHAR AS filename WHERE false)");
    }
    let mut list = String::new();
    for (number, (name, kind)) in columns.iter().enumerate() {
        let comma = if number > 0 { ", " } else { "" };
        let _ = write!(list, "{comma}{name}: '{kind}'"); // writing to a String cannot fail
    }
    let ignore = if format == "newline_delimited" { ", ignore_errors = true" } else { "" };
    format!(
        "read_json([{}], format = '{format}', columns = {{{list}}}{ignore}, filename = true, hive_partitioning = false)",
        paths(&files)
    )
}
