//! The curves of all runs for the requested metrics, evaluations included.

use crate::curve::{Beside, Curve};
use crate::fault::Fault;
use crate::frame::{ALL_COLUMNS, no_metrics};
use crate::run::Run;
use crate::runs::Runs;
use run_common::cli::mistakes::meant;
use run_common::error::Exit;
use run_common::message::warn;
use run_common::pipeline::large_in_order;
use run_metrics::name_list::NameList;
use run_metrics::names::is_metric;
use run_metrics::of_run;
use run_metrics::read::RowCounts;
use run_metrics::row::MetricRow;
use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::io;

/// Which curves to draw, and how.
pub(crate) struct Options<'a> {
    /// The metrics; empty for all of them.
    pub(crate) metrics: NameList,
    /// The field to draw them over, instead of the step.
    pub(crate) x: Option<&'a str>,
    /// Weight of the running mean that smooths curves.
    pub(crate) smooth: Option<f64>,
    /// Whether values are on a logarithmic axis.
    pub(crate) log: bool,
    /// Whether steps are on a logarithmic axis.
    pub(crate) log_x: bool,
}

impl Options<'_> {
    /// Returns whether a metric may be requested.
    pub(crate) fn wants(&self, name: &str) -> bool {
        if self.metrics.is_empty() { is_metric(name) } else { self.metrics.may_have(name) }
    }

    /// Warns about requested metrics that no run has; returns the exit status.
    pub(crate) fn say_missing(&self, runs: &Runs, is_known: impl Fn(&str) -> bool) -> Exit {
        let wanted = self.metrics.names(&is_known);
        let missing: Vec<&String> = wanted.iter().filter(|metric| !is_known(metric)).collect();
        let beside = self.x.map(|x| format!(" in a row with '{x}'")).unwrap_or_default();
        let recorded = runs.all.iter().flat_map(|run| run.seen.recorded.metrics().figures());
        let names: Vec<String> = recorded.map(|(name, _)| name).filter(|name| is_metric(name)).collect();
        for metric in &missing {
            let meant = meant(metric, names.iter().map(String::as_str).filter(|_| self.x.is_none()));
            let meant = meant.map(|meant| format!("; {meant}")).unwrap_or_default();
            warn(&format!("no run has '{metric}'{beside}{meant}"));
        }
        if missing.is_empty() {
            return Exit::Ok;
        }
        // Rows of runs that were not executed are in no record.
        let has_metric = |run: &Run| {
            let mut has_any = false;
            let read = visit(run, &mut |_, _, _| has_any = true);
            has_any || read.is_err()
        };
        match runs.all.is_empty() {
            true => {}
            false if names.is_empty() && !runs.all.iter().any(has_metric) => warn(&no_metrics()),
            false => warn(ALL_COLUMNS),
        }
        Exit::No
    }
}

/// Reads the curves of every run, each curve with at most `buckets` buckets. Returns the results of `make`,
/// in the order of the runs, and the worst exit status.
pub(crate) fn read<T: Send>(
    runs: &Runs,
    options: &Options,
    buckets: usize,
    make: impl Fn(&Run, Vec<Curve>) -> T + Sync,
) -> (Vec<T>, Exit) {
    let mut exit = runs.exit;
    let mut all = Vec::new();
    let work = |run: &Run| {
        let (curves, faults) = of_run(run, options, buckets);
        (make(run, curves), faults)
    };
    let take = |(made, faults): (T, Vec<Fault>)| -> Result<(), Infallible> {
        exit = Fault::say_all(&faults, exit);
        all.push(made);
        Ok(())
    };
    let Ok(()) = large_in_order(&runs.all, work, take);
    (all, exit)
}

/// Makes steps that restart in each epoch continuous.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unrolled {
    /// The epoch of the last row with an epoch.
    epoch: Option<f64>,
    /// Steps before that epoch.
    before: f64,
    /// The greatest step in that epoch.
    greatest: f64,
}

impl Unrolled {
    /// Returns the step of a row; `None` where the row has none.
    pub(crate) fn step(&mut self, row: &MetricRow) -> Option<f64> {
        let (_, step) = row.step()?;
        if let Some((_, Some(epoch))) = row.standing().map(|standing| standing.position()) {
            if self.epoch.is_some_and(|last| epoch > last) && step <= self.greatest {
                self.before += self.greatest + if step > 0.0 { 0.0 } else { 1.0 };
                self.greatest = 0.0;
            }
            (self.epoch, self.greatest) = (Some(epoch), self.greatest.max(step));
        }
        Some(self.before + step)
    }
}

fn of_run(run: &Run, options: &Options, buckets: usize) -> (Vec<Curve>, Vec<Fault>) {
    let mut gathered = Gathering::new(options, buckets, run);
    let read = of_run::rows(run.seen.run.layout(), &mut |row: MetricRow, _| gathered.add(&row));
    (gathered.curves(run), run.faults(read))
}

