//! Curves: a metric of a run over its steps, in a bounded number of buckets that keep least and
//! greatest value, so that a spike is seen however many rows there are.

use crate::runs::{Fault, Run, Runs, is_measured};
use run_common::error::{Error, Exit};
use run_common::pipeline::large_in_order;
use run_metrics::of_run;
use run_metrics::row::MetricRow;
use std::collections::{HashMap, HashSet};

/// Successive rows as one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Bucket {
    /// The first and the last step.
    pub(crate) from: f64,
    pub(crate) to: f64,
    /// Least and greatest of the finite values; NaN without any.
    pub(crate) least: f64,
    pub(crate) greatest: f64,
    /// Sum of the finite values, and how many they are.
    sum: f64,
    count: u64,
    /// Values that were not finite.
    pub(crate) nonfinite: u64,
}

impl Bucket {
    fn of(step: f64, value: f64) -> Self {
        let finite = if value.is_finite() { value } else { f64::NAN };
        let (sum, count) = if value.is_finite() { (value, 1) } else { (0.0, 0) };
        Self {
            from: step,
            to: step,
            least: finite,
            greatest: finite,
            sum,
            count,
            nonfinite: u64::from(!value.is_finite()),
        }
    }

    fn join(&mut self, later: &Self) {
        self.from = self.from.min(later.from);
        self.to = self.to.max(later.to);
        self.least = self.least.min(later.least);
        self.greatest = self.greatest.max(later.greatest);
        self.sum += later.sum;
        self.count += later.count;
        self.nonfinite += later.nonfinite;
    }

    /// Returns the mean of the finite values; NaN without any.
    pub(crate) fn mean(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "more than 2^53 rows are not to be had")]
        let mean = self.sum / self.count as f64;
        mean // NaN, when that is 0 by 0
    }
}

/// A metric of a run.
#[derive(Clone, Debug)]
pub(crate) struct Curve {
    pub(crate) metric: String,
    pub(crate) buckets: Vec<Bucket>,
    /// Rows in a bucket.
    pub(crate) rows_each: u64,
    pub(crate) rows: u64,
    /// The bucket that is being filled has so many.
    filled: u64,
    limit: usize,
    smooth: Option<Smooth>,
}

/// A running mean, in which a value counts by `1 - weight` and all before by `weight`; the first
/// ones do not pull it to zero.
#[derive(Clone, Copy, Debug)]
struct Smooth {
    weight: f64,
    sum: f64,
    total: f64,
}

impl Smooth {
    fn add(&mut self, value: f64) -> f64 {
        if !value.is_finite() {
            return value;
        }
        self.sum = self.sum * self.weight + value * (1.0 - self.weight);
        self.total = self.total * self.weight + (1.0 - self.weight);
        self.sum / self.total
    }
}

impl Curve {
    fn new(metric: &str, limit: usize, smooth: Option<f64>) -> Self {
        Self {
            metric: metric.to_owned(),
            buckets: Vec::new(),
            rows_each: 1,
            rows: 0,
            filled: 0,
            limit,
            smooth: smooth.map(|weight| Smooth { weight, sum: 0.0, total: 0.0 }),
        }
    }

    /// Says how many rows there are, and what of them is drawn.
    pub(crate) fn in_words(&self) -> String {
        let each = match self.rows_each {
            1 => String::new(),
            each => format!(", least and greatest of every {each}"),
        };
        let not = match self.buckets.iter().map(|bucket| bucket.nonfinite).sum() {
            0_u64 => String::new(),
            not => format!(", {not} not finite (x)"),
        };
        format!("{} {}{each}{not}", self.rows, if self.rows == 1 { "row" } else { "rows" })
    }

    fn add(&mut self, step: f64, value: f64) {
        let value = self.smooth.as_mut().map_or(value, |smooth| smooth.add(value));
        let bucket = Bucket::of(step, value);
        self.rows += 1;
        match self.buckets.last_mut() {
            Some(last) if self.filled < self.rows_each => {
                last.join(&bucket);
                self.filled += 1;
                return;
            }
            _ => {}
        }
        if self.buckets.len() == self.limit {
            self.buckets = self.buckets.chunks(2).map(joined).collect();
            self.rows_each *= 2;
            if self.limit % 2 == 1 {
                self.filled = self.rows_each / 2 + 1; // the last bucket is half full
                if let Some(last) = self.buckets.last_mut() {
                    last.join(&bucket);
                }
                return;
            }
        }
        self.buckets.push(bucket);
        self.filled = 1;
    }
}

fn joined(buckets: &[Bucket]) -> Bucket {
    let mut all = buckets[0];
    buckets[1..].iter().for_each(|bucket| all.join(bucket));
    all
}

/// How curves are wanted.
#[derive(Clone, Debug)]
pub(crate) struct Wish<'a> {
    /// Which metrics; all where none is named.
    pub(crate) metrics: &'a [String],
    /// Buckets of a curve at most.
    pub(crate) buckets: usize,
    pub(crate) smooth: Option<f64>,
}

