//! The figures of the rows that count: of every metric, the last rows, and the step.

use super::aggregate::{Aggregate, Aggregates};
use super::row::{MetricRow, MetricValue};
use super::snapshot;
use serde_json::{Map, Value};
use std::collections::VecDeque;

/// How many of the last rows are kept, and bytes of each.
const RECENT: usize = 5;
pub(super) const ROW: usize = 256 << 10;

/// The figures of all rows that no later attempt superseded.
#[derive(Clone, Debug)]
pub struct Figures {
    aggregates: Aggregates,
    recent: VecDeque<MetricRow>,
    rows: u64,
    /// The last step of each track, and its unit.
    steps: Vec<(usize, f64, &'static str)>,
    /// Rows name an epoch that is no step, so that their number is none either.
    is_in_epochs: bool,
    pub(super) skipped: u64,
}

impl Default for Figures {
    fn default() -> Self {
        Self::of(Aggregates::default())
    }
}

impl Figures {
    /// Makes figures that keep to what has room in a record.
    pub(super) fn for_record() -> Self {
        Self::of(Aggregates::for_record())
    }

    fn of(aggregates: Aggregates) -> Self {
        Self {
            aggregates,
            recent: VecDeque::new(),
            rows: 0,
            steps: Vec::new(),
            is_in_epochs: false,
            skipped: 0,
        }
    }

    /// Takes in a row of a track, of so many bytes.
    pub(super) fn add(&mut self, track: usize, row: MetricRow, length: usize) {
        self.rows += 1;
        match row.step() {
            Some((key, step)) => match self.steps.iter_mut().find(|(known, ..)| *known == track) {
                Some(last) => (last.1, last.2) = (step, key),
                None => self.steps.push((track, step, key)),
            },
            None => self.is_in_epochs |= matches!(row.get("epoch"), Some(MetricValue::Number(_))),
        }
        for (name, value) in row.numbers() {
            self.aggregates.add(name, value);
        }
        let row = if length > ROW { row.cut(ROW) } else { row };
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(row);
    }

    /// Returns the figures by metric name, in the order first logged.
    pub fn aggregates(&self) -> impl Iterator<Item = (&str, Aggregate)> {
        self.aggregates.iter()
    }

    /// Returns the last rows.
    pub fn recent(&self) -> Vec<Map<String, Value>> {
        self.recent.iter().map(MetricRow::to_json).collect()
    }

    /// Returns how many rows there are.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Returns the step of the last row that names one; of several tracks that of the furthest.
    pub fn step(&self) -> Option<f64> {
        self.steps.iter().map(|(_, step, _)| *step).reduce(f64::max)
    }

    /// Says whether the step counts epochs or episodes.
    pub(super) fn is_in_large_units(&self) -> bool {
        self.steps.iter().any(|(_, _, key)| ["epoch", "episode"].contains(key))
    }

    /// Returns the number of the last row, for rows that name nothing like a step.
    pub(super) fn row_number(&self) -> Option<f64> {
        #[expect(clippy::cast_precision_loss, reason = "more than 2^53 rows are not to be had")]
        let number = self.rows as f64;
        Some(number).filter(|_| self.rows > 0 && !self.is_in_epochs)
    }

    /// Returns how many steps the last rows say that there are to take.
    pub(super) fn total(&self) -> Option<f64> {
        self.recent.iter().rev().find_map(snapshot::total)
    }

    /// Returns how many lines of the present attempt could not be read.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }
}
