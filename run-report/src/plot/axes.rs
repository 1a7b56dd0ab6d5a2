//! Axes: the range of some curves, the position of a point in the range, and ticks.

use crate::curve::Curve;
use crate::curves::Options;
use run_common::figures::figure;
use run_common::time::Timestamp;
use std::ops::RangeInclusive;

/// A range of steps and values, possibly on logarithmic axes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Axes {
    pub(super) steps: (f64, f64),
    pub(super) values: (f64, f64),
    pub(super) log_steps: bool,
    pub(super) log_values: bool,
    /// Whether the steps are seconds since 1970.
    pub(super) is_time: bool,
}

/// Numbers that count as seconds since 1970: times of this century and the next.
const TIMES: RangeInclusive<f64> = 9e8..=9e9;

impl Axes {
    /// Finds the range of curves; `None` if nothing can be drawn.
    pub(super) fn of<'a>(curves: impl Iterator<Item = &'a Curve>, options: &Options) -> Option<Self> {
        let (log_steps, log_values) = (options.log_x, options.log);
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
        let is_time = options.x == Some("time") && TIMES.contains(&steps.0) && TIMES.contains(&steps.1);
        (steps.0 <= steps.1 && values.0 <= values.1).then_some(Self {
            steps,
            values,
            log_steps,
            log_values,
            is_time,
        })
    }

    /// Returns a step, or a time, in few characters.
    pub(super) fn step_label(&self, step: f64) -> String {
        #[expect(clippy::cast_possible_truncation, reason = "times of some centuries")]
        let time = self.is_time.then(|| Timestamp::from_millis((step * 1e3) as i64)).flatten();
        time.map_or_else(|| figure(step), Timestamp::local)
    }

    /// Returns the position of a step between the first (0) and the last (1).
    pub(super) fn x(&self, step: f64) -> Option<f64> {
        share(step, self.steps, self.log_steps)
    }

    /// Returns the position of a value between the minimum (0) and the maximum (1).
    pub(super) fn y(&self, value: f64) -> Option<f64> {
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
pub(super) fn ticks((low, high): (f64, f64), is_log: bool) -> Vec<f64> {
    // The first multiple of some width, and all after it.
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use run_metrics::name_list::NameList;

    #[test]
    fn logarithmic_axes_leave_out_what_they_cannot_show() {
        let mut curve = Curve::new("loss", 8, None);
        for (step, value) in [(0.0, -1.0), (1.0, 0.01), (100.0, 10.0)] {
            curve.add(step, value);
        }
        let options = Options { metrics: NameList::default(), x: None, smooth: None, log: true, log_x: true };
        let axes = Axes::of([&curve].into_iter(), &options).unwrap();
        assert_eq!((axes.steps, axes.values), ((1.0, 100.0), (0.01, 10.0)));
        assert_eq!((axes.x(10.0), axes.y(-1.0)), (Some(0.5), None));
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
    }
}
