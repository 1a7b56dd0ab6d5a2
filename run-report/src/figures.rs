//! Figures of the metrics of runs: last, best, mean and so on.

use crate::fault::Fault;
use crate::run::Run;
use crate::scalar::Scalar;
use run_common::pipeline::large_in_order;
use run_metrics::aggregate::{Aggregates, Room};
use run_metrics::names::{Better, counted, headline, is_metric};
use run_metrics::of_run;
use run_metrics::read::RowCounts;
use serde_json::{Map, Value};
use std::collections::HashSet;
use std::convert::Infallible;

/// Number of metrics that a table shows by default.
pub(crate) const METRICS_SHOWN: usize = 3;

/// The figures of all metrics of a run, as in status.json, and its last step.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    by_metric: Map<String, Value>,
    step: Option<f64>,
}

impl Figures {
    /// Returns the figures of every run, and errors in metrics that were read for them.
    pub(crate) fn of_all(runs: &[Run]) -> (Vec<Self>, Vec<Fault>) {
        let mut all = (Vec::with_capacity(runs.len()), Vec::new());
        let take = |(figures, faults): (Self, Vec<Fault>)| -> Result<(), Infallible> {
            all.0.push(figures);
            all.1.extend(faults);
            Ok(())
        };
        let Ok(()) = large_in_order(runs, Self::of, take);
        all
    }

    /// Returns the figures of a run's metrics, then those of its evaluations over the checkpoints. A metric
    /// of the run hides an evaluation metric of the same name. A fault says why some figures are missing.
    fn of(run: &Run) -> (Self, Vec<Fault>) {
        let (mut figures, faults) = Self::of_metrics(run);
        let mut measured = Aggregates::default();
        run.measured(&mut |name, _, mean| measured.add(name, mean));
        for (name, aggregate) in measured.iter() {
            figures.by_metric.entry(name).or_insert_with(|| aggregate.to_json());
        }
        (figures, faults)
    }

    /// Returns the figures that the record has.
    pub(crate) fn recorded(run: &Run) -> Self {
        let recorded = &run.seen.recorded;
        Self { by_metric: recorded.metrics().figures(), step: recorded.step() }
    }

    /// Takes the figures from the record. Reads the rows only if figures are missing from the record.
    fn of_metrics(run: &Run) -> (Self, Vec<Fault>) {
        let recorded = Self::recorded(run);
        let is_stand_in = run.seen.run.layout().rows().is_some();
        if !is_stand_in && !recorded.by_metric.is_empty() && !Room::is_filled_by(recorded.by_metric.keys()) {
            let superseded = run.seen.recorded.attempt().and_then(|attempt| attempt.superseded_rows);
            let counts = RowCounts { superseded: superseded.unwrap_or_default(), ..RowCounts::default() };
            let seen = run.seen.of_metrics.iter().map(Fault::seen);
            return (recorded, seen.chain(run.faults(Ok(counts))).collect());
        }
        let mut figures = Aggregates::default();
        let (mut step, mut number) = (None, 0_u32);
        let read = of_run::rows(run.seen.run.layout(), &mut |row, _| {
            number = number.saturating_add(1);
            // The number of a row with a fractional epoch is not a step.
            let is_numbered = row.number_under("epoch").is_none();
            step = row.step().map(|(_, step)| step).or_else(|| is_numbered.then_some(number.into()));
            for (name, value) in row.numbers() {
                figures.add(name, value);
            }
        });
        if number == 0 {
            return (recorded, run.faults(read));
        }
        let by_metric = figures.iter().map(|(name, figures)| (name.to_owned(), figures.to_json())).collect();
        // The step of a run is recorded; a run that was never executed has no step.
        let step = recorded.step.or(step.filter(|_| is_stand_in));
        (Self { by_metric, step }, run.faults(read))
    }

    /// Returns the last step.
    pub(crate) fn step(&self) -> Scalar {
        self.step.map_or(Scalar::Empty, Scalar::Exact)
    }

    /// Returns the names of all columns with figures, steps and times among them.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.by_metric.keys().map(String::as_str)
    }

    /// Returns whether there are figures of a metric.
    pub(crate) fn has(&self, metric: &str) -> bool {
        self.by_metric.contains_key(metric)
    }

    /// Returns a figure of a metric, such as `last`, as money if the metric is an amount of dollars. There is no
    /// `best` if it is not known whether higher or lower is better. Null in the record becomes NaN.
    pub(crate) fn get(&self, metric: &str, figure: &str, better: Option<Better>) -> Scalar {
        let Some(of) = self.by_metric.get(metric) else { return Scalar::Empty };
        let found = match figure {
            "best" => match better {
                Some(Better::More) => Scalar::json(&of["max"]),
                Some(Better::Less) => Scalar::json(&of["min"]),
                None => Scalar::Empty,
            },
            "last" => Scalar::Number(of["last"].as_f64().unwrap_or(f64::NAN)),
            "count" | "nonfinite" => of[figure].as_f64().map_or(Scalar::Empty, Scalar::Exact),
            _ => Scalar::json(&of[figure]),
        };
        match found {
            Scalar::Number(value) => Scalar::measured(metric, value),
            found => found,
        }
    }
}

/// Returns the names of the metrics that a table shows by default.
pub(crate) fn main_metrics(all: &[Figures]) -> Vec<String> {
    headline(counted(all.iter().map(Figures::names)).into_iter(), METRICS_SHOWN)
        .into_iter()
        .map(str::to_owned)
        .collect()
}

/// Returns the names of all metrics, in the order of their first appearance.
pub(crate) fn metrics_of(all: &[Figures]) -> Vec<String> {
    let mut known = HashSet::new();
    let names = all.iter().flat_map(Figures::names).filter(|name| is_metric(name));
    names.filter(|name| known.insert(*name)).map(str::to_owned).collect()
}
