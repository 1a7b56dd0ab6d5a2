//! The clock of a store, which refuses signatures of another time.

use super::failure::Answer;
use chrono::{DateTime, TimeDelta, Utc};
use std::sync::atomic::{AtomicI64, Ordering};

/// Seconds by which the two clocks may differ without a correction.
const SKEW: i64 = 300;

/// The clock of a store, as known from its answers.
#[derive(Debug, Default)]
pub(super) struct Clock {
    /// Seconds by which the store's clock is ahead of ours.
    skew: AtomicI64,
}

impl Clock {
    /// Returns the store's time.
    pub(super) fn now(&self) -> DateTime<Utc> {
        Utc::now() + TimeDelta::seconds(self.skew.load(Ordering::Relaxed))
    }

    /// Learns the store's time from an answer. Returns whether it differs much from the time used before.
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
