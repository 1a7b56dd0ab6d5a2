//! Schedules looks for new checkpoints: soon after a change, otherwise at intervals. Used by run-eval and
//! run-stop.

use std::time::{Duration, Instant};

/// Interval between two looks that must agree, and minimum interval between any looks.
pub const AGAIN: Duration = Duration::from_millis(500);

/// Interval between looks at a run in which a [`crate::Watcher`] notices no changes. Two cases need them: a
/// checkpoint that proves nothing is complete after some unchanged seconds, and changes on another host are not
/// noticed.
pub const UNNOTICED: Duration = Duration::from_secs(10);

/// A look is followed by a pause of at least this many times its duration.
const SHARE: u32 = 10;

/// The times of looks at a run.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    next: Instant,
    /// Earliest time of the next look.
    earliest: Instant,
}

impl Schedule {
    /// Creates a schedule with a look due now.
    pub fn new(now: Instant) -> Self {
        Self { next: now, earliest: now }
    }

    /// Returns whether a look is due.
    pub fn is_due(&self, now: Instant) -> bool {
        now >= self.next
    }

    /// Returns the time of the next look.
    pub fn next(&self) -> Instant {
        self.next
    }

    /// Records a look from `start` to `end`, and the pause until the next one if nothing happens.
    pub fn looked(&mut self, start: Instant, end: Instant, pause: Duration) {
        self.earliest = end + AGAIN.max((end - start).saturating_mul(SHARE));
        self.next = self.earliest.max(end + pause);
    }

    /// Records a change.
    pub fn hasten(&mut self) {
        self.next = self.next.min(self.earliest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_follows_a_change_soon_and_else_much_later() {
        let start = Instant::now();
        let after = |millis: u64| start + Duration::from_millis(millis);
        let mut schedule = Schedule::new(start);
        assert!(schedule.is_due(start));
        schedule.looked(start, after(10), UNNOTICED);
        assert!(!schedule.is_due(after(10_009)) && schedule.is_due(after(10_010)));
        schedule.hasten();
        assert!(!schedule.is_due(after(509)) && schedule.is_due(after(510)));
        // What one look has seen, a second look must confirm.
        schedule.looked(after(1000), after(1010), AGAIN);
        assert!(!schedule.is_due(after(1509)) && schedule.is_due(after(1510)));
        // Looks that take long become rarer, whatever happens.
        schedule.looked(after(2000), after(4000), AGAIN);
        schedule.hasten();
        assert!(!schedule.is_due(after(23_999)) && schedule.is_due(after(24_000)));
    }
}
