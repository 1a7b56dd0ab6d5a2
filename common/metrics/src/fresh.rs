//! The current metrics of a run, read directly from its files instead of its record: figures, last rows, step
//! and the course of one metric, all from the same rows. Used by `run-status --watch`.

use super::figures::Figures;
use super::growing::Growing;
use super::of_run;
use super::present::{Present, with_present};
use super::resumptions::Resumptions;
use run_common::rundir::layout::Layout;
use run_common::rundir::raw::{Metrics, Recent};
use run_common::rundir::recorded::Recorded;
use run_common::time::Timestamp;
use std::time::{Duration, Instant};

/// Time limit of a look at the files of all runs that are shown; the next look continues.
pub const LOOK: Duration = Duration::from_millis(500);

/// The next search for files waits at least this many times the duration of the last, for each run that is followed.
const RARENESS: u32 = 50;

/// The metrics of a run, followed.
#[derive(Debug)]
pub struct Fresh {
    layout: Layout,
    growing: Option<Growing>,
    /// Number of the attempt for which the files were searched.
    attempt: u32,
    next_search: Instant,
    traced: Option<String>,
    /// Whether rows are still unread, so that the record may be newer.
    is_behind: bool,
    /// The current values beside the rows of a run of another system.
    present: Option<Present>,
    /// The step of the last rows, and when it was first seen.
    step: Option<(f64, Timestamp)>,
}

impl Fresh {
    /// Follows the metrics of a run.
    pub fn of(layout: Layout) -> Self {
        Self {
            layout,
            growing: None,
            attempt: 0,
            next_search: Instant::now(),
            traced: None,
            is_behind: false,
            present: None,
            step: None,
        }
    }

    /// Reads the rows added since the last look, as long as there is time; in the last look all of them. Unreadable
    /// metrics are ignored. `among` is the number of runs that are followed at once.
    pub fn look(&mut self, recorded: &Recorded, is_last: bool, until: Instant, among: u32) {
        let has_time = || is_last || Instant::now() < until;
        if !has_time() {
            return;
        }
        self.search(recorded, is_last, among);
        self.present = Present::of(&self.layout);
        let Some(growing) = &mut self.growing else { return };
        if is_last {
            growing.hurry();
        }
        loop {
            self.is_behind = growing.poll().is_ok_and(|growth| growth.is_behind);
            if !self.is_behind || !has_time() {
                break;
            }
        }
        let step = self.figures().and_then(step_of);
        if step != self.step.map(|(known, _)| known) {
            self.step = step.map(|step| (step, Timestamp::now()));
        }
    }

    /// Returns when the step of the last rows was first seen.
    pub fn stepped(&self) -> Option<Timestamp> {
        self.step.map(|(_, time)| time)
    }

    /// Keeps the course of this metric, from its first row on.
    pub fn trace(&mut self, metric: &str) {
        if self.traced.as_deref() == Some(metric) {
            return;
        }
        self.traced = Some(metric.to_owned());
        if let Some(growing) = &mut self.growing {
            growing.trace(metric);
            self.is_behind |= growing.poll().is_ok_and(|growth| growth.is_behind);
        }
    }

    /// Returns the figures; `None` without rows, or while rows are unread.
    pub fn figures(&self) -> Option<&Figures> {
        let growing = self.growing.as_ref().filter(|_| !self.is_behind)?;
        Some(growing.figures()).filter(|figures| figures.rows() > 0)
    }

    /// Writes the figures, the last rows and the step into a record, which may be older. The step of the record
    /// stays if it is further, or if the rows have no comparable step.
    pub fn put_into(&self, recorded: &mut Recorded) {
        let (Some(figures), Some(attempt)) = (self.figures(), recorded.attempt_mut()) else { return };
        let all = with_present(figures.aggregates(), figures.step(), self.present.as_ref());
        attempt.metrics = Metrics::new(&all);
        attempt.recent = Recent::new(&figures.recent());
        let is_other = figures.is_in_large_units() && attempt.step.is_some();
        let step = step_of(figures).filter(|_| !is_other);
        attempt.step = match (attempt.step, step) {
            (Some(known), Some(step)) => Some(known.max(step)),
            (known, step) => known.or(step),
        };
    }

    /// Searches for the files if that is due.
    fn search(&mut self, recorded: &Recorded, is_last: bool, among: u32) {
        let attempt = recorded.attempts();
        let is_plain = self.growing.as_ref().is_some_and(|growing| growing.source().plain_lines().is_some());
        let is_due = !is_plain && (is_last || Instant::now() >= self.next_search);
        if attempt == self.attempt && !is_due {
            return;
        }
        let start = Instant::now();
        let recorded = Some(recorded).filter(|_| self.layout.foreign().is_none());
        if let Some(source) = of_run::source_by(&self.layout, recorded) {
            let goes_on = attempt == self.attempt
                && self.growing.as_mut().is_some_and(|growing| growing.extend(&source));
            if !goes_on {
                let attempts = Resumptions::read(&self.layout).unwrap_or_default();
                let mut growing = Growing::new(source, &attempts);
                if let Some(metric) = &self.traced {
                    growing.trace(metric);
                }
                self.growing = Some(growing);
            }
        }
        self.attempt = attempt;
        self.next_search = Instant::now() + start.elapsed() * RARENESS * among.max(1);
    }
}

/// Returns the step of the last rows, else their number.
fn step_of(figures: &Figures) -> Option<f64> {
    figures.step().or_else(|| figures.row_number())
}
