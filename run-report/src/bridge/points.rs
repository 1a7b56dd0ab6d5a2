//! The logged values of a run as other systems store them: at whole steps, each with a time.

use crate::curves::{Options, Unrolled};
use crate::fault::Fault;
use crate::run::Run;
use run_common::rundir::attempts::Attempts;
use run_common::time::Timestamp;
use run_metrics::of_run;
use std::collections::HashSet;

/// Values that were logged together.
#[derive(Debug)]
pub(super) struct Point<'a> {
    /// The step, a whole number: a fraction is cut off.
    pub(super) step: i64,
    /// The time, in milliseconds since 1970.
    pub(super) millis: i64,
    /// The metrics and their values.
    pub(super) values: &'a [(&'a str, f64)],
}

/// The result of reading a run.
#[derive(Debug)]
pub(super) struct Found {
    /// The requested metrics that exist.
    pub(super) metrics: HashSet<String>,
    /// Faults of others.
    pub(super) faults: Vec<Fault>,
}

/// Visits the rows of a run that count, and then the results of its evaluations, under names such as
/// `gsm8k/accuracy`. Steps that restart in each epoch continue from epoch to epoch, and a row without a step
/// has its number as the step.
pub(super) fn points<E>(
    run: &Run,
    options: &Options,
    mut each: impl FnMut(&Point) -> Result<(), E>,
) -> Result<Found, E> {
    let mut failed = Ok(());
    let mut clock = Clock::of(run);
    let mut unrolled = Unrolled::default();
    let (mut number, mut own) = (0.0, HashSet::new());
    let mut hand_out = |failed: &mut Result<(), E>, point: &Point| {
        if failed.is_ok() && !point.values.is_empty() {
            *failed = each(point);
        }
    };
    let read = of_run::rows(run.seen.run.layout(), &mut |row, attempt| {
        number += 1.0;
        let step = whole(unrolled.step(&row).unwrap_or(number));
        let values: Vec<(&str, f64)> = row.numbers().filter(|(name, _)| options.wants(name)).collect();
        for (name, _) in &values {
            if !own.contains(*name) {
                own.insert((*name).to_owned());
            }
        }
        let point =
            Point { step, millis: clock.at(row.written().map(Timestamp::millis), attempt), values: &values };
        hand_out(&mut failed, &point);
    });
    let mut metrics = own.clone();
    run.measured(&mut |name, step, mean| {
        if !own.contains(name) && options.wants(name) {
            metrics.insert(name.to_owned());
            let millis = clock.tick();
            hand_out(&mut failed, &Point { step: whole(step), millis, values: &[(name, mean)] });
        }
    });
    failed.map(|()| Found { metrics, faults: run.faults(read) })
}

/// Determines the times of rows. A row without a time comes a millisecond after the row before, or at the
/// start of its attempt, which only keeps the order of the rows.
struct Clock<'a> {
    attempts: &'a Attempts,
    /// Number of the attempt of the last row.
    attempt: usize,
    next: i64,
}

impl<'a> Clock<'a> {
    fn of(run: &'a Run) -> Self {
        Self { attempts: &run.attempts, attempt: 0, next: begun(run).millis() }
    }

    fn at(&mut self, logged: Option<i64>, attempt: usize) -> i64 {
        if self.attempt != attempt {
            self.attempt = attempt;
            let start = u32::try_from(attempt).ok().and_then(|attempt| self.attempts.get(attempt));
            self.next = start.map_or(self.next, |attempt| attempt.start.start_time.millis().max(self.next));
        }
        let millis = logged.unwrap_or(self.next);
        self.next = millis + 1;
        millis
    }

    /// Returns the next time.
    fn tick(&mut self) -> i64 {
        self.at(None, self.attempt)
    }
}

/// Returns the start of a run: that of its first attempt, or else the run's creation.
pub(super) fn begun(run: &Run) -> Timestamp {
    let first = run.attempts.iter().next().map(|first| first.start.start_time);
    first.or(run.seen.start_time()).unwrap_or(run.seen.recorded.created)
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a fraction is cut off, and what is too large is the largest"
)]
fn whole(number: f64) -> i64 {
    number as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_whole() {
        assert_eq!([0.0, 2.9, -1.5, 1e300, f64::NAN].map(whole), [0, 2, -1, i64::MAX, 0]);
    }
}
