//! Times of files, to the nanosecond.

use chrono::{DateTime, SecondsFormat, Utc};
use run_common::time::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// A time as stat(2) gives it. In files: RFC 3339 in UTC with nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Stamp {
    /// Seconds since 1970; negative before.
    pub(crate) seconds: i64,
    /// Nanoseconds of the second.
    pub(crate) nanoseconds: u32,
}

impl Stamp {
    /// Creates a time; nanoseconds as stat(2) gives them.
    pub(crate) fn new(seconds: i64, nanoseconds: i64) -> Self {
        Self { seconds, nanoseconds: u32::try_from(nanoseconds).unwrap_or(0).min(999_999_999) }
    }

    /// Returns the local time for people; none beyond the calendar.
    pub(crate) fn local(self) -> Option<String> {
        Timestamp::from_millis(self.seconds.checked_mul(1000)?).map(Timestamp::local)
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match DateTime::<Utc>::from_timestamp(self.seconds, self.nanoseconds) {
            Some(time) => f.write_str(&time.to_rfc3339_opts(SecondsFormat::Nanos, true)),
            None => write!(f, "@{}.{:09}", self.seconds, self.nanoseconds), // beyond the calendar of RFC 3339
        }
    }
}

impl Serialize for Stamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Stamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        parse(&text).ok_or_else(|| serde::de::Error::custom(format!("'{text}' is no time")))
    }
}

fn parse(text: &str) -> Option<Stamp> {
    if let Some(far) = text.strip_prefix('@') {
        let (seconds, nanoseconds) = far.split_once('.')?;
        let nanoseconds = nanoseconds.parse().ok().filter(|nanoseconds| *nanoseconds < 1_000_000_000)?;
        return Some(Stamp { seconds: seconds.parse().ok()?, nanoseconds });
    }
    let time = DateTime::parse_from_rfc3339(text).ok()?;
    Some(Stamp { seconds: time.timestamp(), nanoseconds: time.timestamp_subsec_nanos().min(999_999_999) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_time_is_text_with_nanoseconds() {
        assert_eq!(Stamp::new(1_769_688_000, 5).to_string(), "2026-01-29T12:00:00.000000005Z");
        assert_eq!(Stamp::new(-1, 0).to_string(), "1969-12-31T23:59:59.000000000Z");
    }

    proptest! {
        #[test]
        fn any_time_is_read_back(seconds: i64, nanoseconds in 0..1_000_000_000_i64) {
            let time = Stamp::new(seconds, nanoseconds);
            let text = serde_json::to_string(&time).unwrap();
            prop_assert_eq!(serde_json::from_str::<Stamp>(&text).unwrap(), time);
        }
    }
}
