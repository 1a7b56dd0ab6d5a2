//! The details of one run.

use crate::backup::BackupOut;
use crate::entry::{figure, text};
use crate::facts::{Extent, facts};
use crate::rows::column;
use crate::unseen::unseen;
use run_checkpoint::{self as checkpoint, Names, Program, State};
use run_common::cli::out::Out;
use run_common::cli::table::{Table, Tint};
use run_common::error::{Error, Exit};
use run_common::figures::{Precision, human_bytes};
use run_common::fsio::open_regular;
use run_common::message::{complain, warn};
use run_common::rundir::attempts::{Attempt, AttemptEnd, Attempts, checkpoint_of};
use run_common::rundir::evaluation::Measured;
use run_common::rundir::evaluations::Finder;
use run_common::rundir::foreign::{Foreign, ForeignEvaluations};
use run_common::rundir::log_end::tail;
use run_common::rundir::logs::of_other_system;
use run_common::rundir::meta::{Checkpoint, Meta};
use run_common::rundir::observe::{Observed, Observer};
use run_common::rundir::status::Status;
use run_common::time::{Timestamp, human_seconds};
use run_metrics::evaluated::measure;
use run_metrics::names::is_metric;
use serde_json::{Map, Value};
use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Number of log lines to show for a failed attempt without a traceback.
const LAST_LINES: usize = 5;

/// Number of metrics to show for an evaluation.
const MEANS_SHOWN: usize = 4;

/// Prints all details of a run; warns about damaged parts.
pub(crate) fn print(run: &Observed, pattern: Option<&str>, out: &mut Out) -> Result<Exit, Error> {
    let layout = run.run.layout();
    let mut exit = Exit::Ok;
    let mut damaged = |error: Error| {
        complain(&error);
        exit = exit.max(error.exit());
    };
    if let Some(damage) = run.damage() {
        damaged(damage);
    }
    let meta = run.meta().map_err(&mut damaged).ok();
    let known = meta.as_ref();
    let attempts = run.attempts().map_err(&mut damaged).unwrap_or_default();
    if attempts.skipped() > 0 {
        let (count, path) = (attempts.skipped(), layout.attempts());
        let (lines, are) = if count == 1 { ("line", "is") } else { ("lines", "are") };
        warn(&format!("{count} {lines} of '{}' {are} damaged, and not shown", path.display()));
    }
    let origin = known.and_then(|meta| Foreign::origin(layout, meta));
    let foreign = origin.map(|origin| origin.evaluations(layout.root())).unwrap_or_default();
    for why in foreign.iter().flat_map(|evaluations| &evaluations.unread) {
        damaged(Error::new(Exit::BadRun, why.as_str()));
    }
    let found = found(run, known, pattern);
    let mut facts = facts(run, known, Extent::Full);
    if let Some(backup) = BackupOut::of(run) {
        facts.row(vec![("backup:".to_owned(), Tint::Dim), (backup.words(&found), Tint::None)]);
    }
    let blocks = [
        facts,
        unseen_metrics(run, &attempts),
        figures(&run.recorded.metrics().figures()),
        rows(&run.recorded.recent().rows()),
        attempts_table(&attempts, run),
        checkpoints(&found),
        evaluations(run, foreign),
        last_lines(run, known, &attempts),
    ];
    for (number, block) in blocks.iter().filter(|block| !block.is_empty()).enumerate() {
        if number > 0 {
            out.text("")?;
        }
        out.table(block)?;
    }
    Ok(exit)
}

/// Prints warnings about missing metrics.
fn unseen_metrics(run: &Observed, attempts: &Attempts) -> Table {
    let mut table = Table::default();
    if let Some(words) = unseen(run, attempts) {
        table.row(vec![(words, Tint::Doubt)]);
    }
    table
}

/// Figures of every metric over all of its rows.
pub(crate) fn figures(metrics: &Map<String, Value>) -> Table {
    if metrics.is_empty() {
        return Table::default();
    }
    let mut table = Table::new(["METRIC", "LAST", "MIN", "MAX", "MEAN", "STD", "ROWS", "NOT FINITE"]);
    let of_metric = |of: &Value| {
        let values = ["last", "min", "max", "mean", "std"].map(|key| of[key].as_f64().unwrap_or(f64::NAN));
        Precision::of(values)
    };
    // Metrics with decimals have as many as each other; whole numbers and those with an exponent have none.
    let decimals = |precision| if let Precision::Decimals(decimals) = precision { decimals } else { 0 };
    let most = metrics.values().map(|of| decimals(of_metric(of))).max().unwrap_or_default();
    for (name, of) in metrics {
        let precision = match of_metric(of) {
            Precision::Decimals(1..) => Precision::Decimals(most),
            other => other,
        };
        let number = |key: &str| match &of[key] {
            Value::Null if key != "last" => String::new(),
            value => precision.show(value.as_f64().unwrap_or(f64::NAN)),
        };
        let count = |key: &str| {
            of[key].as_u64().filter(|&count| count > 0).map(|count| count.to_string()).unwrap_or_default()
        };
        let cells = [
            name.clone(),
            number("last"),
            number("min"),
            number("max"),
            number("mean"),
            number("std"),
            count("count"),
            count("nonfinite"),
        ];
        table.row(cells.map(|cell| (cell, Tint::None)).to_vec());
    }
    table
}

