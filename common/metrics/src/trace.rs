//! The course of one metric over the steps, in a bounded number of points. Used by `run-status --watch`.

use super::row::{MetricRow, MetricValue};

/// Maximum number of points; beyond this, pairs are averaged.
const POINTS: usize = 8192;

/// The values of a metric over the steps.
#[derive(Clone, Debug)]
pub struct Trace {
    name: String,
    rows: u64,
    points: Vec<(f64, f64)>,
    /// The epoch (or similar count) of the last row, within which steps may restart.
    outer: Option<f64>,
}

impl Trace {
    /// Creates the empty course of a metric.
    pub fn of(name: &str) -> Self {
        Self { name: name.to_owned(), rows: 0, points: Vec::new(), outer: None }
    }

    /// Returns the name of the metric.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the points: the step and the value, the mean of a pair once there are many.
    pub fn points(&self) -> &[(f64, f64)] {
        &self.points
    }

    /// Adds a row. After a resume, a row at an earlier step replaces the rows from that step on, unless the
    /// epoch has advanced.
    pub fn add(&mut self, row: &MetricRow) {
        self.rows += 1;
        #[expect(clippy::cast_precision_loss, reason = "more than 2^53 rows are not to be had")]
        let number = self.rows as f64;
        let (step, outer) = row.standing().map_or((number, None), |standing| standing.position());
        let Some(MetricValue::Number(value)) = row.get(&self.name) else { return };
        let before = std::mem::replace(&mut self.outer, outer);
        let goes_on = before.zip(outer).is_some_and(|(before, outer)| outer > before);
        while !goes_on && self.points.last().is_some_and(|(last, _)| *last >= step) {
            self.points.pop();
        }
        self.points.push((step, *value));
        if self.points.len() > POINTS {
            self.points = self.points.chunks(2).map(mean).collect();
        }
    }
}

/// Returns the first step and the mean of the finite values; NaN if there are none.
pub fn mean(points: &[(f64, f64)]) -> (f64, f64) {
    let finite: Vec<f64> = points.iter().map(|(_, value)| *value).filter(|value| value.is_finite()).collect();
    #[expect(clippy::cast_precision_loss, reason = "there are few")]
    let mean = finite.iter().sum::<f64>() / finite.len() as f64;
    (points.first().map_or(0.0, |(step, _)| *step), mean)
}
