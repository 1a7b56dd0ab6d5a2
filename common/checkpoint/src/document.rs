//! Small documents in and beside checkpoints: records of their steps, indexes of shards, trackers.

use crate::bytes::Bytes;
use run_common::error::plain;
use run_metrics::row::{MetricRow, MetricValue};
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

/// Maximum size of a document to parse.
const DOCUMENT: u64 = 64 << 20;
/// Maximum size of an index of shards.
const INDEX: u64 = 100_000_000;

/// Reads a JSON document; of a very long document only its last character. The result is a row if the document
/// is an object; `NaN` and `Infinity` are accepted.
pub(crate) fn parse(file: &Bytes) -> io::Result<Result<Option<MetricRow>, String>> {
    if file.len() > DOCUMENT {
        let tail = file.tail(64)?;
        let ends = matches!(tail.trim_ascii_end().last(), Some(b'}' | b']'));
        return Ok(if ends { Ok(None) } else { Err("is cut short".to_owned()) });
    }
    let bytes = file.read(0, usize::try_from(file.len()).unwrap_or(usize::MAX))?;
    Ok(match MetricRow::parse(&bytes) {
        Some(row) => Ok(Some(row)),
        None if serde_json::from_slice::<IgnoredAny>(&bytes).is_ok() => Ok(None),
        None => Err("does not parse".to_owned()),
    })
}

/// Reads a JSON object about a checkpoint.
pub(crate) fn record(path: &Path) -> Result<MetricRow, String> {
    let file = Bytes::open(path)?;
    if file.len() == 0 {
        return Err("is empty".to_owned());
    }
    match parse(&file) {
        Ok(Ok(Some(row))) => Ok(row),
        Ok(Ok(None)) => Err("is no object".to_owned()),
        Ok(Err(why)) => Err(why),
        Err(error) => Err(format!("cannot be read: {}", plain(&error))),
    }
}

/// Returns the step under the first of `keys` that has a whole number, 0 or greater.
pub(crate) fn step(row: &MetricRow, keys: &[&str]) -> Option<u64> {
    keys.iter().find_map(|key| match row.get(key) {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "checked to be whole and small"
        )]
        Some(MetricValue::Number(step)) if step.fract() == 0.0 && (0.0..9e15).contains(step) => {
            Some(*step as u64)
        }
        _ => None,
    })
}

/// Returns the files that an index of shards names.
pub(crate) fn shards(path: &Path) -> Result<Vec<String>, String> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let file = Bytes::open(path)?;
    if file.len() > INDEX {
        return Err("is too long".to_owned());
    }
    let bytes = file.read(0, usize::try_from(file.len()).unwrap_or(usize::MAX));
    let bytes = bytes.map_err(|error| format!("cannot be read: {}", plain(&error)))?;
    let index: Index = serde_json::from_slice(&bytes).map_err(|_| "does not parse")?;
    let mut names: Vec<String> = index.weight_map.into_values().collect();
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

/// Returns the first word of a small text file, such as a tracker.
pub(crate) fn word(path: &Path) -> Option<String> {
    let bytes = Bytes::open(path).ok()?.read(0, 4096).ok()?;
    Some(String::from_utf8(bytes).ok()?.split_whitespace().next()?.to_owned())
}
