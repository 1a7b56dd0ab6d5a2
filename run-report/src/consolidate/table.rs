//! The columns of the consolidated table, and rows under them.

use super::line::{Kind, Span, Template};
use crate::sheet::{csv_field, csv_number};
use run_common::metrics::row::{Cell, Row};
use serde_json::Value;
use std::collections::HashMap;

/// Columns after run and step, by name.
pub(super) struct Table {
    names: Vec<String>,
    places: HashMap<String, usize>,
}

/// In which order the values of a template are written.
pub(super) struct Plan {
    /// Commas before a value, and which value it is.
    values: Vec<(usize, usize)>,
    /// Commas after the last one.
    rest: usize,
}

/// Returns the column of a metric: the step has its own, and `run` is that of the run's name.
pub(super) fn column(name: &str) -> Option<&str> {
    match name {
        "step" => None,
        "run" => Some("metric.run"),
        name => Some(name),
    }
}

impl Table {
    pub(super) fn new(names: Vec<String>) -> Self {
        let places = names.iter().enumerate().map(|(place, name)| (name.clone(), place)).collect();
        Self { names, places }
    }

    pub(super) fn header(&self) -> Vec<u8> {
        let mut header = b"run,step".to_vec();
        for name in &self.names {
            header.push(b',');
            csv_field(name, &mut header);
        }
        header.push(b'\n');
        header
    }

    fn place(&self, name: &str) -> Option<usize> {
        self.places.get(column(name)?).copied()
    }

    pub(super) fn plan(&self, template: &Template) -> Plan {
        let mut places: Vec<(usize, usize)> = Vec::new();
        for (number, key) in template.keys.iter().enumerate() {
            let Some(place) = self.place(key) else { continue };
            match places.iter_mut().find(|(known, _)| *known == place) {
                Some((_, value)) => *value = number, // of two that share a name the last counts
                None => places.push((place, number)),
            }
        }
        places.sort_unstable();
        let mut done = 0;
        let commas = |(place, number): (usize, usize)| {
            let commas = place + 1 - done;
            done = place + 1;
            (commas, number)
        };
        let values = places.into_iter().map(commas).collect();
        Plan { values, rest: self.names.len() - done }
    }

    /// Appends a row that is no plain line.
    pub(super) fn write_row(&self, row: &Row, step: &str, into: &mut Vec<u8>) {
        into.extend_from_slice(step.as_bytes());
        let mut cells: Vec<(usize, &Cell)> =
            row.cells().filter_map(|(name, cell)| Some((self.place(name)?, cell))).collect();
        cells.sort_by_key(|(place, _)| *place);
        let mut done = 0;
        for (number, &(place, cell)) in cells.iter().enumerate() {
            if cells.get(number + 1).is_some_and(|(next, _)| *next == place) {
                continue; // of two that share a name the last counts
            }
            into.resize(into.len() + place + 1 - done, b',');
            done = place + 1;
            match cell {
                Cell::Number(number) => into.extend_from_slice(csv_number(*number).as_bytes()),
                Cell::Other(Value::Null) => {}
                Cell::Other(Value::String(text)) => csv_field(text, into),
                Cell::Other(other) => csv_field(&other.to_string(), into),
            }
        }
        into.resize(into.len() + self.names.len() - done, b',');
        into.push(b'\n');
    }
}

impl Plan {
    /// Appends the values of a line, and its end.
    #[inline]
    pub(super) fn write(&self, spans: &[Span], buffer: &[u8], into: &mut Vec<u8>) {
        for (commas, number) in &self.values {
            if *commas == 1 {
                into.push(b',');
            } else {
                into.resize(into.len() + commas, b',');
            }
            write_value(&spans[*number], buffer, into);
        }
        if self.rest > 0 {
            into.resize(into.len() + self.rest, b',');
        }
        into.push(b'\n');
    }
}

/// Appends a value.
#[inline]
pub(super) fn write_value(span: &Span, buffer: &[u8], into: &mut Vec<u8>) {
    let text = &buffer[span.start as usize..span.end as usize];
    match span.kind {
        Kind::Number | Kind::Bool => copy(text, span, buffer, into),
        Kind::Text => csv_field(&String::from_utf8_lossy(text), into),
        Kind::Null => {}
        Kind::NaN => into.extend_from_slice(b"NaN"),
        Kind::Infinity => into.extend_from_slice(b"inf"),
        Kind::MinusInfinity => into.extend_from_slice(b"-inf"),
    }
}

/// Appends a number: most are short, and sixteen bytes are copied faster than so many as there are.
#[inline]
fn copy(text: &[u8], span: &Span, buffer: &[u8], into: &mut Vec<u8>) {
    match buffer.get(span.start as usize..).and_then(|rest| rest.first_chunk::<24>()) {
        Some(block) if text.len() <= 24 => {
            let length = into.len() + text.len();
            into.extend_from_slice(block);
            into.truncate(length);
        }
        _ => into.extend_from_slice(text),
    }
}
