//! Values of metrics at steps, from the training, else from evaluations of its checkpoints.

use run_common::error::Error;
use run_common::rundir::evaluations::Finder;
use run_common::rundir::open::RunDir;
use run_metrics::of_run;
use run_metrics::row::{MetricRow, MetricValue};
use std::collections::HashMap;

/// The values of metrics by step.
#[derive(Debug)]
pub(super) struct Values {
    /// For each metric of the training, its steps and values; rows of one step in their order.
    logged: HashMap<String, Vec<(f64, f64)>>,
    /// For each metric that only evaluations have, its values by step.
    measured: HashMap<String, HashMap<u64, f64>>,
}

impl Values {
    /// Reads the values of these metrics of a run.
    pub(super) fn of<'a>(
        run: &RunDir,
        run_id: &str,
        metrics: impl Iterator<Item = &'a str>,
    ) -> Result<Self, Error> {
        let logged = metrics.map(|metric| (metric.to_owned(), Vec::new())).collect();
        let mut values = Self { logged, measured: HashMap::new() };
        if values.logged.is_empty() {
            return Ok(values);
        }
        let mut number = 0.0;
        let mut note = |row: MetricRow, _: usize| {
            number += 1.0;
            let step = row.step().map_or(number, |(_, step)| step);
            for (name, value) in row.fields() {
                if let MetricValue::Number(value) = value
                    && let Some(logged) = values.logged.get_mut(name)
                {
                    logged.push((step, *value));
                }
            }
        };
        let read = of_run::rows(run.layout(), &mut note);
        read.map_err(|error| Error::io("read the metrics of", run.layout().root(), error))?;
        values.logged.values_mut().for_each(|logged| logged.sort_by(|one, other| one.0.total_cmp(&other.0)));
        if values.logged.values().any(Vec::is_empty) {
            values.measure(run, run_id);
        }
        Ok(values)
    }

    /// Adds the means of evaluations, as `METRIC` or `LABEL/METRIC`.
    fn measure(&mut self, run: &RunDir, run_id: &str) {
        let wanted: Vec<&String> =
            self.logged.iter().filter(|(_, logged)| logged.is_empty()).map(|(name, _)| name).collect();
        for kind in Finder::new(None).of_run(run, run_id) {
            let label = kind.label();
            for (step, measured) in kind.measured() {
                for (name, mean) in measured.means() {
                    let is_it = |wanted: &&&String| {
                        **wanted == name
                            || wanted.strip_prefix(label).and_then(|rest| rest.strip_prefix('/'))
                                == Some(name)
                    };
                    for wanted in wanted.iter().filter(is_it) {
                        self.measured.entry((*wanted).clone()).or_default().insert(step, mean);
                    }
                }
            }
        }
    }

    /// Returns the value of a metric at a step: the last logged value at this step or before.
    pub(super) fn at(&self, metric: &str, step: u64) -> Option<f64> {
        if let Some(measured) = self.measured.get(metric) {
            return measured.get(&step).copied();
        }
        let logged = self.logged.get(metric)?;
        #[expect(clippy::cast_precision_loss, reason = "steps are far below 2^53")]
        let before = logged.partition_point(|(logged, _)| *logged <= step as f64);
        before.checked_sub(1).map(|at| logged[at].1)
    }
}
