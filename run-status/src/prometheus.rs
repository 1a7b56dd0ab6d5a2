//! `--format prometheus`: runs as metrics in the text format of Prometheus, for a textfile collector.

use crate::entry::{Entry, shown_metrics};
use crate::select::Scope;
use run_common::cli::out::Out;
use run_common::error::{Error, Exit};
use run_common::message::complain;
use run_common::rundir::observe::{Observed, Observer};
use run_common::rundir::status::Status;
use run_common::text::printable;
use run_common::time::Timestamp;
use run_launch::settle::settle;
use std::fmt::Write;

/// Maximum number of metrics of each run, unless they were named.
const METRICS: usize = 3;

/// A gauge of runs.
struct Gauge {
    name: &'static str,
    help: &'static str,
    of: fn(&Observed, &Entry) -> Option<f64>,
}

/// The gauges with a value for each run.
const GAUGES: [Gauge; 7] = [
    Gauge { name: "run_step", help: "Step of the training.", of: |run, _| run.recorded.step() },
    Gauge {
        name: "run_total_steps",
        help: "Number of steps to train for.",
        of: |run, _| run.recorded.total_steps.map(count),
    },
    Gauge {
        name: "run_attempts",
        help: "Number of attempts.",
        of: |run, _| Some(run.recorded.attempts().into()),
    },
    Gauge {
        name: "run_duration_seconds",
        help: "Duration of all attempts.",
        of: |_, entry| entry.times()[0],
    },
    Gauge {
        name: "run_eta_seconds",
        help: "Remaining time at the average pace of the attempt.",
        of: |_, entry| entry.times()[1],
    },
    Gauge {
        name: "run_quiet_seconds",
        help: "Time since the last output, metric row or checkpoint of a running program.",
        of: |run, _| run.quiet_s(),
    },
    Gauge {
        name: "run_last_heartbeat_timestamp_seconds",
        help: "Time of the last heartbeat.",
        of: |run, _| Some(run.recorded.attempt()?.last_heartbeat?.seconds_since(Timestamp::from_millis(0)?)),
    },
];

#[expect(clippy::cast_precision_loss, reason = "steps are far below 2^53")]
fn count(steps: u64) -> f64 {
    steps as f64
}

/// Prints the selected runs.
pub(crate) fn print(
    scope: &Scope,
    columns: &[String],
    observer: &Observer,
    out: &mut Out,
) -> Result<Exit, Error> {
    let mut exit = Exit::Ok;
    let mut fail = |error: &Error| {
        exit = exit.max(error.exit());
        complain(error);
    };
    let mut runs: Vec<Observed> = Vec::new();
    for run in scope.select()?.runs {
        match run.and_then(|run| observer.observe(&run)) {
            Ok(run) => runs.push(run),
            Err(error) => fail(&error),
        }
    }
    settle(observer, runs.iter_mut());
    let counts = Status::ALL.map(|status| (status, runs.iter().filter(|run| run.status() == status).count()));
    runs.retain(|run| scope.wants(run));
    out.bytes(exposition(scope, columns, &runs, &counts).as_bytes())?;
    Ok(exit)
}

fn exposition(scope: &Scope, columns: &[String], runs: &[Observed], counts: &[(Status, usize)]) -> String {
    let mut text = String::new();
    head(&mut text, "runs", "Number of runs in each status, including runs that are not shown.");
    for (status, count) in counts {
        let _ = writeln!(text, "runs{{status=\"{status}\"}} {count}"); // writing to a string cannot fail
    }
    let runs: Vec<(String, &Observed, Entry)> =
        runs.iter().map(|run| (label(&name_of(scope, run)), run, Entry::of(run))).collect();
    if runs.is_empty() {
        return text;
    }
    head(&mut text, "run_status", "Status of a run: 1.");
    for (name, run, _) in &runs {
        let _ = writeln!(text, "run_status{{run=\"{name}\",status=\"{}\"}} 1", run.status());
    }
    for Gauge { name, help, of } in GAUGES {
        let values = runs.iter().filter_map(|(run, observed, entry)| Some((run, of(observed, entry)?)));
        for (place, (run, value)) in values.enumerate() {
            if place == 0 {
                head(&mut text, name, help);
            }
            let _ = writeln!(text, "{name}{{run=\"{run}\"}} {value}");
        }
    }
    let mut has_metrics = false;
    for (run, observed, _) in &runs {
        let figures = observed.recorded.metrics().figures();
        for metric in shown_metrics(&figures, columns, METRICS) {
            if !std::mem::replace(&mut has_metrics, true) {
                head(&mut text, "run_metric", "Last value of a metric.");
            }
            let value = figures[&metric]["last"].as_f64().unwrap_or(f64::NAN);
            let metric = label(&metric);
            let _ = writeln!(text, "run_metric{{run=\"{run}\",metric=\"{metric}\"}} {value}");
        }
    }
    text
}

fn head(text: &mut String, name: &str, help: &str) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge");
}

/// Returns the path of a run below the runs directory; elsewhere its absolute path.
fn name_of(scope: &Scope, run: &Observed) -> String {
    let path = run.run.absolute();
    let above = std::path::absolute(scope.runs_dir()).unwrap_or_default();
    path.strip_prefix(&above).unwrap_or(&path).to_string_lossy().into_owned()
}

/// Returns a text as it is written between the quotes of a label.
fn label(text: &str) -> String {
    printable(text).replace('\\', r"\\").replace('"', "\\\"")
}
