//! The figures of the rows that count: figures of every metric, the last rows, and the step.

use super::aggregate::{Aggregate, Aggregates};
use super::row::MetricRow;
use super::snapshot;
use super::step_key::StepKey;
use super::supersede::RowOrigin;
use super::trace::Trace;
use serde_json::{Map, Value};
use std::collections::{HashMap, VecDeque};

/// Number of last rows to keep, and maximum size of each in bytes.
const RECENT: usize = 5;
pub(super) const ROW: usize = 256 << 10;

/// Maximum number of row shapes with a last step, for each track.
const SHAPES: usize = 1000;

/// The unit of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Step,
    Epoch,
    /// A larger unit, such as an episode.
    Larger,
}

impl Unit {
    fn of(key: &str) -> Self {
        match StepKey::of(key) {
            Some(key) if key.is_epoch() => Self::Epoch,
            Some(key) if key.is_large() => Self::Larger,
            _ => Self::Step,
        }
    }
}

/// The progress of a track's rows that count in one unit.
#[derive(Clone, Debug)]
struct Reached {
    origin: RowOrigin,
    unit: Unit,
    /// The last step of the rows of each shape. Rows of different shapes may count differently, such as the
    /// validations of mmengine, whose steps are epochs.
    by_shape: HashMap<u64, f64>,
}

impl Reached {
    /// Adds the step of a row. If rows of a shape go back, all shapes start over.
    fn note(&mut self, origin: RowOrigin, shape: u64, step: f64) {
        let goes_back = self.by_shape.get(&shape).is_some_and(|last| step < *last);
        if goes_back || origin.attempt != self.origin.attempt {
            self.by_shape.clear();
        }
        self.origin = origin;
        if self.by_shape.len() < SHAPES || self.by_shape.contains_key(&shape) {
            self.by_shape.insert(shape, step);
        }
    }

    fn step(&self) -> Option<f64> {
        self.by_shape.values().copied().reduce(f64::max)
    }
}

/// The figures of all rows that no later attempt superseded.
#[derive(Clone, Debug)]
pub struct Figures {
    aggregates: Aggregates,
    recent: VecDeque<MetricRow>,
    rows: u64,
    /// The progress of each track, in steps and in larger units.
    steps: Vec<Reached>,
    /// Whether some epochs are fractions, so that epochs do not count as steps.
    has_parts_of_epochs: bool,
    /// Whether rows have an epoch that is not a step, so that their number is not a step either.
    is_in_epochs: bool,
    pub(super) skipped: u64,
    pub(super) superseded: u64,
    /// The course of a metric, if wanted.
    trace: Option<Trace>,
}

impl Default for Figures {
    fn default() -> Self {
        Self::of(Aggregates::default())
    }
}

impl Figures {
    /// Creates figures that stay within the room of a record.
    pub(super) fn for_record() -> Self {
        Self::of(Aggregates::for_record())
    }

    fn of(aggregates: Aggregates) -> Self {
        Self {
            aggregates,
            recent: VecDeque::new(),
            rows: 0,
            steps: Vec::new(),
            has_parts_of_epochs: false,
            is_in_epochs: false,
            skipped: 0,
            superseded: 0,
            trace: None,
        }
    }

    /// Keeps the course of a metric, too.
    pub(super) fn traced(self, metric: Option<&str>) -> Self {
        Self { trace: metric.map(Trace::of), ..self }
    }

