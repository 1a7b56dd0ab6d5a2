//! `trainer_state.json`, which the Trainer of Hugging Face saves with every checkpoint. Its `log_history` has
//! an object with `step` for everything logged so far, including earlier attempts (transformers,
//! `trainer_callback.py`). Python writes NaN into it.

use super::lines::document;
use super::row::MetricRow;
use run_common::json::with_quoted_constants;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use std::fmt;
use std::fs::File;
use std::io;

/// Reads the rows; returns the number of unreadable entries. An unreadable document counts as one.
pub(super) fn read(file: &File, act: &mut dyn FnMut(MetricRow)) -> io::Result<u64> {
    let bytes = document(file)?;
    let bytes = with_quoted_constants(&bytes).unwrap_or(bytes);
    if serde_json::from_slice::<IgnoredAny>(&bytes).is_err() {
        return Ok(1); // half of the rows would be worse than none
    }
    let mut skipped = 0;
    let state = State { act, skipped: &mut skipped };
    let whole = state.deserialize(&mut serde_json::Deserializer::from_slice(&bytes)).is_ok();
    Ok(skipped + u64::from(!whole))
}

/// The progress that a document records.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Saved {
    /// The step at which the document was saved.
    pub(super) step: f64,
    /// The number of steps to train for.
    pub(super) total: Option<f64>,
}

/// Reads the progress in a document; `None` if the document is not such a state.
pub(super) fn saved(file: &File) -> Option<Saved> {
    #[derive(serde::Deserialize)]
    struct State {
        global_step: Option<f64>,
        max_steps: Option<f64>,
        #[expect(dead_code, reason = "it must be there")]
        log_history: IgnoredAny,
    }
    let bytes = document(file).ok()?;
    let bytes = with_quoted_constants(&bytes).unwrap_or(bytes);
    let State { global_step, max_steps, .. } = serde_json::from_slice(&bytes).ok()?;
    Some(Saved { step: global_step.unwrap_or_default(), total: max_steps.filter(|steps| *steps >= 1.0) })
}

/// Visits the document, to read only `log_history`.
struct State<'a> {
    act: &'a mut dyn FnMut(MetricRow),
    skipped: &'a mut u64,
}

/// Visits `log_history`, and passes its elements on one by one.
struct History<'a>(State<'a>);

impl<'de> DeserializeSeed<'de> for State<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for State<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<String>()? {
            if name == "log_history" {
                map.next_value_seed(History(State { act: &mut *self.act, skipped: &mut *self.skipped }))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for History<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for History<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        while let Some(entry) = entries.next_element::<Value>()? {
            match entry {
                Value::Object(entry) => (self.0.act)(MetricRow::from(entry)),
                _ => *self.0.skipped += 1,
            }
        }
        Ok(())
    }
}
