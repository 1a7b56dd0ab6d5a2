//! A metric row as programs write it: a JSON object per line. `NaN` and `Infinity` may be written as by
//! Python's json module, or as strings with these names, as strict JSON needs and Protocol Buffers write them.
//! Values in nested objects get names with a `/`, such as `train/loss`.

use super::csv::MARK;
use super::standing::{Cell, Standing, StepFields};
use super::step_key::StepKey;
use run_common::json::{CONSTANTS, json_number, with_quoted_constants};
use run_common::time::Timestamp;
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::sync::Arc;

/// Maximum depth of nested objects whose values become fields.
pub const DEEPEST: usize = 64;

/// Names of the time of a row, besides `time`.
const TIMES: [&str; 6] = ["timestamp", "wall_time", "walltime", "time_elapsed", "elapsed", "runtime"];

/// Names of the time at which a row was written; a longer name may end in such a part.
const INSTANTS: [&str; 4] = ["time", "timestamp", "wall_time", "walltime"];

/// Numbers in this range are seconds since 1970 (years 2001 to 2096); smaller ones count from the start of a
/// program.
const SECONDS: std::ops::Range<f64> = 1e9..4e9;

/// Returns the seconds since 1970 that a number of seconds or milliseconds means; `None` if it is out of range.
pub fn instant(number: f64) -> Option<f64> {
    [number, number / 1000.0].into_iter().find(|seconds| SECONDS.contains(seconds))
}

/// Returns whether a field of this name may contain the time at which a row was written.
pub fn is_instant(name: &str) -> bool {
    let last = name.rsplit('/').next().unwrap_or(name).trim_start_matches('_');
    INSTANTS.iter().any(|known| last.eq_ignore_ascii_case(known))
}

/// One field of a row.
#[derive(Clone, Debug, PartialEq)]
pub enum MetricValue {
    /// A number; it may be NaN or infinite.
    Number(f64),
    /// Anything else, kept for display.
    Other(Value),
}

/// A metric row.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricRow {
    fields: Vec<(String, MetricValue)>,
    /// Which fields determine its position among the rows.
    kind: Arc<StepFields>,
    /// The key of the step, and the number of its field.
    step: Option<(StepKey, usize)>,
    /// Time of logging, in seconds since 1970, if the file has it outside the fields.
    logged: Option<f64>,
}

impl MetricRow {
    /// Creates a row from its fields, in their order.
    pub(crate) fn new(fields: Vec<(String, MetricValue)>) -> Self {
        let is_number = |at: usize| matches!(fields[at].1, MetricValue::Number(number) if number.is_finite());
        let kind = StepFields::shared(fields.iter().map(|(name, _)| name.as_str()));
        let step = kind.keys().find(|&(_, at)| is_number(at));
        Self { fields, kind, step, logged: None }
    }

    /// Sets the time of logging, in seconds since 1970, if it is known.
    pub(crate) fn logged_at(self, seconds: Option<f64>) -> Self {
        Self { logged: seconds.filter(|seconds| seconds.is_finite() && *seconds > 0.0), ..self }
    }

    /// Returns the time of logging, in seconds since 1970, if the file has it outside the fields.
    pub fn logged(&self) -> Option<f64> {
        self.logged
    }

    /// Returns the time at which the row was written, from its file or one of its fields: seconds or
    /// milliseconds since 1970, or an ISO 8601 text. A text without a time zone is in local time.
    pub fn written(&self) -> Option<Timestamp> {
        let field = |(_, value): (&str, &MetricValue)| match value {
            MetricValue::Number(number) => instant(*number).and_then(Timestamp::of_seconds),
            MetricValue::Other(value) => Timestamp::of_iso(value.as_str()?),
        };
        let logged = self.logged.and_then(instant).and_then(Timestamp::of_seconds);
        logged.or_else(|| self.fields().filter(|(name, _)| is_instant(name)).find_map(field))
    }

    /// Parses a line; `None` if it is not an object. A byte order mark is ignored.
    pub fn parse(line: &[u8]) -> Option<Self> {
        let line = line.strip_prefix(MARK).unwrap_or(line);
        let object = match serde_json::from_slice::<Map<String, Value>>(line) {
            Ok(object) => object,
            Err(_) => serde_json::from_slice(&with_quoted_constants(line)?).ok()?,
        };
        Some(Self::from(object))
    }

