//! Numbers in the JSON of the suite.

use serde::{Serialize, Serializer};
use serde_json::Value;

/// Numbers of Python's json module that JSON does not have. If two begin alike, the longer comes first.
pub const CONSTANTS: [(&str, f64); 3] =
    [("-Infinity", f64::NEG_INFINITY), ("Infinity", f64::INFINITY), ("NaN", f64::NAN)];

/// Returns a text without the byte order mark that editors on Windows put before it.
pub(crate) fn without_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text)
}

/// Converts a number to JSON: whole numbers without a fraction, null if it is not finite.
pub fn json_number(number: f64) -> Value {
    #[expect(clippy::cast_possible_truncation, reason = "checked to be whole and small")]
    if number.fract() == 0.0 && number.abs() < 9e15 {
        Value::from(number as i64)
    } else {
        Value::from(number)
    }
}

/// Serializes step 40 as `40` rather than `40.0`.
#[expect(clippy::ref_option, reason = "serde asks for a reference to the field")]
pub(crate) fn whole_if_it_is<S: Serializer>(step: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
    step.map(json_number).serialize(serializer)
}

/// Puts the constants in quotes where they are not strings; `None` if there are none.
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
