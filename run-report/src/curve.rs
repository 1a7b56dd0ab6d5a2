//! A curve: a metric of a run over its steps, in a bounded number of buckets. Each bucket keeps the minimum
//! and maximum, so that a spike is visible whatever the number of rows.

/// A bucket: a summary of successive rows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Bucket {
    /// The first and the last step.
    pub(crate) from: f64,
    pub(crate) to: f64,
    /// Minimum and maximum of the finite values; NaN if there are none.
    pub(crate) least: f64,
    pub(crate) greatest: f64,
    /// Sum and number of the finite values.
    sum: f64,
    count: u64,
    /// Number of values that were not finite.
    pub(crate) nonfinite: u64,
    /// Number of rows, and the sums of their places beside the steps.
    rows: u64,
    beside: Beside,
}

/// Where a row is beside its step; NaN if its place is unknown.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Beside {
    /// Its number among all rows of the run.
    pub(crate) row: f64,
    /// When it was written, in seconds since 1970.
    pub(crate) time: f64,
    pub(crate) epoch: f64,
}

impl Beside {
    /// Nothing is known.
    pub(crate) const NOTHING: Self = Self { row: f64::NAN, time: f64::NAN, epoch: f64::NAN };
}

impl Bucket {
    fn of(step: f64, value: f64, beside: Beside) -> Self {
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
            rows: 1,
            beside,
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
        self.rows += later.rows;
        self.beside.row += later.beside.row;
        self.beside.time += later.beside.time;
        self.beside.epoch += later.beside.epoch;
    }

    /// Returns where its rows are in the mean, beside their steps.
    pub(crate) fn beside(&self) -> Beside {
        #[expect(clippy::cast_precision_loss, reason = "more than 2^53 rows are not to be had")]
        let rows = self.rows as f64;
        let Beside { row, time, epoch } = self.beside;
        Beside { row: row / rows, time: time / rows, epoch: epoch / rows }
    }

    /// Returns the mean of the finite values; NaN if there are none.
    pub(crate) fn mean(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "more than 2^53 rows are not to be had")]
        let mean = self.sum / self.count as f64;
        mean // NaN for 0 / 0
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
    /// Number of rows in the last bucket.
    filled: u64,
    limit: usize,
    smooth: Option<Smooth>,
}

/// A running mean, in which a value has the weight `1 - weight` and all earlier values have `weight`, without
/// bias towards zero at the beginning.
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
    /// Creates a curve of at most `limit` buckets, smoothed by a running mean of this weight.
    pub(crate) fn new(metric: &str, limit: usize, smooth: Option<f64>) -> Self {
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

    /// Describes the number of rows, and how they are drawn.
    pub(crate) fn in_words(&self) -> String {
        let each = match self.rows_each {
            1 => String::new(),
            each => format!(", min and max of every {each}"),
        };
        let not = match self.buckets.iter().map(|bucket| bucket.nonfinite).sum() {
            0_u64 => String::new(),
            not => format!(", {not} not finite (x)"),
        };
        format!("{} {}{each}{not}", self.rows, if self.rows == 1 { "row" } else { "rows" })
    }

    /// Sorts the points, for a curve over another field than the step.
    pub(crate) fn sort(&mut self) {
        self.buckets.sort_by(|one, other| one.from.total_cmp(&other.from));
    }

    /// Adds a row.
    pub(crate) fn add(&mut self, step: f64, value: f64) {
        self.add_row(step, value, Beside::NOTHING);
    }

    /// Adds a row that may be drawn over another axis, too.
    pub(crate) fn add_row(&mut self, step: f64, value: f64, beside: Beside) {
        let value = self.smooth.as_mut().map_or(value, |smooth| smooth.add(value));
        let bucket = Bucket::of(step, value, beside);
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
    fn smoothing_does_not_start_at_zero() {
        let mut smooth = Smooth { weight: 0.9, sum: 0.0, total: 0.0 };
        assert!((smooth.add(5.0) - 5.0).abs() < 1e-12);
        assert!(smooth.add(f64::NAN).is_nan());
        assert!((smooth.add(5.0) - 5.0).abs() < 1e-12);
    }

    proptest! {
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
