//! The step at which a metric was best in a run, and the other metrics at that step.

use crate::curves::visit;
use crate::run::Run;
use crate::scalar::Scalar;
use run_common::pipeline::large_in_order;
use run_metrics::goal::Goal;
use run_metrics::names::{Better, is_metric};
use std::collections::HashMap;
use std::convert::Infallible;

/// What a run had reached where a metric was best.
#[derive(Debug, Default)]
pub(super) struct AtBest {
    /// The first step with the best value.
    step: Option<f64>,
    /// The last value of every other metric up to this step.
    values: HashMap<String, f64>,
}

impl AtBest {
    /// Finds the best step of every run. Faults of the files were reported with the figures.
    pub(super) fn of_all(runs: &[Run], goal: &Goal) -> Vec<Self> {
        let mut all = Vec::with_capacity(runs.len());
        let take = |found: Self| -> Result<(), Infallible> {
            all.push(found);
            Ok(())
        };
        let Ok(()) = large_in_order(runs, |run| Self::of(run, goal), take);
        all
    }

    fn of(run: &Run, goal: &Goal) -> Self {
        let is_more = goal.better == Some(Better::More);
        let mut best: Option<(f64, f64)> = None;
        let _ = visit(run, &mut |name, step, value| {
            let is_better = |(_, best): (f64, f64)| if is_more { value > best } else { value < best };
            if name == goal.metric && value.is_finite() && best.is_none_or(is_better) {
                best = Some((step, value));
            }
        });
        let Some((step, _)) = best else { return Self::default() };
        let mut values: HashMap<String, f64> = HashMap::new();
        let _ = visit(run, &mut |name, at, value| {
            if at > step || name == goal.metric || !is_metric(name) {
                return;
            }
            match values.get_mut(name) {
                Some(last) => *last = value,
                None => _ = values.insert(name.to_owned(), value),
            }
        });
        Self { step: Some(step), values }
    }

    /// Returns the step.
    pub(super) fn step(&self) -> Scalar {
        self.step.map_or(Scalar::Empty, Scalar::Exact)
    }

    /// Returns the value of another metric.
    pub(super) fn value(&self, metric: &str) -> Scalar {
        self.values.get(metric).map_or(Scalar::Empty, |value| Scalar::measured(metric, *value))
    }
}
