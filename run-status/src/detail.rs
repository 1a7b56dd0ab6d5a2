//! The details of one run.

use crate::entry::{Entry, figure};
use run_checkpoint::{Program, State, discover, save_times};
use run_common::cli::out::Out;
use run_common::cli::table::{Table, Tint};
use run_common::cost::{Rates, logged, spent};
use run_common::error::{Error, Exit};
use run_common::figures::{human_bytes, money};
use run_common::fsio::open_regular;
use run_common::message::complain;
use run_common::provenance::redact::redact_text;
use run_common::rundir::attempts::{Attempt, AttemptEnd, Attempts};
use run_common::rundir::evaluation::Measured;
use run_common::rundir::evaluations::Finder;
use run_common::rundir::layout::Layout;
use run_common::rundir::meta::Meta;
use run_common::rundir::observe::{Observed, Observer};
use run_common::rundir::status::Status;
use run_common::shell::shell_line;
use run_common::text::without_escapes;
use run_common::time::{Timestamp, human_seconds};
use serde_json::{Map, Value};
use std::collections::HashSet;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

/// Lines of the log that are shown of a failed attempt without a traceback.
const LAST_LINES: usize = 5;

/// Metrics of an evaluation that are shown.
const MEANS_SHOWN: usize = 4;

/// Bytes at the end of a log in which they are looked for.
const TAIL: u64 = 8 << 10;

/// Prints everything that there is to say about a run, but for what is damaged.
pub(crate) fn print(run: &Observed, out: &mut Out) -> Result<Exit, Error> {
    let layout = run.run.layout();
    let mut exit = Exit::Ok;
    let mut damaged = |error: Error| {
        complain(&error);
        exit = exit.max(error.exit());
    };
    let meta = Meta::shown(layout).map_err(&mut damaged).ok();
    let known = meta.as_ref();
    let attempts = Attempts::shown(layout).map_err(|error| Error::io("read", &layout.attempts(), error));
    let attempts = attempts.map_err(&mut damaged).unwrap_or_default();
    let blocks = [
        facts(run, known, Extent::Full),
        figures(&run.recorded.metrics().figures()),
        rows(&run.recorded.recent().rows()),
        attempts_table(&attempts, run),
        checkpoints(run, known),
        evaluations(run),
        last_lines(run, &attempts),
    ];
    for (number, block) in blocks.iter().filter(|block| !block.is_empty()).enumerate() {
        if number > 0 {
            out.text("")?;
        }
        out.table(block)?;
    }
    Ok(exit)
}

/// How much is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// What changes, and what the run is.
    Short,
    /// All of it.
    Full,
}

/// A table of keys and values, without what is not known.
pub(crate) fn facts(run: &Observed, meta: Option<&Meta>, extent: Extent) -> Table {
    let mut facts = Facts::default();
    of_record(&mut facts, run);
    if let Some(meta) = meta {
        facts.say("config", meta.config_path.clone());
        facts.say("overrides", Some(pairs(&meta.overrides)));
        facts.say("cost", cost(run, meta));
        if extent == Extent::Full {
            of_creation(&mut facts, run, meta);
        }
    }
    if extent == Extent::Full {
        of_machine(&mut facts, run);
    }
    facts.0
}

/// Keys and values.
#[derive(Default)]
struct Facts(Table);

impl Facts {
    fn say(&mut self, key: &str, value: Option<String>) {
        self.tinted(key, value, Tint::None);
    }

    fn tinted(&mut self, key: &str, value: Option<String>, tint: Tint) {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            self.0.row(vec![(format!("{key}:"), Tint::Dim), (value, tint)]);
        }
    }
}

/// Says what the run is and does.
fn of_record(facts: &mut Facts, run: &Observed) {
    let entry = Entry::of(run);
    let [duration, eta] = entry.times();
    facts.say("run", Some(entry.name().to_owned()));
    facts.say("path", Some(entry.path().to_owned()));
    facts.tinted("status", Some(entry.status()), run.status().into());
    facts.say("reason", run.reason().map(str::to_owned));
    facts.say("step", Some(entry.progress()));
    facts.say("started", run.start_time().map(Timestamp::local));
    facts.say("ended", run.end_time().map(Timestamp::local));
    facts.say("duration", duration.map(human_seconds));
    facts.say("eta", eta.map(human_seconds));
    facts.say("exit", run.recorded.exit_code().map(|code| code.to_string()));
    facts.say("signal", run.recorded.signal().map(|signal| signal.to_string()));
    facts.say("pid", entry.pid().map(|pid| pid.to_string()));
    facts.say("command", run.recorded.command.parse::<Option<Vec<String>>>().as_deref().map(shell_line));
}

