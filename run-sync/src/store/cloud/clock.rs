//! The clock of a store: a signature of another time is refused.

use super::failure::Answer;
use chrono::{DateTime, TimeDelta, Utc};
use std::sync::atomic::{AtomicI64, Ordering};

/// Seconds that two clocks may differ by before that is minded.
const SKEW: i64 = 300;

/// The clock of a store, as far as its answers tell.
#[derive(Debug, Default)]
pub(super) struct Clock {
    /// Seconds that it is ahead of ours.
    skew: AtomicI64,
}

impl Clock {
    /// The store's time.
    pub(super) fn now(&self) -> DateTime<Utc> {
        Utc::now() + TimeDelta::seconds(self.skew.load(Ordering::Relaxed))
    }

    /// Takes the store's time from an answer; true if it differs much from the one that was used.
    pub(super) fn learn(&self, answer: &Answer) -> bool {
        let Some(theirs) = answer.date.as_deref().and_then(|date| DateTime::parse_from_rfc2822(date).ok())
        else {
            return false;
        };
        let skew = (theirs.to_utc() - Utc::now()).num_seconds();
        let old = self.skew.swap(skew, Ordering::Relaxed);
        (skew - old).abs() > SKEW
    }
}
