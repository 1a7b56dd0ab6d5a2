//! Parts of the record that a listing passes on unparsed.

use crate::provenance::redact::redact_raw;
use memchr::memchr;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value};

/// A JSON value kept unparsed; most readers only pass it through.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(transparent)]
pub struct Raw(Box<RawValue>);

impl Raw {
    /// Serializes a value.
    pub fn of(value: &impl Serialize) -> Self {
        Self(to_raw_value(value).unwrap_or_default())
    }

    /// Redacts secrets in the value, under this name.
    pub(super) fn redact(&mut self, name: &str) {
        if let Some(redacted) = redact_raw(name, self.0.get()) {
            *self = Self::of(&redacted);
        }
    }

    /// Parses the value; a value of another type counts as missing.
    pub fn parse<T: DeserializeOwned + Default>(&self) -> T {
        serde_json::from_str(self.0.get()).unwrap_or_default()
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        if memchr(b'\n', raw.get().as_bytes()).is_some() {
            return Ok(Self::of(&Self(raw).parse::<Value>())); // JSON lines must stay single lines
        }
        Ok(Self(raw))
    }
}

/// Figures by metric name, in the order of first appearance.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Metrics(Raw);

impl Default for Metrics {
    fn default() -> Self {
        Self::new(&Map::new())
    }
}

impl Metrics {
    /// Stores the figures of metrics.
    pub fn new(figures: &Map<String, Value>) -> Self {
        Self(Raw::of(figures))
    }

    /// Returns the figures of each metric: `last`, `min`, `max`, `mean`, `std`, `count`, `nonfinite`.
    pub fn figures(&self) -> Map<String, Value> {
        self.0.parse()
    }
}

/// The last metric rows.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Recent(Raw);

impl Default for Recent {
    fn default() -> Self {
        Self::new(&[])
    }
}

impl Recent {
    /// Stores rows.
    pub fn new(rows: &[Map<String, Value>]) -> Self {
        Self(Raw::of(&rows))
    }

    /// Returns the rows.
    pub fn rows(&self) -> Vec<Map<String, Value>> {
        self.0.parse()
    }
}