    /// Returns the fields, in their order.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &MetricValue)> {
        self.fields.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// Returns the key and value of the step; `None` if the row has none, and its number serves instead. A
    /// fraction of an epoch is not a step.
    pub fn step(&self) -> Option<(&str, f64)> {
        let (key, at) = self.step?;
        let (name, MetricValue::Number(step)) = self.fields.get(at)? else { return None };
        let is_part = step.fract() != 0.0 && key.is_epoch();
        (!is_part).then_some((name.as_str(), *step))
    }

    /// Returns whether the row has a step, or a fraction of an epoch.
    pub(crate) fn has_step_key(&self) -> bool {
        self.step.is_some()
    }

    /// Returns whether the step would be a fraction of an epoch. Whole epochs of the same source are then no
    /// steps either.
    pub fn has_part_of_epoch(&self) -> bool {
        self.step.is_some() && self.step().is_none()
    }

    /// Removes an epoch as the step.
    #[must_use]
    pub fn without_epoch(mut self) -> Self {
        self.step = self.step.filter(|(key, _)| !key.is_epoch());
        self
    }

    /// Makes the number under a key the step; the key may be the last part of a name. Without such a number,
    /// the row stays as it is. Some programs write the number as a string.
    #[must_use]
    pub(crate) fn with_step(self, key: Option<&str>) -> Self {
        let Some(key) = key else { return self };
        let is_last_part =
            |name: &str| name.rsplit('/').next().is_some_and(|last| last.eq_ignore_ascii_case(key));
        let number = |value: &MetricValue| match value {
            MetricValue::Number(_) => Some(value.clone()),
            MetricValue::Other(value) => value.as_str()?.trim().parse().ok().map(MetricValue::Number),
        };
        let exact = self.get(key).map(|value| (key, value));
        let found = exact.or_else(|| self.fields().find(|(name, _)| is_last_part(name)));
        let Some((key, step)) = found.and_then(|(name, value)| Some((name, number(value)?))) else {
            return self;
        };
        let others = self.fields().filter(|(name, _)| *name != key && *name != "step");
        let others = others.map(|(name, value)| (name.to_owned(), value.clone()));
        let fields = [("step".to_owned(), step)].into_iter().chain(others).collect();
        Self::new(fields).logged_at(self.logged)
    }

    /// Returns the key and value of the step, unless configs use the same key.
    pub(crate) fn sure_step(&self) -> Option<(&str, f64)> {
        self.step().filter(|_| self.step.is_some_and(|(key, _)| key.is_sure()))
    }

    /// Returns the position of the row among the rows of its run; `None` without a step.
    pub fn standing(&self) -> Option<Standing> {
        let cell = |at: usize| match self.fields.get(at) {
            Some((_, MetricValue::Number(number))) => Cell::Number(*number),
            Some((_, MetricValue::Other(Value::String(text)))) => Cell::Text(text.as_bytes()),
            _ => Cell::Other,
        };
        self.kind.standing(|at| &self.fields[at].0, cell)
    }

