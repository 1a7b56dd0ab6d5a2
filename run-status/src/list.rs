//! The list of runs, as a table or as JSON lines.

use crate::cli::Args;
use crate::{detail, log};
use run_common::cli::operands::open_all;
use run_common::cli::out::{Out, Table, Tint};
use run_common::error::{Error, Exit};
use run_common::message::{complain, warn};
use run_common::metrics::row::STEP_KEYS;
use run_common::rundir::find::{Found, find};
use run_common::rundir::layout::Layout;
use run_common::rundir::observe::{Observed, Observer, Shown};
use run_common::rundir::open::RunDir;
use run_common::rundir::status::Status;
use run_common::text::cut;
use run_common::time::{Timestamp, human_seconds};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::path::Path;

/// How long a failed run is listed without being asked for, in seconds.
const FAILED_SHOWN: f64 = 86400.0;

/// Seconds of silence from which the table says so.
const QUIET_SHOWN: f64 = 60.0;

/// Characters of a reason in the table.
const REASON: usize = 60;

/// Prints what was asked for.
pub(crate) fn run(args: &Args, out: &mut Out) -> Result<Exit, Error> {
    let runs_dir = args.runs_dir.path();
    let observer = Observer::new(args.stale_after);
    if args.log.is_some() && (args.runs.len() != 1 || args.runs[0] == "-") {
        return Err(Error::usage("--log takes one run"));
    }
    let mut exit = Exit::Ok;
    let mut runs: Vec<Observed> = Vec::new();
    let mut unlike = 0;
    let mut note = |found: Result<Observed, Error>| match found {
        Ok(observed) => runs.push(observed),
        Err(error) => {
            exit = exit.max(error.exit());
            complain(&error);
        }
    };
    if args.runs.is_empty() {
        for found in find(&runs_dir) {
            match found {
                Found::Run(path) => note(observer.observe(&RunDir::seen(path))),
                Found::Other(_) => unlike += 1,
                Found::NotUtf8(path) => note(Err(unreadable(&path, "its name is not UTF-8"))),
                Found::Unreadable(path, cause) if path == runs_dir => {
                    return Err(
                        Error::new(Exit::System, format!("cannot read '{}'", path.display())).because(cause)
                    );
                }
                Found::Unreadable(path, cause) => note(Err(unreadable(&path, &cause))),
            }
        }
    } else {
        for run in open_all(&args.runs, &runs_dir, args.null) {
            note(run.and_then(|run| observer.observe(&run)));
        }
    }
    if let Some(which) = args.log {
        return match runs.first() {
            Some(observed) => log::print(observed, which, args.follow, &observer, out).map(|()| exit),
            None => Ok(exit),
        };
    }
    let total = runs.len();
    runs.retain(|run| is_wanted(run, args));
    let nothing = runs.is_empty();
    print(&runs, args, out)?;
    if nothing && exit == Exit::Ok {
        if args.runs.is_empty() {
            explain_emptiness(&runs_dir, total, unlike, &args.status);
        }
        if !args.status.is_empty() {
            exit = Exit::No;
        }
    }
    Ok(exit)
}

fn print(runs: &[Observed], args: &Args, out: &mut Out) -> Result<(), Error> {
    if args.json {
        return runs.iter().try_for_each(|run| out.json(&Line::of(run)));
    }
    match (runs, args.runs.as_slice()) {
        ([], _) => Ok(()),
        ([run], [operand]) if operand != "-" => detail::print(run, out),
        _ => out.table(&table(runs, &args.columns)),
    }
}

fn unreadable(path: &Path, cause: &str) -> Error {
    Error::new(Exit::BadRun, format!("cannot read '{}'", path.display())).because(cause.to_owned())
}

/// Says whether a run is to be listed: all of them when runs are named, else those that need an eye.
fn is_wanted(run: &Observed, args: &Args) -> bool {
    if !args.status.is_empty() {
        return args.status.iter().any(|status| status == run.status.word());
    }
    let failed_lately =
        || run.recorded.end_time.is_some_and(|end| Timestamp::now().seconds_since(end) < FAILED_SHOWN);
    args.all
        || !args.runs.is_empty()
        || match run.status {
            Shown::As(Status::Created | Status::Queued | Status::Running) | Shown::Dead | Shown::Stale => {
                true
            }
            Shown::As(Status::Failed) => failed_lately(),
            Shown::As(Status::Completed | Status::Stopped) => false,
        }
}

/// Says why a list is empty.
fn explain_emptiness(runs_dir: &Path, hidden: usize, unlike: usize, statuses: &[String]) {
    let shown = runs_dir.display();
    let count = |count: usize, one: &str, many: &str| {
        if count == 1 { format!("1 {one}") } else { format!("{count} {many}") }
    };
    let why = if !runs_dir.exists() {
        format!("no runs: there is no directory '{shown}'")
    } else if hidden > 0 && !statuses.is_empty() {
        format!("{} in '{shown}', none of them {}", count(hidden, "run", "runs"), statuses.join(" or "))
    } else if hidden > 0 {
        format!("{} in '{shown}' not shown; -a shows all", count(hidden, "run", "runs"))
    } else if unlike > 0 {
        format!(
            "no runs: '{shown}' holds {}",
            count(unlike, "directory that is no run", "directories that are no runs")
        )
    } else {
        format!("no runs: '{shown}' is empty")
    };
    warn(&why);
}

