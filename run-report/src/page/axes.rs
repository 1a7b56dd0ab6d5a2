//! The places of the points of a run's curves: most curves have the same, which are written once.

use super::numbers::{array, rounding, short};
use crate::curve::{Beside, Bucket, Curve};
use crate::goodput::timeline::Clock;
use std::fmt::Write;

/// The axes of a run.
pub(super) struct Axes<'a> {
    /// When the run started, in seconds since 1970; NaN if unknown.
    start: f64,
    clock: &'a Clock,
    /// A curve on each axis, and whether its steps are times alone.
    known: Vec<(&'a Curve, bool)>,
}

impl<'a> Axes<'a> {
    /// Begins the axes of a run that started at a time.
    pub(super) fn new(start: f64, clock: &'a Clock) -> Self {
        Self { start, clock, known: Vec::new() }
    }

    /// Returns the place of the axis of a curve.
    pub(super) fn of(&mut self, curve: &'a Curve, is_of_time: bool) -> usize {
        let is_same = |one: &Bucket, other: &Bucket| {
            let rows =
                |bucket: &Bucket| (bucket.from.to_bits(), bucket.to.to_bits(), bucket.beside().row.to_bits());
            rows(one) == rows(other)
        };
        let is_on = |known: &(&Curve, bool)| {
            known.1 == is_of_time
                && known.0.buckets.len() == curve.buckets.len()
                && known.0.buckets.iter().zip(&curve.buckets).all(|(one, other)| is_same(one, other))
        };
        self.known.iter().position(is_on).unwrap_or_else(|| {
            self.known.push((curve, is_of_time));
            self.known.len() - 1
        })
    }

    /// Appends the axes as JSON: `step` and `to`, which is null where each point is one row; `t`, in seconds since the
    /// start; `epoch`.
    pub(super) fn write(&self, into: &mut String) {
        into.push('[');
        for (place, (curve, is_of_time)) in self.known.iter().enumerate() {
            let buckets = &curve.buckets;
            let time = |bucket: &Bucket| {
                let Beside { row, time, .. } = bucket.beside();
                let known = if time.is_nan() { self.clock.time_of(row).unwrap_or(f64::NAN) } else { time };
                known - self.start
            };
            let span = buckets.last().map_or(0.0, time);
            let round = rounding(span);
            let _ = write!(into, "{}{{\"step\":", if place > 0 { "," } else { "" }); // writing to a String cannot fail
            let steps = |of: fn(&Bucket) -> f64| Some(buckets.iter().map(of)).filter(|_| !is_of_time);
            optional(into, steps(|bucket| bucket.from));
            into.push_str(",\"to\":");
            optional(into, steps(|bucket| bucket.to).filter(|_| curve.rows_each > 1));
            into.push_str(",\"t\":");
            let times = buckets.iter().map(|bucket| round(time(bucket)));
            optional(into, Some(times).filter(|times| times.clone().any(f64::is_finite)));
            into.push_str(",\"epoch\":");
            let epochs = buckets.iter().map(|bucket| short(bucket.beside().epoch));
            optional(into, Some(epochs).filter(|epochs| epochs.clone().any(f64::is_finite)));
            into.push('}');
        }
        into.push(']');
    }
}

fn optional(into: &mut String, values: Option<impl Iterator<Item = f64>>) {
    match values {
        Some(values) => array(into, values),
        None => into.push_str("null"),
    }
}