/// Says what was so when the run was created.
fn of_creation(facts: &mut Facts, run: &Observed, meta: &Meta) {
    facts.say("directory", Some(meta.cwd.clone()));
    facts.say("environment", Some(pairs(&meta.env)));
    let input = |(name, input): (&String, &Value)| format!("{name}={}", text(&input["path"]));
    facts.say("inputs", Some(meta.inputs.iter().map(input).collect::<Vec<_>>().join(" ")));
    facts.say("seed", meta.seed.map(|seed| seed.to_string()));
    facts.say("tags", Some(meta.tags.join(" ")));
    facts.say("note", meta.note.clone());
    facts.say("code", code(meta));
    facts.say("python", python(meta));
    facts.say("device", meta.device.clone());
    facts.say("gpus", Some(meta.gpus.join(", ")));
    facts.say("host", Some(run.recorded.host().unwrap_or(&meta.host).to_owned()));
    facts.say("created", Some(format!("{} by {} on {}", meta.created.local(), meta.user, meta.host)));
}

/// Says what the last attempt has used.
fn of_machine(facts: &mut Facts, run: &Observed) {
    let Some(attempt) = run.recorded.attempt() else { return };
    let used = attempt.resources.map(|used| {
        let gpu = used.gpu_seconds.map(|seconds| format!(", gpu {}", human_seconds(seconds)));
        let (cpu, memory) = (human_seconds(used.cpu_seconds), used.max_rss_bytes >> 20);
        format!("cpu {cpu}, memory {memory} MiB{}", gpu.unwrap_or_default())
    });
    facts.say("resources", used);
    let lost = Some(attempt.lost_bytes).filter(|&lost| lost > 0);
    facts.say("lost output", lost.map(|lost| format!("{lost} bytes")));
}

/// Says what all attempts cost so far, where a price is known, what of it is lost, and what the
/// program says it has spent beside.
fn cost(run: &Observed, meta: &Meta) -> Option<String> {
    let rates = Rates::from_environment().ok().flatten(); // run-report says what is wrong with it
    let attempts = Attempts::read(run.run.layout()).ok()?;
    let is_known = |one: &Attempt| one.end.as_ref().is_some_and(|end| end.cost_usd.is_some());
    let mut words = Vec::new();
    if rates.is_some() || attempts.iter().any(is_known) {
        let spent = spent(run, &attempts, rates.as_ref(), || save_times(run, meta));
        words.extend(spent.usd.map(|usd| format!("${}", money(usd))));
        words.extend(
            spent.wasted_usd.filter(|usd| *usd > 0.0).map(|usd| format!("${} of it lost", money(usd))),
        );
    }
    words.extend(logged(&run.recorded.metrics().figures()).map(|usd| format!("${} logged", money(usd))));
    (!words.is_empty()).then(|| words.join(", "))
}

fn python(meta: &Meta) -> Option<String> {
    let version = meta.python_version.as_ref()?;
    let torch = meta.torch_version.as_ref().map(|torch| format!(", torch {torch}")).unwrap_or_default();
    Some(format!("{version}{torch} ({})", meta.python_executable.as_deref().unwrap_or("?")))
}

