//! `spaCy`: a table of evaluations, with the epoch and the step in its first two columns, `E` and `#`.

use super::scan::{Numbers, number};
use crate::row::MetricRow;

/// The beginning of the head of the table.
pub(super) const HEAD: &str = "E    #  ";

/// The current table.
#[derive(Debug, Default)]
pub(super) struct SpacyTable {
    /// The names of the columns after the first two; empty outside a table.
    names: Vec<String>,
}

impl SpacyTable {
    /// Returns whether a table has begun.
    pub(super) fn is_open(&self) -> bool {
        !self.names.is_empty()
    }

    /// Reads the head: `E    #       LOSS TOK2VEC  LOSS NER  ENTS_F  SCORE`, with at least two blanks between
    /// columns.
    pub(super) fn head(&mut self, text: &str) {
        if let Some(rest) = text.strip_prefix(HEAD) {
            let names = rest.split("  ").map(str::trim).filter(|name| !name.is_empty());
            self.names = names.map(str::to_owned).collect();
            if self.names.last().is_none_or(|last| last != "SCORE") {
                self.names.clear();
            }
        }
    }

    /// Reads a line of the table: `  7     200       1400.28   3114.39   63.12    0.63`.
    pub(super) fn line(&self, text: &str) -> Option<MetricRow> {
        let values: Vec<f64> = text.split_ascii_whitespace().map(number).collect::<Option<_>>()?;
        let ([epoch, step], rest) = values.split_first_chunk()?;
        if self.names.len() != rest.len() {
            return None;
        }
        let mut numbers = Numbers::default();
        numbers.add("epoch", *epoch);
        numbers.add("step", *step);
        for (name, value) in self.names.iter().zip(rest) {
            numbers.add(name, *value);
        }
        numbers.row()
    }
}