/// The last rows, under the union of their keys.
pub(crate) fn rows(recent: &[Map<String, Value>]) -> Table {
    let mut known = HashSet::new();
    let keys: Vec<&String> = recent.iter().flat_map(Map::keys).filter(|key| known.insert(*key)).collect();
    let mut table = Table::new(keys.iter().map(|key| run_common::text::printable(key).into_owned()));
    let number = |value: &Value| value.as_f64().unwrap_or(f64::NAN);
    let of_column = |key: &&String| Precision::of(recent.iter().filter_map(|row| row.get(*key)).map(number));
    let precisions: Vec<Precision> = keys.iter().map(of_column).collect();
    for row in recent {
        let cell = |(key, precision): (&&String, &Precision)| match row.get(*key) {
            None => String::new(),
            Some(value @ (Value::Number(_) | Value::Null)) => precision.show(number(value)),
            Some(value) => text(value),
        };
        table.row(keys.iter().zip(&precisions).map(|key| (cell(key), Tint::None)).collect());
    }
    table
}

/// A row for each attempt: its start, and its end if recorded.
fn attempts_table(attempts: &Attempts, run: &Observed) -> Table {
    if attempts.last().is_none() {
        return Table::default();
    }
    let mut table = Table::new(["ATTEMPT", "STARTED", "DURATION", "STATUS", "REASON"].map(column));
    for Attempt { start, end } in attempts.iter() {
        let is_current = start.attempt == run.recorded.attempts();
        let (duration, status, reason) = match end {
            Some(end) => (Some(end.duration_s), end.status.into(), end.reason.clone()),
            None if is_current => (run.duration_s(), run.status(), run.reason().map(str::to_owned)),
            None => (None, Status::Dead, None),
        };
        let cells = [
            start.attempt.to_string(),
            start.start_time.local(),
            duration.map(human_seconds).unwrap_or_default(),
            status.to_string(),
            reason.unwrap_or_default(),
        ];
        table.row(cells.map(|cell| (cell, Tint::None)).to_vec());
    }
    table
}

/// Finds the checkpoints, by the given or recorded pattern, and warns if their names are ambiguous.
fn found(run: &Observed, meta: Option<&Meta>, pattern: Option<&str>) -> Vec<checkpoint::Checkpoint> {
    let program = if run.status().has_ended() { Program::Ended } else { Program::Lives };
    let layout = run.run.layout();
    let mut recorded = meta.and_then(|meta| checkpoint_of(meta, layout));
    if let Some(pattern) = pattern {
        recorded = Some(Checkpoint::with_pattern(recorded, pattern));
    }
    let Ok(names) = Names::below(layout, recorded.as_ref()).inspect_err(complain) else { return Vec::new() };
    let doubts = names.doubts();
    let found = names.checkpoints(program);
    for doubt in &doubts {
        warn(doubt);
    }
    found
}

/// The checkpoints, with the reason if one is incomplete.
fn checkpoints(found: &[checkpoint::Checkpoint]) -> Table {
    if found.is_empty() {
        return Table::default();
    }
    let mut table = Table::new(["CHECKPOINT", "STEP", "SIZE", "AGE", "STATE", "REASON"].map(column));
    for checkpoint in found {
        let age = Timestamp::now().seconds_since(checkpoint.modified());
        let (state, tint, why) = match &checkpoint.state {
            State::Complete => ("complete", Tint::None, String::new()),
            State::Incomplete(why) => ("incomplete", Tint::Doubt, why.clone()),
        };
        table.row(vec![
            (checkpoint.path.to_string_lossy().into_owned(), Tint::None),
            (checkpoint.step.map(|step| step.to_string()).unwrap_or_default(), Tint::None),
            (human_bytes(checkpoint.size.bytes), Tint::None),
            (human_seconds(age), Tint::None),
            (state.to_owned(), tint),
            (why, tint),
        ]);
    }
    table
}

