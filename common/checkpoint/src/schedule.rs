//! When a run is looked at for new checkpoints: soon after something has changed, else now and then. Used
//! by run-eval and run-stop.

use std::time::{Duration, Instant};

/// Between two looks that have to agree, and at least between any.
pub const AGAIN: Duration = Duration::from_millis(500);

/// When a run is looked at again of which a [`crate::Watcher`] has noticed nothing: a checkpoint that proves
/// nothing counts when it was left alone for some seconds, and what is written on another host is not noticed.
pub const UNNOTICED: Duration = Duration::from_secs(10);

/// Looks take at most this part of the time.
const SHARE: u32 = 10;

/// When a run is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    next: Instant,
    /// Not before, whatever happens.
    earliest: Instant,
}

impl Schedule {
    /// Makes one by which a look is due now.
    pub fn new(now: Instant) -> Self {
        Self { next: now, earliest: now }
    }

    /// Says whether a look is due.
    pub fn is_due(&self, now: Instant) -> bool {
        now >= self.next
    }

    /// Returns when the next look is due.
    pub fn next(&self) -> Instant {
        self.next
    }

    /// Takes note of a look that took from `start` to `end`, and after what pause another one is due if
    /// nothing happens.
    pub fn looked(&mut self, start: Instant, end: Instant, pause: Duration) {
        self.earliest = end + AGAIN.max((end - start).saturating_mul(SHARE));
        self.next = self.earliest.max(end + pause);
    }

    /// Takes note that something has changed.
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
        // What was seen once has to be seen again.
        schedule.looked(after(1000), after(1010), AGAIN);
        assert!(!schedule.is_due(after(1509)) && schedule.is_due(after(1510)));
        // Looks that take long are made less often, whatever happens.
        schedule.looked(after(2000), after(4000), AGAIN);
        schedule.hasten();
        assert!(!schedule.is_due(after(23_999)) && schedule.is_due(after(24_000)));
    }
}