    /// Returns a field.
    pub fn get(&self, name: &str) -> Option<&MetricValue> {
        self.fields.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// Returns the finite number under a key, or under a name whose last part is the key, in any case. For
    /// `time`, the time of logging comes first, and names such as `timestamp` last.
    pub fn number_under(&self, key: &str) -> Option<f64> {
        let finite = |value: &MetricValue| match value {
            MetricValue::Number(number) if number.is_finite() => Some(*number),
            _ => None,
        };
        let last = |name: &str, wanted: &str| {
            name.rsplit('/')
                .next()
                .is_some_and(|last| last.trim_start_matches('_').eq_ignore_ascii_case(wanted))
        };
        let find = |wanted: &str| {
            self.fields.iter().filter(|(name, _)| last(name, wanted)).find_map(|(_, value)| finite(value))
        };
        let (logged, times): (_, &[&str]) = if key == "time" { (self.logged, &TIMES) } else { (None, &[]) };
        logged
            .or_else(|| self.get(key).and_then(finite))
            .or_else(|| find(key))
            .or_else(|| times.iter().find_map(|time| find(time)))
    }

    /// Returns the numbers of the row other than its step.
    pub fn numbers(&self) -> impl Iterator<Item = (&str, f64)> {
        let step = self.step.filter(|_| self.step().is_some()).map(|(_, at)| at);
        self.fields.iter().enumerate().filter_map(move |(at, (name, value))| match value {
            MetricValue::Number(number) if Some(at) != step => Some((name.as_str(), *number)),
            _ => None,
        })
    }

    /// Removes fields that would make the row larger than this number of bytes.
    pub(crate) fn cut(mut self, most: usize) -> Self {
        let mut left = most;
        self.fields.retain(|(name, value)| {
            let size = match value {
                MetricValue::Number(_) => 24,
                MetricValue::Other(value) => value.to_string().len(),
            };
            let rest = left.checked_sub(name.len() + size);
            left = rest.unwrap_or(left);
            rest.is_some()
        });
        Self::new(self.fields).logged_at(self.logged)
    }

    /// Returns the row as strict JSON; a number that is not finite becomes null.
    pub(crate) fn to_json(&self) -> Map<String, Value> {
        let json = |value: &MetricValue| match value {
            MetricValue::Number(number) => json_number(*number),
            MetricValue::Other(value) => value.clone(),
        };
        self.fields.iter().map(|(name, value)| (name.clone(), json(value))).collect()
    }

    /// Appends the row as a line of strict JSON without loss: a number that is not finite becomes a string,
    /// which [`Self::parse`] reads as that number.
    pub fn write_line(&self, out: &mut Vec<u8>) {
        let json = |value: &MetricValue| match value {
            MetricValue::Number(number) => {
                match CONSTANTS.iter().find(|(_, constant)| same(*constant, *number)) {
                    Some((name, _)) => Value::from(*name),
                    None => json_number(*number),
                }
            }
            MetricValue::Other(value) => value.clone(),
        };
        let object: Map<String, Value> =
            self.fields.iter().map(|(name, value)| (name.clone(), json(value))).collect();
        let _ = serde_json::to_writer(&mut *out, &object); // none of its values can fail
        out.push(b'\n');
    }
}

impl From<Map<String, Value>> for MetricRow {
    fn from(object: Map<String, Value>) -> Self {
        if !object.values().any(Value::is_object) {
            return Self::new(object.into_iter().map(|(name, value)| (name, value.into())).collect());
        }
        let mut fields = Vec::new();
        flatten(object, "", 0, &mut fields);
        let mut places: HashMap<String, usize> = HashMap::new();
        let mut row: Vec<(String, MetricValue)> = Vec::new();
        for (name, value) in fields {
            match places.get(&name) {
                Some(&place) => row[place].1 = value, // the last of two fields with one name counts
                None => {
                    places.insert(name.clone(), row.len());
                    row.push((name, value));
                }
            }
        }
        Self::new(row)
    }
}

/// Appends the fields of a nested object at this depth; `above` is the name of the object.
fn flatten(object: Map<String, Value>, above: &str, depth: usize, into: &mut Vec<(String, MetricValue)>) {
    for (name, value) in object {
        let name = if above.is_empty() { name } else { format!("{above}/{name}") };
        match value {
            Value::Object(inner) if depth < DEEPEST => flatten(inner, &name, depth + 1, into),
            value => into.push((name, value.into())),
        }
    }
}

impl From<Value> for MetricValue {
    fn from(value: Value) -> Self {
        match &value {
            Value::Number(number) => number.as_f64().map_or(Self::Other(Value::Null), Self::Number),
            Value::String(text) => quoted_number(text).map_or(Self::Other(value), Self::Number),
            _ => Self::Other(value),
        }
    }
}

/// Reads a quoted number, because some loggers turn every value into a string. Only JSON numbers and the
/// constants count, so that `007` and `1.2.3` stay strings.
fn quoted_number(text: &str) -> Option<f64> {
    let constant = CONSTANTS.iter().find(|(name, _)| *name == text).map(|(_, number)| *number);
    let is_number = || text.ends_with(|c: char| c.is_ascii_digit()) && !text.starts_with(char::is_whitespace);
    constant.or_else(|| is_number().then(|| serde_json::from_str(text).ok())?)
}

fn same(one: f64, other: f64) -> bool {
    one.is_nan() && other.is_nan() || one.is_infinite() && one.total_cmp(&other).is_eq()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn numbers(line: &str) -> Vec<(String, String)> {
        let row = MetricRow::parse(line.as_bytes()).unwrap();
        row.numbers().map(|(name, number)| (name.to_owned(), number.to_string())).collect()
    }

    #[test]
    fn a_row_may_say_when_it_was_written() {
        let written =
            |line: &str| MetricRow::parse(line.as_bytes()).unwrap().written().map(Timestamp::millis);
        assert_eq!(written(r#"{"step": 1, "timestamp": 1700000000.5}"#), Some(1_700_000_000_500));
        assert_eq!(written(r#"{"step": 1, "wandb/_timestamp": 1700000000}"#), Some(1_700_000_000_000));
        assert_eq!(written(r#"{"timestamp": 1700000000500}"#), Some(1_700_000_000_500));
        assert_eq!(written(r#"{"time": 12.5, "Wall_Time": 1700000000}"#), Some(1_700_000_000_000));
        assert_eq!(written(r#"{"timestamp": "2023-11-14T22:13:20+00:00"}"#), Some(1_700_000_000_000));
        let naive = Timestamp::of_iso("2026-01-29T12:00:00.25").map(Timestamp::millis);
        assert_eq!(written(r#"{"timestamp": "2026-01-29 12:00:00.250000"}"#), naive);
        for none in ["12.5", "\"noon\"", "NaN", "1e18", "null", "-1700000000"] {
            assert_eq!(written(&format!("{{\"step\": 1, \"time\": {none}}}")), None, "{none}");
        }
    }

    #[test]
    fn python_constants_are_read_as_what_they_are() {
        let line =
            r#"{"step": 3, "a": NaN, "b": -Infinity, "c": Infinity, "d": "NaN \" Infinity", "e": 1e-3}"#;
        let expected = [("a", "NaN"), ("b", "-inf"), ("c", "inf"), ("e", "0.001")];
        assert_eq!(numbers(line), expected.map(|(name, number)| (name.to_owned(), number.to_owned())));
        let json = MetricRow::parse(line.as_bytes()).unwrap().to_json();
        assert_eq!(
            serde_json::to_string(&json).unwrap(),
            r#"{"step":3,"a":null,"b":null,"c":null,"d":"NaN \" Infinity","e":0.001}"#
        );
    }

    #[test]
    fn strict_json_loses_no_number() {
        let line = r#"{"step":3,"a":NaN,"b":-Infinity,"c":Infinity,"d":0.1,"e":"text"}"#;
        let row = MetricRow::parse(line.as_bytes()).unwrap();
        let mut written = Vec::new();
        row.write_line(&mut written);
        let expected = r#"{"step":3,"a":"NaN","b":"-Infinity","c":"Infinity","d":0.1,"e":"text"}"#;
        assert_eq!(String::from_utf8(written).unwrap(), format!("{expected}\n"));
        assert_eq!(numbers(expected), numbers(line));
    }

    #[test]
    fn numbers_in_quotes_are_numbers() {
        let line = r#"{"step": "3", "a": "0.5", "b": "-1e-3", "c": "007", "d": "1.2.3", "e": " 1", "f": "1e999", "g": ""}"#;
        assert_eq!(numbers(line), [("a", "0.5"), ("b", "-0.001")].map(|(a, b)| (a.to_owned(), b.to_owned())));
        assert_eq!(MetricRow::parse(line.as_bytes()).unwrap().step(), Some(("step", 3.0)));
    }

    #[test]
    fn the_step_is_the_first_of_the_known_keys() {
        let step = |line: &str| {
            MetricRow::parse(line.as_bytes()).unwrap().step().map(|(key, step)| (key.to_owned(), step))
        };
        let found = |key: &str, step: f64| Some((key.to_owned(), step));
        assert_eq!(step(r#"{"epoch": 1, "iter": 20}"#), found("iter", 20.0));
        assert_eq!(step(r#"{"epoch": 1, "step": "x"}"#), found("epoch", 1.0));
        assert_eq!(step(r#"{"epoch": 1, "step": NaN}"#), found("epoch", 1.0));
        assert_eq!(step(r#"{"time/total_timesteps": 64}"#), found("time/total_timesteps", 64.0));
        assert_eq!(step(r#"{"progress": {"Step": 7}, "loss": 1}"#), found("progress/Step", 7.0));
        assert_eq!(step(r#"{"epoch": 0.5, "loss": 1}"#), None);
        assert_eq!(step(r#"{"loss": 1}"#), None);
        assert_eq!(step("\u{feff}{\"step\": 3}\r\n"), found("step", 3.0));
    }

    #[test]
    fn objects_are_fields_with_the_names_above_them() {
        let line = r#"{"step":1,"train":{"loss":0.5,"by":{"a":1,"b":[2]},"none":{}},"train/loss":0.25}"#;
        assert_eq!(
            numbers(line),
            [("train/loss", "0.25"), ("train/by/a", "1")].map(|(a, b)| (a.to_owned(), b.to_owned()))
        );
        let json = MetricRow::parse(line.as_bytes()).unwrap().to_json();
        let expected = r#"{"step":1,"train/loss":0.25,"train/by/a":1,"train/by/b":[2]}"#;
        assert_eq!(serde_json::to_string(&json).unwrap(), expected);
        let deep = format!("{}1{}", r#"{"a":"#.repeat(100), "}".repeat(100));
        let row = MetricRow::parse(deep.as_bytes()).unwrap();
        assert_eq!(row.fields().map(|(name, _)| name.len()).collect::<Vec<_>>(), [2 * 65 - 1]);
    }

    fn outer(line: &str) -> Option<f64> {
        MetricRow::parse(line.as_bytes()).unwrap().standing().unwrap().outer
    }

    #[test]
    fn a_step_may_count_within_an_epoch_an_episode_or_a_round() {
        assert_eq!(outer(r#"{"epoch": 3, "step": 7}"#), Some(3.0));
        assert_eq!(outer(r#"{"Epoch": 3, "iter": 7, "episode": 4}"#), Some(3.0));
        assert_eq!(outer(r#"{"episode": 4, "train/step": 7}"#), Some(4.0));
        assert_eq!(outer(r#"{"round": 4, "epoch": 7}"#), Some(4.0));
        assert_eq!(outer(r#"{"step": 7, "total_steps": 100, "steps": 4}"#), None);
    }

    #[test]
    fn rows_of_other_phases_and_ranks_are_other_series() {
        let series = |line: &str| MetricRow::parse(line.as_bytes()).unwrap().standing().unwrap().series;
        let [train, val, first, second, none] = [
            r#"{"mode": "train", "step": 1}"#,
            r#"{"mode": "val", "step": 1}"#,
            r#"{"rank": 0, "step": 1}"#,
            r#"{"rank": 1, "step": 1}"#,
            r#"{"step": 1, "loss": 2, "note": "x"}"#,
        ]
        .map(series);
        assert!(train != val && first != second && train != none && none == 0);
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_row_or_none(bytes: Vec<u8>) {
            let _ = MetricRow::parse(&bytes);
        }

        #[test]
        fn every_row_is_written_as_strict_json(values in prop::collection::vec(prop::num::f64::ANY, 0..5), text: String) {
            let text = format!("no number: {text}"); // a quoted number would be a number
            let mut fields: Vec<String> = values.iter().enumerate().map(|(i, v)| match v {
                v if v.is_nan() => format!(r#""k{i}": NaN"#),
                v if v.is_infinite() && *v > 0.0 => format!(r#""k{i}": Infinity"#),
                v if v.is_infinite() => format!(r#""k{i}": -Infinity"#),
                v => format!(r#""k{i}": {v:e}"#),
            }).collect();
            fields.push(format!(r#""text": {}"#, serde_json::to_string(&text).unwrap()));
            let line = format!("{{{}}}", fields.join(", "));
            let row = MetricRow::parse(line.as_bytes()).unwrap();
            let back: Vec<f64> = row.numbers().map(|(_, number)| number).collect();
            prop_assert_eq!(back.len(), values.len());
            for (read, written) in back.iter().zip(&values) {
                prop_assert!(read.total_cmp(written).is_eq() || read.is_nan() && written.is_nan());
            }
            let json = serde_json::to_string(&row.to_json()).unwrap();
            prop_assert!(serde_json::from_str::<Value>(&json).is_ok());
        }
    }
}
