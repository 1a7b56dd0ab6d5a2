//! Rows in the datastore of a W&B run: the logged values, in the order of their steps.

use super::row::MetricRow;
use run_common::wandb::Logged;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Fields that W&B adds to each row besides the step.
const ADDED: [&str; 2] = ["_runtime", "_wandb"];

/// The name of the step, and that of the type of an object.
const STEP: &str = "_step";
const TYPE: &str = "_type";

/// Reads the row in a record; `None` for a record of another type. The error means a damaged record.
pub(super) fn row(record: &[u8]) -> Result<Option<MetricRow>, ()> {
    let Some(logged) = Logged::parse(record).map_err(drop)? else { return Ok(None) };
    let media = media(&logged);
    let mut step = logged.step.map(Value::from);
    let mut fields = BTreeMap::new(); // W&B writes the values of a step in any order
    let mut time = None;
    for (name, json) in &logged.items {
        let Some(value) = value(json) else { return Err(()) };
        let is_part =
            media.iter().any(|medium| name.starts_with(medium) && name[medium.len()..].starts_with('/'));
        if name == "_timestamp" {
            time = value.as_f64();
        } else if name == STEP {
            step = Some(value);
        } else if !ADDED.contains(&&**name) && !is_part && value.get(TYPE).is_none() {
            fields.insert(name.clone(), value);
        }
    }
    if fields.is_empty() {
        return Ok(None);
    }
    let step = step.map(|step| (STEP.to_owned(), step));
    let row: Map<String, Value> = step.into_iter().chain(fields).collect();
    let row = MetricRow::from(row).logged_at(time);
    // A step that the program logs itself takes precedence.
    let is_own = row.step().is_some_and(|(key, _)| key != STEP);
    Ok(Some(if is_own { row } else { row.with_step(Some(STEP)) }))
}

/// Returns the names of values that represent a file, a picture, a histogram and the like: objects with a type.
fn media<'a>(logged: &'a Logged) -> Vec<&'a str> {
    let types = logged.items.iter().filter_map(|(name, _)| name.strip_suffix(TYPE)?.strip_suffix('/'));
    types.collect()
}

/// Reads a value; some versions write NaN as Python does.
fn value(json: &[u8]) -> Option<Value> {
    match json {
        b"NaN" | b"Infinity" | b"-Infinity" => Some(String::from_utf8_lossy(json).into()),
        _ => serde_json::from_slice(json).ok(),
    }
}
