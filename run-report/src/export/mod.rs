//! All of it in one file: a page to look at, or a JSON document.

use crate::cli::Args;
use crate::curve::{Bucket, Curve, Wish, read};
use crate::plot::missing;
use crate::runs::{Figures, Run, Runs, is_measured, more_is_better};
use crate::summary::{all_figures, sheet, tint_word};
use run_common::cli::out::Out;
use run_common::error::{Error, Exit};
use run_common::fsio::atomic::{Durability, replace};
use run_common::json::json_number;
use run_common::time::Timestamp;
use serde_json::{Map, Value, json};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;

/// Buckets of all curves of a page together: the page is opened from disk, and mailed.
const BUCKETS: usize = 120_000;

/// Writes the page.
pub(crate) fn html(runs: &Runs, args: &Args, file: &Path, out: &mut Out) -> Result<Exit, Error> {
    let (figures, _) = all_figures(&runs.all); // what is wrong with them is said with the curves
    let is_drawn =
        |name: &&String| if args.plot.is_empty() { is_measured(name) } else { args.plot.contains(name) };
    let curves: usize = figures.iter().map(|(figures, _)| figures.keys().filter(is_drawn).count()).sum();
    let buckets = (BUCKETS / curves.max(1)).clamp(32, 2048) & !1;
    let (document, exit) = document(runs, args, &figures, buckets)?;
    // In a script element only `</script` and `<!--` would end the text: no `<` is left in it.
    let data = document.replace('<', "\\u003c");
    let page = include_str!("page.html")
        .replace("/*CSS*/", include_str!("page.css"))
        .replace("/*JS*/", include_str!("page.js"))
        .replace("/*DATA*/", &data);
    write_file(file, page.as_bytes(), out).map(|()| exit)
}

/// Writes the document.
pub(crate) fn json(runs: &Runs, args: &Args, file: &Path, out: &mut Out) -> Result<Exit, Error> {
    let (figures, _) = all_figures(&runs.all);
    let (document, exit) = document(runs, args, &figures, 1 << 20)?;
    write_file(file, document.as_bytes(), out).map(|()| exit)
}

/// Makes the document of which page and export consist.
fn document(runs: &Runs, args: &Args, figures: &[Figures], buckets: usize) -> Result<(String, Exit), Error> {
    let wish = Wish { metrics: &args.plot, buckets, smooth: args.smooth };
    let made = |run: &Run, curves: Vec<Curve>| {
        let names: Vec<String> = curves.iter().map(|curve| curve.metric.clone()).collect();
        (of_run(run, &curves).to_string(), names)
    };
    let (made, exit) = read(runs, &wish, made)?;
    let (curves, names): (Vec<String>, Vec<Vec<String>>) = made.into_iter().unzip();
    let exit = exit.max(missing(args, |metric| names.iter().flatten().any(|name| name == metric)));
    let sheet = sheet(&runs.all, figures);
    let columns: Vec<Value> =
        sheet.columns.iter().map(|column| json!({"name": column.name, "extra": column.is_extra})).collect();
    let rows: Vec<Map<String, Value>> = sheet.objects().collect();
    let head = json!({
        "schema": 1,
        "created": Timestamp::now(),
        "tool_version": env!("CARGO_PKG_VERSION"),
        "smooth": args.smooth,
        "log": args.log,
        "log_x": args.log_x,
        "columns": columns,
        "rows": rows,
    });
    // The runs are many numbers: each was written as soon as it was read.
    let head = head.to_string();
    let head = head.strip_suffix('}').unwrap_or(&head);
    Ok((format!("{head},\"runs\":[{}]}}\n", curves.join(",\n")), exit))
}

fn of_run(run: &Run, curves: &[Curve]) -> Value {
    let curve = |curve: &Curve| {
        let buckets = &curve.buckets;
        let column = |of: fn(&Bucket) -> f64| -> Vec<Value> {
            buckets.iter().map(|bucket| short(of(bucket))).collect()
        };
        let is_single = curve.rows_each == 1;
        let nonfinite: Vec<Value> =
            buckets.iter().filter(|bucket| bucket.nonfinite > 0).map(|bucket| short(bucket.from)).collect();
        json!({
            "metric": curve.metric,
            "rows": curve.rows,
            "rows_each": curve.rows_each,
            "more_is_better": more_is_better(&curve.metric),
            "step": column(|bucket| bucket.from),
            "to": if is_single { Value::Null } else { column(|bucket| bucket.to).into() },
            "min": column(|bucket| bucket.least),
            "max": if is_single { Value::Null } else { column(|bucket| bucket.greatest).into() },
            "mean": if is_single { Value::Null } else { column(Bucket::mean).into() },
            "nonfinite": nonfinite,
        })
    };
    let settings: Map<String, Value> = run.settings().into_iter().collect();
    let provenance: Map<String, Value> = run.provenance().into_iter().collect();
    json!({
        "run": run.name,
        "path": run.path(),
        "run_id": run.meta.run_id,
        "status": run.seen.status(),
        "mood": tint_word(run.seen.status()),
        "reason": run.seen.reason(),
        "attempts": run.attempts.iter().count(),
        "settings": settings,
        "provenance": provenance,
        "curves": curves.iter().map(curve).collect::<Vec<_>>(),
    })
}

/// Returns a number in seven digits at most, which is more than any screen shows.
fn short(number: f64) -> Value {
    if number.fract() == 0.0 {
        return json_number(number);
    }
    format!("{number:.6e}").parse().map_or(Value::Null, json_number)
}

/// Replaces a file, or that to which a link leads; `-` is stdout. What is no file, such as a pipe or
/// a device, is written to.
pub(crate) fn write_file(file: &Path, bytes: &[u8], out: &mut Out) -> Result<(), Error> {
    if file == Path::new("-") {
        return out.bytes(bytes);
    }
    let written = if fs::metadata(file).is_ok_and(|found| !found.is_file() && !found.is_dir()) {
        OpenOptions::new().write(true).open(file).and_then(|mut other| other.write_all(bytes))
    } else {
        let target = fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
        replace(&target, bytes, Durability::Process)
    };
    written.map_err(|error| Error::io("write", file, error))
}

/// Escapes a text for XML.
pub(crate) fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            c if c.is_control() => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}
