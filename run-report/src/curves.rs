//! The curves of all runs: those of the metrics that were asked for, with evaluations among them.

use crate::curve::Curve;
use crate::fault::Fault;
use crate::metric::is_metric;
use crate::run::Run;
use crate::runs::Runs;
use run_common::error::Exit;
use run_common::message::warn;
use run_common::pipeline::large_in_order;
use run_metrics::of_run;
use run_metrics::row::MetricRow;
use std::collections::{HashMap, HashSet};
use std::convert::Infallible;

/// Which curves are wanted, and how they are drawn.
pub(crate) struct Options<'a> {
    /// The metrics; all of them, if none is named.
    pub(crate) metrics: &'a [String],
    /// Weight of the running mean that smooths the curves.
    pub(crate) smooth: Option<f64>,
    /// Values are on a logarithmic axis.
    pub(crate) log: bool,
    /// Steps are on a logarithmic axis.
    pub(crate) log_x: bool,
}

impl Options<'_> {
    /// Says whether a metric is wanted.
    pub(crate) fn wants(&self, name: &str) -> bool {
        if self.metrics.is_empty() {
            is_metric(name)
        } else {
            self.metrics.iter().any(|wanted| wanted == name)
        }
    }

    /// Says which of the metrics that were asked for no run has; returns the status that this leads to.
    pub(crate) fn say_missing(&self, is_known: impl Fn(&str) -> bool) -> Exit {
        let missing: Vec<&String> = self.metrics.iter().filter(|metric| !is_known(metric)).collect();
        for metric in &missing {
            warn(&format!("no run has '{metric}'"));
        }
        if missing.is_empty() { Exit::Ok } else { Exit::No }
    }
}

/// Reads the curves of every run, each of at most so many buckets. Returns what `make` makes of them, in the
/// order of the runs, and the worst that happened.
pub(crate) fn read<T: Send>(
    runs: &Runs,
    options: &Options,
    buckets: usize,
    make: impl Fn(&Run, Vec<Curve>) -> T + Sync,
) -> (Vec<T>, Exit) {
    let mut exit = runs.exit;
    let mut all = Vec::new();
    let work = |run: &Run| {
        let (curves, fault) = of_run(run, options, buckets);
        (make(run, curves), fault)
    };
    let take = |(made, fault): (T, Option<Fault>)| -> Result<(), Infallible> {
        exit = Fault::say_all(&fault, exit);
        all.push(made);
        Ok(())
    };
    let Ok(()) = large_in_order(&runs.all, work, take);
    (all, exit)
}

fn of_run(run: &Run, options: &Options, buckets: usize) -> (Vec<Curve>, Option<Fault>) {
    let mut curves: Vec<Curve> = Vec::new();
    let mut places: HashMap<String, Option<usize>> = HashMap::new();
    let mut add = |name: &str, step: f64, value: f64| {
        let place = if let Some(place) = places.get(name) {
            *place
        } else {
            let place = options.wants(name).then(|| {
                curves.push(Curve::new(name, buckets, options.smooth));
                curves.len() - 1
            });
            places.insert(name.to_owned(), place);
            place
        };
        if let Some(place) = place {
            curves[place].add(step, value);
        }
    };
    let mut number = 0.0;
    let mut own: HashSet<String> = HashSet::new();
    let has_evaluations = !run.evaluations.is_empty();
    let read = of_run::rows(run.seen.run.layout(), &mut |row: MetricRow, _| {
        number += 1.0;
        let step = row.step().map_or(number, |(_, step)| step);
        for (name, value) in row.numbers() {
            add(name, step, value);
            if has_evaluations && !own.contains(name) {
                own.insert(name.to_owned());
            }
        }
    });
    run.measured(&mut |name, step, mean| {
        if !own.contains(name) {
            add(name, step, mean);
        }
    });
    (curves, run.fault(read))
}