fn code(meta: &Meta) -> Option<String> {
    let commit = meta.git_commit.as_ref()?;
    let branch = meta.git_branch.as_ref().map(|branch| format!(" ({branch})")).unwrap_or_default();
    let dirty = if meta.git_dirty == Some(true) { ", with changes" } else { "" };
    Some(format!("{commit}{branch}{dirty}"))
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn pairs(values: &Map<String, Value>) -> String {
    let words: Vec<String> = values.iter().map(|(key, value)| format!("{key}={}", text(value))).collect();
    shell_line(&words)
}

/// Every metric over all of its rows.
pub(crate) fn figures(metrics: &Map<String, Value>) -> Table {
    if metrics.is_empty() {
        return Table::default();
    }
    let mut table = Table::new(["METRIC", "LAST", "MIN", "MAX", "MEAN", "STD", "ROWS", "NOT FINITE"]);
    for (name, of) in metrics {
        let number = |key: &str| match &of[key] {
            Value::Null if key != "last" => String::new(),
            value => figure(value),
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
    for row in recent {
        let cell = |key: &&String| match row.get(*key) {
            None => String::new(),
            Some(value @ (Value::Number(_) | Value::Null)) => figure(value),
            Some(value) => text(value),
        };
        table.row(keys.iter().map(|key| (cell(key), Tint::None)).collect());
    }
    table
}

/// A row for each attempt: its start, and its end when that was recorded.
fn attempts_table(attempts: &Attempts, run: &Observed) -> Table {
    if attempts.last().is_none() {
        return Table::default();
    }
    let mut table = Table::new(["ATTEMPT", "STARTED", "DURATION", "STATUS", "REASON"]);
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

/// The checkpoints, with what keeps an incomplete one from counting.
fn checkpoints(run: &Observed, meta: Option<&Meta>) -> Table {
    let program = if run.status().has_ended() { Program::Ended } else { Program::Lives };
    let found = match discover(run.run.layout(), meta.and_then(|meta| meta.checkpoint.as_ref()), program) {
        Ok(found) => found,
        Err(error) => {
            complain(&error);
            Vec::new()
        }
    };
    if found.is_empty() {
        return Table::default();
    }
    let mut table = Table::new(["CHECKPOINT", "STEP", "SIZE", "AGE", "STATE"]);
    for checkpoint in found {
        let age = Timestamp::now().seconds_since(checkpoint.modified());
        let (state, tint) = match &checkpoint.state {
            State::Complete => ("complete".to_owned(), Tint::None),
            State::Incomplete(why) => (format!("incomplete: {why}"), Tint::Doubt),
        };
        table.row(vec![
            (checkpoint.path.to_string_lossy().into_owned(), Tint::None),
            (checkpoint.step.map(|step| step.to_string()).unwrap_or_default(), Tint::None),
            (human_bytes(checkpoint.size.bytes), Tint::None),
            (human_seconds(age), Tint::None),
            (state, tint),
        ]);
    }
    table
}

/// The evaluations of the checkpoints, with what made one fail.
fn evaluations(run: &Observed) -> Table {
    let mut table = Table::new(["EVALUATION", "STEP", "STATUS", "DURATION", "ROWS", "METRICS", "REASON"]);
    let observer = Observer::default();
    for kind in Finder::new(None).of_run(&run.run, &run.recorded.run_id) {
        for (dir, evaluation) in kind.all() {
            let Ok(observed) = observer.observe(&dir) else { continue }; // it is just being made
            let step = evaluation.step.map_or(evaluation.checkpoint, |step| step.to_string());
            let has_completed = observed.status() == Status::Completed;
            let found = if has_completed { Measured::read(dir.layout()).ok() } else { None };
            let means = found.as_ref().map(means).unwrap_or_default();
            table.row(vec![
                (evaluation.label, Tint::None),
                (step, Tint::None),
                (observed.status().to_string(), observed.status().into()),
                (observed.duration_s().map(human_seconds).unwrap_or_default(), Tint::None),
                (found.map(|found| found.rows.to_string()).unwrap_or_default(), Tint::None),
                (means, Tint::None),
                (observed.reason().unwrap_or_default().to_owned(), Tint::None),
            ]);
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

/// The end of a failed attempt's traceback, or else of its log.
fn last_lines(run: &Observed, attempts: &Attempts) -> Table {
    let layout = run.run.layout();
    let mut table = Table::default();
    if matches!(run.status(), Status::Failed | Status::Dead) {
        let end = AttemptEnd::read(layout, &run.recorded.run_id, run.recorded.attempts());
        let lines = end.and_then(|end| end.traceback).or_else(|| {
            let offsets = &attempts.last()?.start.offsets;
            let start = |log| offsets.get(log).copied().unwrap_or_default();
            ["stderr.log", "stdout.log"].into_iter().find_map(|log| tail(layout, log, start(log)))
        });
        for line in lines.unwrap_or_default() {
            table.row(vec![(line, Tint::None)]);
        }
    }
    table
}

/// Returns the last lines that an attempt wrote to a log, if it wrote any.
fn tail(layout: &Layout, log: &str, start: u64) -> Option<Vec<String>> {
    let mut file: File = open_regular(&layout.root().join(log)).ok()??;
    let end = file.metadata().ok()?.len();
    let start = start.max(end.saturating_sub(TAIL));
    file.seek(SeekFrom::Start(start)).ok()?;
    let mut bytes = Vec::new();
    file.take(TAIL).read_to_end(&mut bytes).ok()?;
    let text = without_escapes(&String::from_utf8_lossy(&bytes));
    let text = redact_text(&text);
    let shown = |line: &str| line.rsplit('\r').find(|part| !part.is_empty()).unwrap_or_default().to_owned();
    let mut lines: Vec<String> = text.lines().map(shown).filter(|line| !line.trim().is_empty()).collect();
    lines.drain(..lines.len().saturating_sub(LAST_LINES));
    (!lines.is_empty()).then_some(lines)
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