    /// Adds a row with its size in bytes and the hash of its shape.
    pub(super) fn add(&mut self, origin: RowOrigin, row: MetricRow, shape: u64, length: usize) {
        self.rows += 1;
        if row.has_part_of_epoch() && !self.has_parts_of_epochs {
            self.has_parts_of_epochs = true;
            self.steps.retain(|reached| reached.unit != Unit::Epoch);
        }
        let row = if self.has_parts_of_epochs { row.without_epoch() } else { row };
        match row.step() {
            Some((key, step)) => {
                let unit = Unit::of(key);
                let is_same = |known: &Reached| (known.origin.track, known.unit) == (origin.track, unit);
                let at = self.steps.iter().position(is_same).unwrap_or_else(|| {
                    self.steps.push(Reached { origin, unit, by_shape: HashMap::new() });
                    self.steps.len() - 1
                });
                self.steps[at].note(origin, shape, step);
            }
            None => self.is_in_epochs |= row.number_under("epoch").is_some(),
        }
        for (name, value) in row.numbers() {
            self.aggregates.add(name, value);
        }
        if let Some(trace) = &mut self.trace {
            trace.add(&row);
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

    /// Gives the figures away.
    pub(super) fn into_aggregates(self) -> Aggregates {
        self.aggregates
    }

    /// Returns the last rows.
    pub fn recent(&self) -> Vec<Map<String, Value>> {
        self.recent.iter().map(MetricRow::to_json).collect()
    }

    /// Returns the number of rows.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Returns the step of the last row with a step; for rows of several shapes and tracks, that of the
    /// furthest one of the last attempt. Epochs and episodes count if there is no smaller unit.
    pub fn step(&self) -> Option<f64> {
        let furthest = |is_small: bool| {
            let of = || self.steps.iter().filter(move |one| (one.unit == Unit::Step) == is_small);
            let last = of().map(|one| one.origin.attempt).max()?;
            of().filter(|one| one.origin.attempt == last).filter_map(Reached::step).reduce(f64::max)
        };
        furthest(true).or_else(|| furthest(false))
    }

    /// Returns the number of the last attempt, from 0, with a row that has a step.
    pub(super) fn attempt(&self) -> Option<usize> {
        self.steps.iter().map(|reached| reached.origin.attempt).max()
    }

    /// Returns whether the step counts epochs or episodes.
    pub(super) fn is_in_large_units(&self) -> bool {
        self.step().is_some() && self.steps.iter().all(|one| one.unit != Unit::Step)
    }

    /// Returns the number of the last row, for rows without any step.
    pub(super) fn row_number(&self) -> Option<f64> {
        #[expect(clippy::cast_precision_loss, reason = "more than 2^53 rows are not to be had")]
        let number = self.rows as f64;
        Some(number).filter(|_| self.rows > 0 && !self.is_in_epochs)
    }

    /// Returns the number of steps to train for, from the last rows.
    pub(super) fn total(&self) -> Option<f64> {
        self.recent.iter().rev().find_map(snapshot::total)
    }

    /// Returns the course of the metric that is traced.
    pub fn trace(&self) -> Option<&Trace> {
        self.trace.as_ref()
    }

    /// Returns the number of superseded rows.
    pub fn superseded(&self) -> u64 {
        self.superseded
    }

    /// Returns the number of unreadable lines of the current attempt.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(rows: &[(usize, &str)]) -> Option<f64> {
        let mut figures = Figures::default();
        for (number, row) in rows {
            let origin = RowOrigin { attempt: number / 10, track: number % 10, offset: 0 };
            let row = MetricRow::parse(row.as_bytes()).unwrap();
            let shape = row.standing().map_or(0, |standing| standing.shape);
            figures.add(origin, row, shape, 0);
        }
        figures.step()
    }

    #[test]
    fn rows_of_epochs_among_others_do_not_take_the_step_back() {
        let (train, eval) = (r#"{"step": 100, "loss": 1}"#, r#"{"epoch": 1, "val_loss": 2}"#);
        assert_eq!(step(&[(0, train), (0, eval)]), Some(100.0));
        assert_eq!(step(&[(0, eval)]), Some(1.0));
        assert_eq!(
            step(&[(0, train), (1, r#"{"step": 90, "ratio": 2}"#)]),
            Some(100.0),
            "the furthest track"
        );
        let resumed = r#"{"step": 60, "loss": 2}"#;
        assert_eq!(step(&[(0, train), (1, train), (10, resumed)]), Some(60.0), "the last attempt");
        assert_eq!(step(&[(0, train), (0, r#"{"step": 90, "loss": 2}"#)]), Some(90.0), "it went back");
        assert_eq!(step(&[(0, r#"{"loss": 1}"#)]), None);
        let validation = r#"{"step": 1, "coco/bbox_mAP": 2}"#;
        assert_eq!(step(&[(0, train), (0, validation)]), Some(100.0), "of another shape, in epochs");
        let again = r#"{"step": 0, "loss": 1}"#;
        let far = r#"{"step": 900, "val": 1}"#;
        assert_eq!(step(&[(0, far), (0, train), (0, again)]), Some(0.0), "all started over");
    }
}
