//! Running figures of metrics: last, minimum, maximum, mean, standard deviation.

use run_common::json::json_number;
use serde_json::{Value, json};
use std::collections::HashMap;

/// Figures of the values so far; all except `last` skip values that are not finite.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Aggregate {
    last: f64,
    min: f64,
    max: f64,
    mean: f64,
    squares: f64, // sum of squared deviations from the mean (Welford)
    count: u64,
    nonfinite: u64,
}

impl Default for Aggregate {
    fn default() -> Self {
        Self { last: f64::NAN, min: f64::NAN, max: f64::NAN, mean: 0.0, squares: 0.0, count: 0, nonfinite: 0 }
    }
}

impl Aggregate {
    /// Adds a value.
    pub fn add(&mut self, value: f64) {
        self.last = value;
        if !value.is_finite() {
            self.nonfinite += 1;
            return;
        }
        self.count += 1;
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        let delta = value - self.mean;
        #[expect(clippy::cast_precision_loss, reason = "more than 2^53 rows are not to be had")]
        let count = self.count as f64;
        self.mean += delta / count;
        self.squares += delta * (value - self.mean);
    }

    /// Returns the sample standard deviation; `None` for fewer than two values.
    fn std(&self) -> Option<f64> {
        #[expect(clippy::cast_precision_loss, reason = "more than 2^53 rows are not to be had")]
        let degrees = self.count.checked_sub(1)? as f64;
        (degrees > 0.0).then(|| (self.squares / degrees).sqrt())
    }

    /// Returns the figures as in status.json; values that are not finite are null.
    pub fn to_json(self) -> Value {
        json!({
            "last": json_number(self.last),
            "min": json_number(self.min),
            "max": json_number(self.max),
            "mean": if self.count == 0 { Value::Null } else { json_number(self.mean) },
            "std": self.std().map_or(Value::Null, json_number),
            "count": self.count,
            "nonfinite": self.nonfinite,
        })
    }
}

/// Figures of many metrics, in the order first logged.
#[derive(Clone, Debug, Default)]
pub struct Aggregates {
    all: Vec<(String, Aggregate)>,
    places: HashMap<String, usize>,
    room: Option<Room>,
}

impl Aggregates {
    /// Creates figures for at most as many metrics as fit into a record.
    pub(crate) fn for_record() -> Self {
        Self { room: Some(Room::default()), ..Self::default() }
    }

    /// Adds a value of a metric.
    pub fn add(&mut self, name: &str, value: f64) {
        if let Some(place) = self.place(name) {
            self.add_at(place, value);
        }
    }

    /// Returns the place of a metric, which is added if it is new; `None` if there is no more room.
    pub(crate) fn place(&mut self, name: &str) -> Option<usize> {
        if let Some(&place) = self.places.get(name) {
            return Some(place);
        }
        self.room.as_mut().is_none_or(|room| room.take(name)).then(|| {
            self.places.insert(name.to_owned(), self.all.len());
            self.all.push((name.to_owned(), Aggregate::default()));
            self.all.len() - 1
        })
    }

    /// Adds a value of the metric at a place.
    pub(crate) fn add_at(&mut self, place: usize, value: f64) {
        self.all[place].1.add(value);
    }

    /// Returns the figures with the names of the metrics.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Aggregate)> {
        self.all.iter().map(|(name, figures)| (name.as_str(), *figures))
    }
}

/// Maximum number of metrics with figures in a record: a record that is too large is not read.
const METRICS: usize = 10_000;

/// Maximum total size of their names, and of a single name, in bytes.
const NAMES: usize = 1 << 20;
const NAME: usize = 1 << 10;

/// The remaining room for figures in a record.
#[derive(Clone, Copy, Debug, Default)]
pub struct Room {
    metrics: usize,
    names: usize,
}

impl Room {
    /// Reserves room for another metric; `false` if there is none.
    pub fn take(&mut self, name: &str) -> bool {
        let has_room = !self.is_full() && name.len() <= NAME;
        if has_room {
            self.metrics += 1;
            self.names += name.len();
        }
        has_room
    }

    fn is_full(self) -> bool {
        self.metrics >= METRICS || self.names >= NAMES
    }

    /// Returns whether a record with these metrics may lack others.
    pub fn is_filled_by<'a>(names: impl Iterator<Item = &'a String>) -> bool {
        let mut room = Self::default();
        names.for_each(|name| {
            room.take(name);
        });
        room.is_full()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_skip_what_is_not_finite_and_count_it() {
        let mut figures = Aggregate::default();
        for value in [1.0, f64::INFINITY, 2.0, 3.0, 4.0, f64::NAN] {
            figures.add(value);
        }
        let std = (5.0_f64 / 3.0).sqrt();
        assert_eq!(
            figures.to_json(),
            json!({"last": null, "min": 1, "max": 4, "mean": 2.5, "std": std, "count": 4, "nonfinite": 2})
        );
        assert_eq!(Aggregate::default().to_json()["mean"], Value::Null);
    }

    #[test]
    fn a_million_metrics_are_no_harder_to_find_than_one() {
        let mut figures = Aggregates::default();
        for value in [1.0, 2.0] {
            (0..1_000_000).for_each(|number| figures.add(&number.to_string(), value));
        }
        let (last, of_last) = figures.iter().last().unwrap();
        assert_eq!((last, of_last.to_json()["mean"].clone()), ("999999", json!(1.5)));
    }

    #[test]
    fn a_record_has_room_for_so_many_metrics() {
        let names = |count: usize, length: usize| (0..count).map(move |number| format!("{number:0length$}"));
        for (count, length, held) in [(9999, 9, 9999), (20_000, 9, 10_000), (5000, 300, 3496), (1, 2000, 0)] {
            let mut figures = Aggregates::for_record();
            for _ in 0..2 {
                names(count, length).for_each(|name| figures.add(&name, 1.0));
            }
            assert!(figures.iter().all(|(_, figures)| figures.count == 2));
            let known: Vec<String> = figures.iter().map(|(name, _)| name.to_owned()).collect();
            assert_eq!(known.len(), held);
            assert_eq!(Room::is_filled_by(known.iter()), held < count && length < NAME);
        }
    }
}
