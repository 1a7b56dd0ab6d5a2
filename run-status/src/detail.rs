//! The details of one run.

use crate::list::{figure, name, progress, status, tint};
use run_common::cli::out::{Out, Table, Tint};
use run_common::error::Error;
use run_common::fsio::append::read_lines;
use run_common::rundir::layout::Layout;
use run_common::rundir::meta::Meta;
use run_common::rundir::observe::Observed;
use run_common::rundir::status::AttemptEnd;
use run_common::text::shell_line;
use run_common::time::{Timestamp, human_seconds};
use serde_json::{Map, Value};
use std::fs;

/// Prints everything that there is to say about a run.
pub(crate) fn print(run: &Observed, out: &mut Out) -> Result<(), Error> {
    let layout = run.run.layout();
    let meta = Meta::read(layout)?;
    out.table(&facts(run, &meta))?;
    let recorded = &run.recorded;
    if !recorded.metrics.0.is_empty() {
        out.text("")?;
        out.table(&figures(&recorded.metrics.0))?;
    }
    if !recorded.recent.is_empty() {
        out.text("")?;
        out.table(&rows(&recorded.recent))?;
    }
    let attempts = attempts(layout);
    if !attempts.is_empty() {
        out.text("")?;
        out.table(&attempts_table(&attempts, run))?;
    }
    if let Some(traceback) = last_traceback(layout, recorded.attempt) {
        out.text("")?;
        for line in traceback {
            out.text(&line)?;
        }
    }
    Ok(())
}

/// A table of keys and values, without what is not known.
fn facts(run: &Observed, meta: &Meta) -> Table {
    let recorded = &run.recorded;
    let mut table = Table::default();
    let mut fact = |key: &str, value: Option<String>, tint: Tint| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            table.row(vec![(format!("{key}:"), Tint::Dim), (value, tint)]);
        }
    };
    let mut say = |key: &str, value: Option<String>| fact(key, value, Tint::None);
    say("run", Some(name(run)));
    say("path", Some(run.run.absolute().to_string_lossy().into_owned()));
    fact("status", Some(status(run)), tint(run.status));
    let mut say = |key: &str, value: Option<String>| fact(key, value, Tint::None);
    say("reason", run.reason.clone());
    say("step", Some(progress(run)));
    say("started", recorded.start_time.map(Timestamp::local));
    say("ended", recorded.end_time.map(Timestamp::local));
    say("duration", run.duration_s().map(human_seconds));
    say("eta", run.eta_s().map(human_seconds));
    say("exit", recorded.exit_code.map(|code| code.to_string()));
    say("signal", recorded.signal.map(|signal| signal.to_string()));
    say("pid", recorded.pid.filter(|_| !run.status.has_ended()).map(|pid| pid.to_string()));
    say("command", recorded.command.as_deref().map(shell_line));
    say("directory", Some(meta.cwd.clone()));
    say("config", meta.config_path.clone());
    say("overrides", Some(pairs(&meta.overrides)));
    say("environment", Some(pairs(&meta.env)));
    say(
        "inputs",
        Some(
            meta.inputs
                .iter()
                .map(|(name, input)| format!("{name}={}", text(&input["path"])))
                .collect::<Vec<_>>()
                .join(" "),
        ),
    );
    say("seed", meta.seed.map(|seed| seed.to_string()));
    say("tags", Some(meta.tags.join(" ")));
    say("note", meta.note.clone());
    say("code", code(meta));
    say(
        "python",
        meta.python_version.as_ref().map(|version| {
            let torch =
                meta.torch_version.as_ref().map(|torch| format!(", torch {torch}")).unwrap_or_default();
            format!("{version}{torch} ({})", meta.python_executable.as_deref().unwrap_or("?"))
        }),
    );
    say("device", meta.device.clone());
    say("gpus", Some(meta.gpus.join(", ")));
    say("host", recorded.host.clone().or_else(|| Some(meta.host.clone())));
    say("created", Some(format!("{} by {} on {}", meta.created.local(), meta.user, meta.host)));
    say(
        "resources",
        recorded.resources.map(|used| {
            let gpu = used
                .gpu_seconds
                .map(|seconds| format!(", gpu {}", human_seconds(seconds)))
                .unwrap_or_default();
            format!("cpu {}, memory {} MiB{gpu}", human_seconds(used.cpu_seconds), used.max_rss_bytes >> 20)
        }),
    );
    say(
        "lost output",
        Some(recorded.lost_bytes).filter(|&lost| lost > 0).map(|lost| format!("{lost} bytes")),
    );
    table
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
fn figures(metrics: &Map<String, Value>) -> Table {
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
fn rows(recent: &[Map<String, Value>]) -> Table {
    let mut keys: Vec<&String> = Vec::new();
    for key in recent.iter().flat_map(Map::keys) {
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
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

fn attempts(layout: &Layout) -> Vec<Value> {
    read_lines(&layout.attempts()).map(|lines| lines.records).unwrap_or_default()
}

/// A row for each attempt: its start, and its end when that was recorded.
fn attempts_table(lines: &[Value], run: &Observed) -> Table {
    let mut table = Table::new(["ATTEMPT", "STARTED", "DURATION", "STATUS", "REASON"]);
    for start in lines.iter().filter(|line| line["event"] == "start") {
        let end = lines.iter().find(|line| line["event"] == "end" && line["attempt"] == start["attempt"]);
        let is_current = start["attempt"] == run.recorded.attempt;
        let time = start["start_time"].as_str().and_then(|time| time.parse::<Timestamp>().ok());
        let (duration, status, reason) = match end {
            Some(end) => {
                (end["duration_s"].as_f64(), text(&end["status"]), end["reason"].as_str().map(str::to_owned))
            }
            None if is_current => (run.duration_s(), run.status.to_string(), run.reason.clone()),
            None => (None, "dead".to_owned(), None),
        };
        let cells = [
            text(&start["attempt"]),
            time.map(Timestamp::local).unwrap_or_default(),
            duration.map(human_seconds).unwrap_or_default(),
            status,
            reason.unwrap_or_default(),
        ];
        table.row(cells.map(|cell| (cell, Tint::None)).to_vec());
    }
    table
}

fn last_traceback(layout: &Layout, attempt: u32) -> Option<Vec<String>> {
    let end: AttemptEnd = serde_json::from_slice(&fs::read(layout.result()).ok()?).ok()?;
    end.traceback.filter(|_| end.attempt == attempt)
}
