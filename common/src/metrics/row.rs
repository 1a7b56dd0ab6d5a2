//! One metric row, as programs write it: a JSON object a line, with `NaN` and `Infinity` as
//! Python's json module writes them.

use serde_json::{Map, Value};

/// Names of the step, the first present of which counts (run-dir(5)).
pub const STEP_KEYS: [&str; 7] = ["step", "global_step", "iteration", "iter", "epoch", "episode", "timestep"];

/// One field of a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// A number; it may be NaN or infinite.
    Number(f64),
    /// Anything else, kept for display.
    Other(Value),
}

/// A metric row.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    cells: Vec<(String, Cell)>,
}

impl Row {
    /// Parses a line; `None` when it is no object.
    pub fn parse(line: &[u8]) -> Option<Self> {
        let object = match serde_json::from_slice::<Map<String, Value>>(line) {
            Ok(object) => object,
            Err(_) => serde_json::from_slice(&with_marked_constants(line)?).ok()?,
        };
        let cells = object.into_iter().map(|(name, value)| (name, Cell::from(value))).collect();
        Some(Self { cells })
    }

    /// Returns the step's key and value, or `None` when the row's number has to serve.
    pub fn step(&self) -> Option<(&'static str, f64)> {
        STEP_KEYS.into_iter().find_map(|key| match self.get(key) {
            Some(Cell::Number(step)) if step.is_finite() => Some((key, *step)),
            _ => None,
        })
    }

    /// Returns a field.
    pub fn get(&self, name: &str) -> Option<&Cell> {
        self.cells.iter().find(|(key, _)| key == name).map(|(_, cell)| cell)
    }

    /// Returns the numbers of the row other than its step.
    pub fn numbers(&self) -> impl Iterator<Item = (&str, f64)> {
        let step = self.step().map(|(key, _)| key);
        self.cells.iter().filter_map(move |(name, cell)| match cell {
            Cell::Number(number) if Some(name.as_str()) != step => Some((name.as_str(), *number)),
            _ => None,
        })
    }

    /// Returns the row as strict JSON: what is no finite number is null.
    pub fn to_json(&self) -> Map<String, Value> {
        let value = |cell: &Cell| match cell {
            Cell::Number(number) => json_number(*number),
            Cell::Other(value) => value.clone(),
        };
        self.cells.iter().map(|(name, cell)| (name.clone(), value(cell))).collect()
    }
}

impl From<Value> for Cell {
    fn from(value: Value) -> Self {
        match &value {
            Value::Number(number) => number.as_f64().map_or(Self::Other(Value::Null), Self::Number),
            Value::String(text) => match MARKS.iter().find(|(_, mark, _)| mark == text) {
                Some((_, _, number)) => Self::Number(*number),
                None => Self::Other(value),
            },
            _ => Self::Other(value),
        }
    }
}

/// Writes a number as JSON: whole ones without a fraction, null when it is not finite.
pub fn json_number(number: f64) -> Value {
    #[expect(clippy::cast_possible_truncation, reason = "checked to be whole and small")]
    if number.fract() == 0.0 && number.abs() < 9e15 {
        Value::from(number as i64)
    } else {
        Value::from(number)
    }
}

/// Python's constants, the strings that stand for them while serde reads the line, their values.
/// The longer of two that begin alike comes first.
const MARKS: [(&[u8], &str, f64); 3] = [
    (b"-Infinity", "\u{1}-inf", f64::NEG_INFINITY),
    (b"Infinity", "\u{1}inf", f64::INFINITY),
    (b"NaN", "\u{1}nan", f64::NAN),
];

/// Replaces the constants outside of strings; `None` when there are none.
fn with_marked_constants(line: &[u8]) -> Option<Vec<u8>> {
    let mut marked = Vec::with_capacity(line.len() + 16);
    let mut found = false;
    let mut in_string = false;
    let mut rest = line;
    while let Some(&byte) = rest.first() {
        if !in_string && let Some((word, _, number)) = MARKS.iter().find(|(word, ..)| rest.starts_with(word))
        {
            let escaped: &[u8] = if number.is_nan() {
                br#""\u0001nan""#
            } else if number.is_sign_negative() {
                br#""\u0001-inf""#
            } else {
                br#""\u0001inf""#
            };
            marked.extend_from_slice(escaped);
            rest = &rest[word.len()..];
            found = true;
            continue;
        }
        let length = if in_string && byte == b'\\' { rest.len().min(2) } else { 1 };
        in_string ^= byte == b'"';
        marked.extend_from_slice(&rest[..length]);
        rest = &rest[length..];
    }
    found.then_some(marked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn numbers(line: &str) -> Vec<(String, String)> {
        let row = Row::parse(line.as_bytes()).unwrap();
        row.numbers().map(|(name, number)| (name.to_owned(), number.to_string())).collect()
    }

    #[test]
    fn python_constants_are_read_as_what_they_are() {
        let line =
            r#"{"step": 3, "a": NaN, "b": -Infinity, "c": Infinity, "d": "NaN \" Infinity", "e": 1e-3}"#;
        let expected = [("a", "NaN"), ("b", "-inf"), ("c", "inf"), ("e", "0.001")];
        assert_eq!(numbers(line), expected.map(|(name, number)| (name.to_owned(), number.to_owned())));
        let json = Row::parse(line.as_bytes()).unwrap().to_json();
        assert_eq!(
            serde_json::to_string(&json).unwrap(),
            r#"{"step":3,"a":null,"b":null,"c":null,"d":"NaN \" Infinity","e":0.001}"#
        );
    }

    #[test]
    fn the_step_is_the_first_of_the_known_keys() {
        let step = |line: &str| Row::parse(line.as_bytes()).unwrap().step();
        assert_eq!(step(r#"{"epoch": 1, "iter": 20}"#), Some(("iter", 20.0)));
        assert_eq!(step(r#"{"epoch": 1, "step": "x"}"#), Some(("epoch", 1.0)));
        assert_eq!(step(r#"{"loss": 1}"#), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_row_or_none(bytes: Vec<u8>) {
            let _ = Row::parse(&bytes);
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
            let row = Row::parse(line.as_bytes()).unwrap();
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
