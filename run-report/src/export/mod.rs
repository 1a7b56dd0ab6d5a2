//! The whole report as a JSON document: the table, and the curves, settings and provenance of every run.

use crate::curve::{Bucket, Curve};
use crate::curves::{Options, read};
use crate::figures::Figures;
use crate::output::write_file;
use crate::run::Run;
use crate::runs::Runs;
use crate::settings::{Environment, environment, provenance, settings};
use crate::table;
use run_common::cli::out::Out;
use run_common::cli::table::Tint;
use run_common::error::{Error, Exit};
use run_common::json::json_number;
use run_common::rundir::status::Status;
use run_common::time::Timestamp;
use run_metrics::names::Better;
use serde_json::{Map, Value, json};
use std::path::Path;

/// Maximum number of buckets of a curve in the document; nearly every run has fewer rows.
const BUCKETS: usize = 1 << 20;

/// Writes the document.
pub(crate) fn write(runs: &Runs, options: &Options, file: &Path, out: &mut Out) -> Result<Exit, Error> {
    let (figures, _) = Figures::of_all(&runs.all); // errors are reported with the curves
    let (document, exit) = document(runs, options, &figures);
    write_file(file, document.as_bytes(), out).map(|()| exit)
}

/// Creates the document.
fn document(runs: &Runs, options: &Options, figures: &[Figures]) -> (String, Exit) {
    let chosen = options.metrics.names(|name| figures.iter().any(|figures| figures.has(name)));
    let made = |run: &Run, mut curves: Vec<Curve>| {
        curves.retain(|curve| chosen.is_empty() || chosen.contains(&curve.metric));
        let names: Vec<String> = curves.iter().map(|curve| curve.metric.clone()).collect();
        (of_run(run, &curves), names)
    };
    let (made, exit) = read(runs, options, BUCKETS, made);
    let (curves, names): (Vec<String>, Vec<Vec<String>>) = made.into_iter().unzip();
    let exit =
        exit.max(options.say_missing(runs, |metric| names.iter().flatten().any(|name| name == metric)));
    let frame = table::all_columns(&runs.all, figures);
    let head = json!({
        "schema": 1,
        "created": Timestamp::now(),
        "tool_version": env!("CARGO_PKG_VERSION"),
        "x": options.x,
        "smooth": options.smooth,
        "log": options.log,
        "log_x": options.log_x,
    });
    // The runs hold many numbers, so each run was serialized as soon as it was read.
    let head = head.to_string();
    let head = head.strip_suffix('}').unwrap_or(&head);
    (format!("{head},{},\"runs\":[{}]}}\n", frame.members(), curves.join(",\n")), exit)
}

fn of_run(run: &Run, curves: &[Curve]) -> String {
    let Environment { facts, packages } = environment(run);
    let mut document = about(run, facts);
    document.insert("packages".to_owned(), packages.into());
    let document = Value::from(document).to_string();
    let document = document.strip_suffix('}').unwrap_or(&document);
    let curves: Vec<String> = curves.iter().map(|curve| of_curve(curve).to_string()).collect();
    format!("{document},\"curves\":[{}]}}", curves.join(","))
}

/// Returns what a document and a page say of a run before its curves. Facts of its environment follow its provenance.
pub(crate) fn about(run: &Run, facts: Map<String, Value>) -> Map<String, Value> {
    [
        ("run", run.name.as_str().into()),
        ("path", run.path().into()),
        ("run_id", run.meta.run_id.as_str().into()),
        ("status", json!(run.seen.status())),
        ("mood", mood(run.seen.status()).into()),
        ("reason", run.seen.reason().into()),
        ("note", json!(run.meta.note)),
        ("tags", json!(run.meta.tags)),
        ("attempts", run.attempts.iter().count().into()),
        ("duration_s", json!(run.seen.total_duration_s())),
        ("settings", settings(run).into()),
        ("provenance", provenance(run).into_iter().chain(facts).collect::<Map<_, _>>().into()),
    ]
    .into_iter()
    .map(|(name, value): (&str, Value)| (name.to_owned(), value))
    .collect()
}

fn of_curve(curve: &Curve) -> Value {
    let buckets = &curve.buckets;
    let column =
        |of: fn(&Bucket) -> f64| -> Vec<Value> { buckets.iter().map(|bucket| short(of(bucket))).collect() };
    // A time in seconds since 1970 has more digits than a screen shows.
    let steps = |of: fn(&Bucket) -> f64| -> Vec<Value> {
        buckets.iter().map(|bucket| json_number(of(bucket))).collect()
    };
    let is_single = curve.rows_each == 1;
    let nonfinite: Vec<Value> =
        buckets.iter().filter(|bucket| bucket.nonfinite > 0).map(|bucket| json_number(bucket.from)).collect();
    json!({
        "metric": curve.metric,
        "rows": curve.rows,
        "rows_each": curve.rows_each,
        "more_is_better": Better::of(&curve.metric).map(Better::is_more),
        "step": steps(|bucket| bucket.from),
        "to": if is_single { Value::Null } else { steps(|bucket| bucket.to).into() },
        "min": column(|bucket| bucket.least),
        "max": if is_single { Value::Null } else { column(|bucket| bucket.greatest).into() },
        "mean": if is_single { Value::Null } else { column(Bucket::mean).into() },
        "nonfinite": nonfinite,
    })
}

/// Returns the colour of a status as a word.
fn mood(status: Status) -> &'static str {
    match status.into() {
        Tint::Live | Tint::Good => "good",
        Tint::Doubt => "doubt",
        Tint::Bad => "bad",
        Tint::None | Tint::Dim | Tint::Chosen => "",
    }
}

/// Rounds a number to seven digits, which is more than any screen shows.
fn short(number: f64) -> Value {
    if number.fract() == 0.0 {
        return json_number(number);
    }
    format!("{number:.6e}").parse().map_or(Value::Null, json_number)
}