/// Reads the curves of every run, and returns what `make` makes of them, in the order of the runs.
pub(crate) fn read<T: Send>(
    runs: &Runs,
    wish: &Wish,
    make: impl Fn(&Run, Vec<Curve>) -> T + Sync,
) -> Result<(Vec<T>, Exit), Error> {
    let mut exit = runs.exit;
    let mut all = Vec::new();
    let work = |run: &Run| {
        let (curves, fault) = of_run(run, wish);
        (make(run, curves), fault)
    };
    let take = |(made, fault): (T, Option<Fault>)| -> Result<(), Error> {
        exit = fault.iter().map(Fault::say).fold(exit, Exit::max);
        all.push(made);
        Ok(())
    };
    large_in_order(&runs.all, work, take)?;
    Ok((all, exit))
}

fn of_run(run: &Run, wish: &Wish) -> (Vec<Curve>, Option<Fault>) {
    let mut curves: Vec<Curve> = Vec::new();
    let mut places: HashMap<String, Option<usize>> = HashMap::new();
    let mut add = |name: &str, step: f64, value: f64| {
        let place = if let Some(place) = places.get(name) {
            *place
        } else {
            let is_wanted = if wish.metrics.is_empty() {
                is_measured(name)
            } else {
                wish.metrics.iter().any(|wanted| wanted == name)
            };
            let place = is_wanted.then(|| {
                curves.push(Curve::new(name, wish.buckets, wish.smooth));
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

/// Returns the names of the metrics of some curves, in the order first met, or as they were asked
/// for.
pub(crate) fn names(curves: &[Vec<Curve>], wanted: &[String]) -> Vec<String> {
    if !wanted.is_empty() {
        return wanted.to_vec();
    }
    let mut known = HashSet::new();
    let metrics = curves.iter().flatten().map(|curve| &curve.metric);
    metrics.filter(|metric| known.insert(*metric)).cloned().collect()
}

/// A range of steps and values, maybe on logarithmic axes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Frame {
    pub(crate) steps: (f64, f64),
    pub(crate) values: (f64, f64),
    pub(crate) log_steps: bool,
    pub(crate) log_values: bool,
}

impl Frame {
    /// Finds the range of curves; `None` when there is nothing to be seen.
    pub(crate) fn of<'a>(
        curves: impl Iterator<Item = &'a Curve>,
        log_steps: bool,
        log_values: bool,
    ) -> Option<Self> {
        let (mut steps, mut values) =
            ((f64::INFINITY, f64::NEG_INFINITY), (f64::INFINITY, f64::NEG_INFINITY));
        let stretch = |range: &mut (f64, f64), number: f64, is_log: bool| {
            if number.is_finite() && !(is_log && number <= 0.0) {
                *range = (range.0.min(number), range.1.max(number));
            }
        };
        for bucket in curves.flat_map(|curve| &curve.buckets) {
            stretch(&mut steps, bucket.from, log_steps);
            stretch(&mut steps, bucket.to, log_steps);
            stretch(&mut values, bucket.least, log_values);
            stretch(&mut values, bucket.greatest, log_values);
        }
        (steps.0 <= steps.1 && values.0 <= values.1).then_some(Self { steps, values, log_steps, log_values })
    }

    /// Returns where a step is between the first, 0, and the last, 1.
    pub(crate) fn x(&self, step: f64) -> Option<f64> {
        share(step, self.steps, self.log_steps)
    }

    /// Returns where a value is between the least, 0, and the greatest, 1.
    pub(crate) fn y(&self, value: f64) -> Option<f64> {
        share(value, self.values, self.log_values)
    }
}

fn share(number: f64, (least, greatest): (f64, f64), is_log: bool) -> Option<f64> {
    let scale = |number: f64| if is_log { number.log10() } else { number };
    let (low, high, here) = (scale(least), scale(greatest), scale(number));
    let share = if high > low { (here - low) / (high - low) } else { 0.5 };
    share.is_finite().then(|| share.clamp(0.0, 1.0))
}

/// Returns about five round numbers in a range.
pub(crate) fn ticks((low, high): (f64, f64), is_log: bool) -> Vec<f64> {
    // The least one that is a multiple of some width, and all after it.
    let multiples = |low: f64, high: f64, width: f64| {
        let first = (low / width).ceil();
        (0..10).map(move |number| (first + f64::from(number)) * width).take_while(move |tick| *tick <= high)
    };
    let width = |low: f64, high: f64| {
        let rough = (high - low) / 5.0;
        let power = 10_f64.powf(rough.log10().floor());
        [1.0, 2.0, 5.0].map(|by| by * power).into_iter().find(|width| *width >= rough).unwrap_or(10.0 * power)
    };
    let found: Vec<f64> = if is_log && high / low > 10.0 {
        let (least, most) = (low.log10(), high.log10());
        let powers = |least, most, width| multiples(least, most, width).map(|power| 10_f64.powf(power));
        match powers(least, most, width(least, most).max(1.0)).collect::<Vec<_>>() {
            few if few.len() < 3 && most - least < 3.0 => powers(least.floor(), most, 1.0)
                .flat_map(|power| [power, 2.0 * power, 5.0 * power])
                .filter(|tick| (low..=high).contains(tick))
                .collect(),
            enough => enough,
        }
    } else {
        multiples(low, high, width(low, high)).collect()
    };
    if found.iter().all(|tick| tick.is_finite()) && !found.is_empty() { found } else { vec![low] }
}

/// Says in words how curves were drawn, where that is not as they are.
pub(crate) fn caption(metric: &str, log_x: bool, log: bool, smooth: Option<f64>) -> String {
    let mut words = Vec::new();
    if log {
        words.push("log scale".to_owned());
    }
    if log_x {
        words.push("log steps".to_owned());
    }
    if let Some(weight) = smooth {
        words.push(format!("smoothed, weight {weight}"));
    }
    if words.is_empty() { metric.to_owned() } else { format!("{metric} ({})", words.join(", ")) }
}

#[cfg(test)]
#[expect(
    clippy::float_cmp,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the numbers are exact"
)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_of_many_metrics_has_one_name() {
        let curves = || (0..500_000).map(|number: u32| Curve::new(&number.to_string(), 1, None)).collect();
        assert_eq!(names(&[curves(), curves()], &[]).len(), 500_000);
    }

    #[test]
    fn smoothing_does_not_start_at_zero() {
        let mut smooth = Smooth { weight: 0.9, sum: 0.0, total: 0.0 };
        assert!((smooth.add(5.0) - 5.0).abs() < 1e-12);
        assert!(smooth.add(f64::NAN).is_nan());
        assert!((smooth.add(5.0) - 5.0).abs() < 1e-12);
    }

    #[test]
    fn logarithmic_axes_leave_out_what_they_cannot_show() {
        let mut curve = Curve::new("loss", 8, None);
        for (step, value) in [(0.0, -1.0), (1.0, 0.01), (100.0, 10.0)] {
            curve.add(step, value);
        }
        let frame = Frame::of([&curve].into_iter(), true, true).unwrap();
        assert_eq!((frame.steps, frame.values), ((1.0, 100.0), (0.01, 10.0)));
        assert_eq!((frame.x(10.0), frame.y(-1.0)), (Some(0.5), None));
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(ticks((0.0, 60.0), false), [0.0, 20.0, 40.0, 60.0]);
        assert_eq!(ticks((-1.3, 2.2), false), [-1.0, 0.0, 1.0, 2.0]);
        assert_eq!(ticks((0.02, 200.0), true), [0.1, 1.0, 10.0, 100.0]);
        assert_eq!(ticks((0.25, 2.9), true), [0.5, 1.0, 2.0]);
        assert_eq!(ticks((2.0, 9.0), true), [2.0, 4.0, 6.0, 8.0]);
        assert_eq!(ticks((3.0, 3.0), false), [3.0]);
    }

    proptest! {
        #[test]
        fn ticks_are_in_their_range(one in prop::num::f64::NORMAL, other in prop::num::f64::NORMAL, is_log: bool) {
            let (low, high) = (one.min(other), one.max(other));
            let range = if is_log { (one.abs().min(other.abs()), one.abs().max(other.abs())) } else { (low, high) };
            let found = ticks(range, is_log);
            prop_assert!((1..=10).contains(&found.len()));
            let slack = (range.1 - range.0).abs() * 1e-9 + range.1.abs() * 1e-9;
            prop_assert!(found.iter().all(|tick| *tick >= range.0 - slack && *tick <= range.1 + slack), "{:?}", found);
        }

        #[test]
        fn buckets_lose_no_extreme(values in prop::collection::vec(-1e3..1e3_f64, 1..400), limit in 2_usize..20) {
            let mut curve = Curve::new("x", limit, None);
            for (step, value) in values.iter().enumerate() {
                curve.add(step as f64, *value);
            }
            prop_assert!(curve.buckets.len() <= limit);
            prop_assert_eq!(curve.rows, values.len() as u64);
            for bucket in &curve.buckets {
                let part = &values[bucket.from as usize..=bucket.to as usize];
                prop_assert!((bucket.mean() - part.iter().sum::<f64>() / part.len() as f64).abs() < 1e-9);
                prop_assert!(part.len() as u64 <= curve.rows_each);
                prop_assert_eq!(bucket.least, part.iter().copied().fold(f64::INFINITY, f64::min));
                prop_assert_eq!(bucket.greatest, part.iter().copied().fold(f64::NEG_INFINITY, f64::max));
            }
            let steps: u64 = curve.buckets.iter().map(|bucket| (bucket.to - bucket.from) as u64 + 1).sum();
            prop_assert_eq!(steps, curve.rows);
        }
    }
}