/// The evaluations of the checkpoints, with the reason of a failure.
fn evaluations(run: &Observed, foreign: Vec<ForeignEvaluations>) -> Table {
    let mut table =
        Table::new(["EVALUATION", "STEP", "STATUS", "DURATION", "ROWS", "METRICS", "REASON"].map(column));
    let observer = Observer::default();
    for kind in Finder::new(None).of_run(&run.run, &run.recorded.run_id) {
        for (dir, evaluation) in kind.all().inspect_err(complain).unwrap_or_default() {
            let observed = match observer.observe(&dir) {
                Ok(observed) => observed,
                Err(error) => {
                    if dir.layout().status().exists() {
                        complain(&error);
                    }
                    continue; // it is being created
                }
            };
            let step = evaluation.step.map_or(evaluation.checkpoint, |step| step.to_string());
            let has_completed = observed.status() == Status::Completed;
            let found = if has_completed { Measured::read(dir.layout()).ok() } else { None };
            let means = found.as_ref().map(means).unwrap_or_default();
            table.row(vec![
                (evaluation.label, Tint::None),
                (step, Tint::None),
                (observed.status().to_string(), observed.status().into()),
                (observed.total_duration_s().map(human_seconds).unwrap_or_default(), Tint::None),
                (found.map(|found| found.rows.to_string()).unwrap_or_default(), Tint::None),
                (means, Tint::None),
                (observed.reason().unwrap_or_default().to_owned(), Tint::None),
            ]);
        }
    }
    for evaluations in foreign {
        for (step, path) in evaluations.tables {
            let measured = open_regular(&path).ok().flatten().map(measure);
            let (rows, metrics, reason) = match measured {
                Some(Ok((rows, metrics))) => (rows.to_string(), metrics, String::new()),
                Some(Err(damage)) => (String::new(), Map::new(), format!("metrics.csv {damage}")),
                None => (String::new(), Map::new(), "metrics.csv cannot be read".to_owned()),
            };
            let step = step.map_or_else(|| "final".to_owned(), |step| step.to_string());
            let means = metrics.iter().filter(|(name, _)| is_metric(name)).take(MEANS_SHOWN);
            let means = means.map(|(name, of)| format!("{name}={}", figure(&of["mean"])));
            let means = means.collect::<Vec<_>>().join(" ");
            let cells = [evaluations.label.clone(), step, String::new(), String::new(), rows, means, reason];
            table.row(cells.map(|cell| (cell, Tint::None)).to_vec());
        }
    }
    if table.is_empty() { Table::default() } else { table }
}

/// Shows the means of the first metrics over the rows of an evaluation.
fn means(found: &Measured) -> String {
    let shown = found.means().take(MEANS_SHOWN);
    shown
        .map(|(name, mean)| format!("{name}={}", run_common::figures::figure(mean)))
        .collect::<Vec<_>>()
        .join(" ")
}

/// The end of a failed attempt's traceback, or of its log.
fn last_lines(run: &Observed, meta: Option<&Meta>, attempts: &Attempts) -> Table {
    let layout = run.run.layout();
    let mut table = Table::default();
    if matches!(run.status(), Status::Failed | Status::Dead) {
        let end = AttemptEnd::read(layout, &run.recorded.run_id, run.recorded.attempts());
        let lines = end.and_then(|end| end.traceback).or_else(|| {
            logs(run, meta, attempts).into_iter().find_map(|(log, start)| tail(&log, start, LAST_LINES))
        });
        for line in lines.unwrap_or_default() {
            table.row(vec![(line, Tint::None)]);
        }
    }
    table
}

/// Returns the logs of a run, that of errors first, with the offset at which its last attempt began.
fn logs(run: &Observed, meta: Option<&Meta>, attempts: &Attempts) -> Vec<(PathBuf, u64)> {
    let layout = run.run.layout();
    if let Some(logs) = of_other_system(layout, meta, run.recorded.attempts()) {
        return [logs.stderr, logs.stdout, logs.combined].into_iter().flatten().map(|log| (log, 0)).collect();
    }
    let Some(last) = attempts.last() else { return Vec::new() };
    let start = |log: &str| last.start.offsets.get(log).copied().unwrap_or_default();
    ["stderr.log", "stdout.log"].map(|log| (layout.root().join(log), start(log))).to_vec()
}

/// Returns the name and the last lines of the log that a run wrote to last, if any.
pub(crate) fn last_log(run: &Observed, count: usize) -> Option<(String, Vec<String>)> {
    let attempts = Attempts::read(run.run.layout()).unwrap_or_default();
    let written = |log: &Path| fs::metadata(log).and_then(|file| file.modified()).ok();
    let mut logs = logs(run, run.meta().ok().as_ref(), &attempts);
    logs.sort_by_key(|(log, _)| std::cmp::Reverse(written(log)));
    logs.into_iter().find_map(|(log, start)| {
        let lines = tail(&log, start, count)?;
        Some((log.file_name()?.to_string_lossy().into_owned(), lines))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_rows_have_the_union_of_their_keys_however_many_there_are() {
        let row = |from: u32| (from..from + 300_000).map(|key| (key.to_string(), Value::from(key))).collect();
        let lines = rows(&[row(0), row(1)]).lines(false, usize::MAX);
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[0].split_whitespace().count(), 300_001);
    }
}