/// A line of `--json`: the record, with what was concluded in the place of what was written.
#[derive(Serialize)]
#[serde(transparent)]
pub(crate) struct Line(Map<String, Value>);

impl Line {
    pub(crate) fn of(run: &Observed) -> Self {
        let mut line = match serde_json::to_value(&run.recorded) {
            Ok(Value::Object(line)) => line,
            _ => Map::new(),
        };
        line.insert("status".to_owned(), run.status.word().into());
        line.insert("reason".to_owned(), run.reason.clone().into());
        line.insert("path".to_owned(), run.run.absolute().to_string_lossy().into());
        let rounded =
            |seconds: Option<f64>| json!(seconds.map(|seconds| (seconds * 1000.0).round() / 1000.0));
        line.insert("quiet_s".to_owned(), rounded(run.quiet_s()));
        line.insert("duration_s".to_owned(), rounded(run.duration_s()));
        line.insert("eta_s".to_owned(), rounded(run.eta_s()));
        Self(line)
    }
}

fn table(runs: &[Observed], columns: &[String]) -> Table {
    let mut table =
        Table::new(["RUN", "STATUS", "STEP", "METRICS", "STARTED", "DURATION", "ETA", "PID", "REASON"]);
    for run in runs {
        let plain = |text: String| (text, Tint::None);
        let recorded = &run.recorded;
        let is_active = !run.status.has_ended();
        table.row(vec![
            plain(name(run)),
            (status(run), tint(run.status)),
            plain(progress(run)),
            plain(metrics(run, columns)),
            plain(recorded.start_time.map(Timestamp::local).unwrap_or_default()),
            plain(run.duration_s().map(human_seconds).unwrap_or_default()),
            plain(run.eta_s().map(human_seconds).unwrap_or_default()),
            plain(recorded.pid.filter(|_| is_active).map(|pid| pid.to_string()).unwrap_or_default()),
            (cut(run.reason.as_deref().unwrap_or_default(), REASON).into_owned(), Tint::Dim),
        ]);
    }
    table
}

/// Returns the name of the run's directory, however the run was named.
pub(crate) fn name(run: &Observed) -> String {
    Layout::new(run.run.absolute()).name()
}

/// Returns the colour of a status.
pub(crate) fn tint(status: Shown) -> Tint {
    match status {
        Shown::As(Status::Running | Status::Completed) => Tint::Good,
        Shown::As(Status::Created | Status::Queued | Status::Stopped) => Tint::None,
        Shown::Stale => Tint::Doubt,
        Shown::As(Status::Failed) | Shown::Dead => Tint::Bad,
    }
}

/// Returns the status, and since when nothing was heard of a running program.
pub(crate) fn status(run: &Observed) -> String {
    match run.quiet_s() {
        Some(quiet) if quiet >= QUIET_SHOWN && run.status == Shown::As(Status::Running) => {
            format!("{} (quiet {})", run.status, human_seconds(quiet))
        }
        _ => run.status.to_string(),
    }
}

/// Returns the step, of how many, and the percentage.
pub(crate) fn progress(run: &Observed) -> String {
    #[expect(clippy::cast_precision_loss, reason = "steps are far below 2^53")]
    let total = run.recorded.total_steps.map(|total| total as f64);
    match (run.recorded.step, total) {
        (Some(step), Some(total)) if total > 0.0 => format!("{step}/{total} ({:.1}%)", step / total * 100.0),
        (Some(step), _) => step.to_string(),
        (None, _) => String::new(),
    }
}

/// Returns the last values of the first three metrics, or of those that were asked for.
fn metrics(run: &Observed, columns: &[String]) -> String {
    let metrics = &run.recorded.metrics.0;
    let is_measured =
        |name: &str| !STEP_KEYS.contains(&name) && !["time", "timestamp", "wall_time"].contains(&name);
    let names: Vec<&String> = if columns.is_empty() {
        metrics.keys().filter(|name| is_measured(name)).take(3).collect()
    } else {
        columns.iter().filter(|name| metrics.contains_key(*name)).collect()
    };
    names
        .iter()
        .map(|name| format!("{name}={}", figure(&metrics[*name]["last"])))
        .collect::<Vec<_>>()
        .join(" ")
}

/// Returns a number in few digits; what is not finite was stored as null.
pub(crate) fn figure(value: &Value) -> String {
    let Some(number) = value.as_f64() else { return "NaN".to_owned() };
    let magnitude = number.abs();
    if number == 0.0 || (number.fract() == 0.0 && magnitude < 1e6) {
        format!("{number}")
    } else if (1e-3..1e5).contains(&magnitude) {
        let text = format!(
            "{number:.*}",
            if magnitude < 1.0 {
                4
            } else if magnitude < 100.0 {
                3
            } else {
                1
            }
        );
        text
    } else {
        format!("{number:.3e}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        let shown = [0.0, 3.0, 0.123_456, 12.345_67, 1234.56, 1e-5, 123_456_789.5, -0.5]
            .map(|number| figure(&json!(number)));
        assert_eq!(shown, ["0", "3", "0.1235", "12.346", "1234.6", "1.000e-5", "1.235e8", "-0.5000"]);
        assert_eq!(figure(&Value::Null), "NaN");
    }
}