/// Visits every value of a run: the name of the metric, its step, and the value. The results of evaluations come last.
pub(crate) fn visit(run: &Run, each: &mut dyn FnMut(&str, f64, f64)) -> io::Result<RowCounts> {
    let mut walk = Walk::new(None, run);
    let read = of_run::rows(run.seen.run.layout(), &mut |row: MetricRow, _| {
        let step = walk.place(&row);
        for (name, value) in row.numbers() {
            if let Some(step) = step {
                each(name, step, value);
            }
            walk.meet(name);
        }
    });
    walk.evaluated(run, each);
    read
}

/// A walk through the rows of a run, and then through the results of its evaluations.
#[derive(Clone, Debug)]
struct Walk<'a> {
    x: Option<&'a str>,
    /// Number of rows so far.
    number: f64,
    unrolled: Unrolled,
    has_evaluations: bool,
    /// The metrics of the rows, if there are evaluations.
    own: HashSet<String>,
}

impl<'a> Walk<'a> {
    fn new(x: Option<&'a str>, run: &Run) -> Self {
        Self {
            x,
            number: 0.0,
            unrolled: Unrolled::default(),
            has_evaluations: !run.evaluations.is_empty() || !run.foreign_evaluations.is_empty(),
            own: HashSet::new(),
        }
    }

    /// Returns where the values of the next row are: at the field `x`, at the step, or at the number of the row if it
    /// has no step.
    fn place(&mut self, row: &MetricRow) -> Option<f64> {
        self.number += 1.0;
        match self.x {
            Some(x) => row.number_under(x),
            None => Some(self.unrolled.step(row).unwrap_or(self.number)),
        }
    }

    /// Records that a row has a metric.
    fn meet(&mut self, name: &str) {
        if self.has_evaluations && !self.own.contains(name) {
            self.own.insert(name.to_owned());
        }
    }

    /// Visits the results of evaluations, except those with the name of a metric of the rows. They have a step, but no
    /// field `x`.
    fn evaluated(&self, run: &Run, each: &mut dyn FnMut(&str, f64, f64)) {
        if self.x.is_some() {
            return;
        }
        run.measured(&mut |name, step, mean| {
            if !self.own.contains(name) {
                each(name, step, mean);
            }
        });
    }
}

/// The curves of a run, row by row.
#[derive(Clone)]
pub(crate) struct Gathering<'a> {
    options: &'a Options<'a>,
    buckets: usize,
    curves: Vec<Curve>,
    names: Names,
    walk: Walk<'a>,
}

impl<'a> Gathering<'a> {
    /// Begins to gather the curves of a run, each with at most `buckets` buckets.
    pub(crate) fn new(options: &'a Options, buckets: usize, run: &Run) -> Self {
        Self {
            options,
            buckets,
            curves: Vec::new(),
            names: Names::default(),
            walk: Walk::new(options.x, run),
        }
    }

    /// Adds a row that counts.
    pub(crate) fn add(&mut self, row: &MetricRow) {
        self.add_beside(row, Beside::NOTHING);
    }

    /// Adds a row that counts, and may be drawn over another axis, too.
    pub(crate) fn add_beside(&mut self, row: &MetricRow, beside: Beside) {
        let Self { options, buckets, curves, names, walk } = self;
        let x = walk.place(row);
        for (at, (name, value)) in row.numbers().enumerate() {
            if let Some(x) = x
                && let Some(place) = names.place(at, name, || curve_of(curves, options, *buckets, name))
            {
                curves[place].add_row(x, value, beside);
            }
            walk.meet(name);
        }
    }

    /// Adds the evaluations of the run, and returns all curves.
    pub(crate) fn curves(mut self, run: &Run) -> Vec<Curve> {
        let Self { options, buckets, curves, names, walk } = &mut self;
        walk.evaluated(run, &mut |name, step, mean| {
            if let Some(place) = names.place(0, name, || curve_of(curves, options, *buckets, name)) {
                curves[place].add(step, mean);
            }
        });
        if options.x.is_some() {
            curves.iter_mut().for_each(Curve::sort);
        }
        self.curves
    }
}

/// Begins the curve of a metric, if it may be requested; returns its place.
fn curve_of(curves: &mut Vec<Curve>, options: &Options, buckets: usize, name: &str) -> Option<usize> {
    options.wants(name).then(|| {
        curves.push(Curve::new(name, buckets, options.smooth));
        curves.len() - 1
    })
}

/// The places of curves by name. Most rows have the names of the row before, which are compared first.
#[derive(Clone, Debug, Default)]
struct Names {
    known: Vec<(String, Option<usize>)>,
    by_name: HashMap<String, usize>,
    /// The names of the row before.
    before: Vec<usize>,
}

impl Names {
    /// Returns the place of the name that is at this position in its row; a new name gets that of `new`.
    fn place(&mut self, at: usize, name: &str, new: impl FnOnce() -> Option<usize>) -> Option<usize> {
        if let Some((known, place)) = self.before.get(at).map(|&known| &self.known[known])
            && known == name
        {
            return *place;
        }
        let found = match self.by_name.get(name) {
            Some(found) => *found,
            None => {
                self.known.push((name.to_owned(), new()));
                self.by_name.insert(name.to_owned(), self.known.len() - 1);
                self.known.len() - 1
            }
        };
        if at < self.before.len() {
            self.before[at] = found;
        } else if at == self.before.len() {
            self.before.push(found);
        }
        self.known[found].1
    }
}
