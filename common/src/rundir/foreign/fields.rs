//! A JSON object written by another program. Each field is read as a type, and ignored if it has another type.

use crate::error::plain;
use crate::fsio::read::{bounded, open_no_link};
use crate::fsio::read_small;
use crate::json::{with_quoted_constants, without_mark};
use crate::time::Timestamp;
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// A JSON object.
#[derive(Clone, Debug, Default)]
pub struct Fields(Map<String, Value>);

impl From<Map<String, Value>> for Fields {
    fn from(fields: Map<String, Value>) -> Self {
        Self(fields)
    }
}

impl Fields {
    /// Reads a small JSON object; `None` if the file is missing, unreadable, or not an object. Problems are
    /// added to `damage`. NaN and infinities become strings; bytes that are not UTF-8 are replaced.
    pub fn read(path: &Path, damage: &mut Vec<String>) -> Option<Self> {
        match read_small(path) {
            Ok(bytes) => Self::parse(path, &bytes, damage),
            Err(error) => {
                if error.kind() != ErrorKind::NotFound {
                    damage.push(format!("cannot read '{}': {}", path.display(), plain(&error)));
                }
                None
            }
        }
    }

    /// Reads a small JSON object in a file of this owner; `None` for any other file, and for a link.
    pub(super) fn read_of(path: &Path, owner: u32) -> Option<Self> {
        let file = open_no_link(path).ok()?;
        let found = file.metadata().ok().filter(|found| found.uid() == owner)?;
        Self::parse(path, &bounded(file, found.len()).ok()?, &mut Vec::new())
    }

    fn parse(path: &Path, bytes: &[u8], damage: &mut Vec<String>) -> Option<Self> {
        if bytes.trim_ascii().is_empty() {
            damage.push(format!("cannot read '{}': it is empty", path.display()));
            return None;
        }
        let text = String::from_utf8_lossy(without_mark(bytes));
        if let Cow::Owned(_) = text {
            damage.push(format!("'{}' is not all UTF-8", path.display()));
        }
        let mut fault = |why: &str| damage.push(format!("cannot read '{}': {why}", path.display()));
        let quoted = with_quoted_constants(text.as_bytes());
        match serde_json::from_slice(quoted.as_deref().unwrap_or(text.as_bytes())) {
            Ok(Value::Object(fields)) => Some(Self(fields)),
            Ok(_) => {
                fault("it is no JSON object");
                None
            }
            Err(error) => {
                fault(&format!("it is damaged: {error}"));
                None
            }
        }
    }

    /// Returns a value, unless it is null.
    pub fn value(&self, key: &str) -> Option<&Value> {
        self.0.get(key).filter(|value| !value.is_null())
    }

    /// Returns a string that is not empty.
    pub fn text(&self, key: &str) -> Option<String> {
        self.value(key)?.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
    }

    /// Returns a finite number, which may be in quotes.
    pub fn number(&self, key: &str) -> Option<f64> {
        let number = match self.value(key)? {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        number.filter(|number| number.is_finite())
    }

    /// Returns a whole number of at least 0.
    pub fn whole(&self, key: &str) -> Option<u64> {
        whole(self.number(key)?)
    }

    /// Returns a boolean.
    pub fn flag(&self, key: &str) -> Option<bool> {
        self.value(key)?.as_bool()
    }

    /// Returns a time: an ISO 8601 text, in local time if it has no zone, or seconds since 1970.
    pub fn time(&self, key: &str) -> Option<Timestamp> {
        match self.value(key)? {
            Value::String(text) => Timestamp::of_iso(text),
            Value::Number(seconds) => Timestamp::of_seconds(seconds.as_f64()?),
            _ => None,
        }
    }

    /// Returns the words of a command: an array, or a line, which is split at blanks.
    pub fn command(&self, key: &str) -> Option<Vec<String>> {
        let words: Vec<String> = match self.value(key)? {
            Value::Array(words) => words.iter().map(word).collect(),
            Value::String(line) => line.split_whitespace().map(str::to_owned).collect(),
            _ => Vec::new(),
        };
        (!words.is_empty()).then_some(words)
    }

    /// Returns an object.
    pub fn object(&self, key: &str) -> Option<&Map<String, Value>> {
        self.value(key)?.as_object()
    }

    /// Returns all fields.
    pub fn all(&self) -> &Map<String, Value> {
        &self.0
    }
}

/// Converts a whole number of at least 0; `None` for any other number.
pub(super) fn whole(number: f64) -> Option<u64> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is in bounds")]
    let whole = ((0.0..9e15).contains(&number) && number.fract() == 0.0).then_some(number as u64);
    whole
}

fn word(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
