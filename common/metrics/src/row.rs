//! One metric row, as programs write it: a JSON object a line, with `NaN` and `Infinity` as
//! Python's json module writes them. In strict JSON they are strings of these names, as in that of
//! Protocol Buffers, and are read as the same numbers.

use run_common::json::json_number;
use serde_json::{Map, Value};

/// Names of the step, the first present of which counts (run-dir(5)). The last is that of Stable
/// Baselines 3.
pub const STEP_KEYS: [&str; 8] =
    ["step", "global_step", "iteration", "iter", "epoch", "episode", "timestep", "time/total_timesteps"];

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
}

impl MetricRow {
    /// Makes a row of its fields, in their order.
    pub(crate) fn new(fields: Vec<(String, MetricValue)>) -> Self {
        Self { fields }
    }

    /// Parses a line; `None` when it is no object.
    pub fn parse(line: &[u8]) -> Option<Self> {
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

    /// Returns the step's key and value, or `None` when the row's number has to serve.
    pub fn step(&self) -> Option<(&'static str, f64)> {
        STEP_KEYS.into_iter().find_map(|key| match self.get(key) {
            Some(MetricValue::Number(step)) if step.is_finite() => Some((key, *step)),
            _ => None,
        })
    }

    /// Returns a field.
    pub fn get(&self, name: &str) -> Option<&MetricValue> {
        self.fields.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// Returns the numbers of the row other than its step.
    pub fn numbers(&self) -> impl Iterator<Item = (&str, f64)> {
        let step = self.step().map(|(key, _)| key);
        self.fields.iter().filter_map(move |(name, value)| match value {
            MetricValue::Number(number) if Some(name.as_str()) != step => Some((name.as_str(), *number)),
            _ => None,
        })
    }

    /// Leaves out fields that would make it larger than so many bytes.
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
        self
    }

    /// Returns the row as strict JSON: what is no finite number is null.
    pub(crate) fn to_json(&self) -> Map<String, Value> {
        let json = |value: &MetricValue| match value {
            MetricValue::Number(number) => json_number(*number),
            MetricValue::Other(value) => value.clone(),
        };
        self.fields.iter().map(|(name, value)| (name.clone(), json(value))).collect()
    }

    /// Appends the row as a line of strict JSON that loses nothing: a number that is not finite is
    /// a string, which [`Self::parse`] reads as that number.
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
        let _ = serde_json::to_writer(&mut *out, &object); // nothing in it can fail
        out.push(b'\n');
    }
}

impl From<Map<String, Value>> for MetricRow {
    fn from(object: Map<String, Value>) -> Self {
        Self { fields: object.into_iter().map(|(name, value)| (name, MetricValue::from(value))).collect() }
    }
}

impl From<Value> for MetricValue {
    fn from(value: Value) -> Self {
        match &value {
            Value::Number(number) => number.as_f64().map_or(Self::Other(Value::Null), Self::Number),
            Value::String(text) => match CONSTANTS.iter().find(|(name, _)| name == text) {
                Some((_, number)) => Self::Number(*number),
                None => Self::Other(value),
            },
            _ => Self::Other(value),
        }
    }
}

/// Python's constants. The longer of two that begin alike comes first.
const CONSTANTS: [(&str, f64); 3] =
    [("-Infinity", f64::NEG_INFINITY), ("Infinity", f64::INFINITY), ("NaN", f64::NAN)];

fn same(one: f64, other: f64) -> bool {
    one.is_nan() && other.is_nan() || one.is_infinite() && one.total_cmp(&other).is_eq()
}

/// Makes strings of the constants that are none; `None` when there are no such.
pub fn with_quoted_constants(text: &[u8]) -> Option<Vec<u8>> {
    let mut quoted = Vec::with_capacity(text.len() + 16);
    let mut found = false;
    let mut in_string = false;
    let mut rest = text;
    while let Some(&byte) = rest.first() {
        let is_one = |(name, _): &&(&str, f64)| rest.starts_with(name.as_bytes());
        if !in_string && let Some((name, _)) = CONSTANTS.iter().find(is_one) {
            quoted.push(b'"');
            quoted.extend_from_slice(name.as_bytes());
            quoted.push(b'"');
            rest = &rest[name.len()..];
            found = true;
            continue;
        }
        let length = if in_string && byte == b'\\' { rest.len().min(2) } else { 1 };
        in_string ^= byte == b'"';
        quoted.extend_from_slice(&rest[..length]);
        rest = &rest[length..];
    }
    found.then_some(quoted)
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
    fn the_step_is_the_first_of_the_known_keys() {
        let step = |line: &str| MetricRow::parse(line.as_bytes()).unwrap().step();
        assert_eq!(step(r#"{"epoch": 1, "iter": 20}"#), Some(("iter", 20.0)));
        assert_eq!(step(r#"{"epoch": 1, "step": "x"}"#), Some(("epoch", 1.0)));
        assert_eq!(step(r#"{"time/total_timesteps": 64}"#), Some(("time/total_timesteps", 64.0)));
        assert_eq!(step(r#"{"loss": 1}"#), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_row_or_none(bytes: Vec<u8>) {
            let _ = MetricRow::parse(&bytes);
        }

        #[test]
        fn every_row_is_written_as_strict_json(values in prop::collection::vec(prop::num::f64::ANY, 0..5), text: String) {
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
