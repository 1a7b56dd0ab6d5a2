//! `metrics.json` of Sacred's `FileStorageObserver`: for each metric, `steps`, `timestamps` and `values`.
//! Sacred rewrites the document at every heartbeat (sacred, `observers/file_storage.py`). `NumPy` values are
//! objects with a `value`.

use super::lines::document;
use super::ordered_step::Step;
use super::row::{MetricRow, MetricValue};
use run_common::json::with_quoted_constants;
use run_common::time::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;

/// A metric.
#[derive(Deserialize)]
struct Series {
    steps: Vec<Value>,
    #[serde(default)]
    timestamps: Vec<Value>,
    values: Vec<Value>,
}

/// The values of a step, each metric at most once, and the time at which the first was logged.
#[derive(Default)]
struct Values {
    time: Option<f64>,
    fields: Vec<(String, MetricValue)>,
}

/// Reads the rows, in the order of their steps; returns the number of unreadable values. An unreadable document
/// counts as one.
pub(super) fn read(file: &File, act: &mut dyn FnMut(MetricRow)) -> io::Result<u64> {
    let bytes = document(file)?;
    let bytes = with_quoted_constants(&bytes).unwrap_or(bytes);
    let Ok(metrics) = serde_json::from_slice::<serde_json::Map<String, Value>>(&bytes) else { return Ok(1) };
    let mut skipped = 0;
    let mut steps: BTreeMap<Step, Vec<Values>> = BTreeMap::new();
    for (name, series) in metrics {
        let Ok(series) = serde_json::from_value::<Series>(series) else {
            skipped += 1;
            continue;
        };
        let mut counts: BTreeMap<Step, usize> = BTreeMap::new();
        for (at, (step, value)) in series.steps.into_iter().zip(series.values).enumerate() {
            let Some(step) = bare(step).as_f64().map(Step) else {
                skipped += 1;
                continue;
            };
            let count = counts.entry(step).or_default();
            let rows = steps.entry(step).or_default();
            if rows.len() == *count {
                rows.push(Values::default());
            }
            let row = &mut rows[*count];
            *count += 1;
            row.time = row.time.or_else(|| series.timestamps.get(at).and_then(seconds));
            row.fields.push((name.clone(), bare(value).into()));
        }
    }
    for (step, rows) in steps {
        for Values { time, fields } in rows {
            let step = ("step".to_owned(), MetricValue::Number(step.0));
            let others = fields.into_iter().filter(|(name, _)| name != "step");
            act(MetricRow::new([step].into_iter().chain(others).collect()).logged_at(time));
        }
    }
    Ok(skipped)
}

/// Returns the number in the object that Sacred writes for a `NumPy` value.
fn bare(value: Value) -> Value {
    match value {
        Value::Object(mut object) => object.remove("value").unwrap_or(Value::Null),
        value => value,
    }
}

/// Reads a time, which Sacred writes in UTC without a time zone.
fn seconds(time: &Value) -> Option<f64> {
    let time: Timestamp = format!("{}Z", time.as_str()?).parse().ok()?;
    #[expect(clippy::cast_precision_loss, reason = "milliseconds are below 2^53")]
    Some(time.millis() as f64 / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;

    fn rows(text: &str) -> (Vec<String>, u64) {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let mut rows = Vec::new();
        let skipped = read(&file, &mut |row| {
            let mut line = Vec::new();
            row.write_line(&mut line);
            let time = row.logged().map(|time| format!(" at {time}")).unwrap_or_default();
            rows.push(String::from_utf8(line).unwrap().trim_end().to_owned() + &time);
        });
        (rows, skipped.unwrap())
    }

    #[test]
    fn the_values_of_a_step_are_a_row() {
        let (rows, skipped) = rows(
            r#"{"loss": {"steps": [0, 1, 1], "timestamps": ["2026-01-29T12:00:00.250000", "x"],
                         "values": [1, NaN, {"dtype": "float64", "py/object": "numpy.float64", "value": 0.25}]},
                "acc": {"steps": [{"value": 1}, null, 2], "values": [0.5, 7, "0.75", 9]},
                "bad": [], "none": {"steps": [], "values": []}}"#,
        );
        assert_eq!(
            rows,
            [
                r#"{"step":0,"loss":1} at 1769688000.25"#,
                r#"{"step":1,"loss":"NaN","acc":0.5}"#,
                r#"{"step":1,"loss":0.25}"#,
                r#"{"step":2,"acc":0.75}"#,
            ]
        );
        assert_eq!(skipped, 2);
    }

    #[test]
    fn what_is_no_document_is_no_row() {
        for text in ["", "[]", "{", "7", r#"{"loss": {"steps": [0], "values": [1]}"#] {
            assert_eq!(rows(text), (vec![], 1), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_value_is_lost(steps in prop::collection::vec((0..2_usize, 0..5_u32), 0..20)) {
            let series = |wanted: usize| {
                let all: Vec<_> = steps.iter().filter(|(name, _)| *name == wanted).map(|(_, step)| *step).collect();
                format!(r#"{{"steps": {all:?}, "values": {all:?}}}"#)
            };
            let (rows, skipped) = rows(&format!(r#"{{"a": {}, "b": {}}}"#, series(0), series(1)));
            prop_assert_eq!(skipped, 0);
            let values: usize = rows.iter().map(|row| row.matches(',').count()).sum();
            prop_assert_eq!(values, steps.len());
        }
    }
}
