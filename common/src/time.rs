//! Points in time as in records, and durations as people type and read them.

use chrono::{DateTime, Datelike, Local, NaiveDate, NaiveDateTime, SecondsFormat, TimeZone, Timelike, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::str::{self, FromStr};
use std::time::{Duration, SystemTime};

/// A point in time, in UTC. In files: RFC 3339 with milliseconds and `Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(DateTime<Utc>);

impl Timestamp {
    /// Returns the current time, by the system's clock.
    pub fn now() -> Self {
        Self(Utc::now())
    }

    /// Creates a time from milliseconds since 1970.
    pub fn from_millis(millis: i64) -> Option<Self> {
        DateTime::from_timestamp_millis(millis).map(Self)
    }

    /// The start of 1970.
    pub(crate) const EPOCH: Self = Self(DateTime::UNIX_EPOCH);

    /// Converts the time of a file.
    pub fn of_system(time: SystemTime) -> Option<Self> {
        let millis = match time.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_millis()).ok()?,
            Err(before) => -i64::try_from(before.duration().as_millis()).ok()?,
        };
        Self::from_millis(millis)
    }

    /// Converts seconds since 1970, as in Python's `time.time()`.
    pub fn of_seconds(seconds: f64) -> Option<Self> {
        #[expect(clippy::cast_possible_truncation, reason = "what is out of bounds is no instant")]
        let millis = (seconds * 1000.0).round() as i64;
        seconds.is_finite().then(|| Self::from_millis(millis))?
    }

    /// Parses a time of another program: ISO 8601, with `T` or a blank, with or without a fraction. Without a
    /// zone, it is in local time; if a change of clocks repeats the hour, the first counts.
    pub fn of_iso(text: &str) -> Option<Self> {
        let text = text.trim();
        if let Ok(time) = DateTime::parse_from_rfc3339(text) {
            return Some(Self(time.with_timezone(&Utc)));
        }
        for form in ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f"] {
            if let Ok(time) = NaiveDateTime::parse_from_str(text, form) {
                return Self::of_local(time);
            }
            if let Ok(time) = DateTime::parse_from_str(text, &format!("{form}%#z")) {
                return Some(Self(time.with_timezone(&Utc)));
            }
        }
        None
    }

    /// Reads the local time in the name of a directory, by a strftime(3) pattern of the whole text.
    pub(crate) fn of_name(text: &str, pattern: &str) -> Option<Self> {
        Self::of_local(NaiveDateTime::parse_from_str(text, pattern).ok()?)
    }

    /// Converts a local time; a time that a change of clocks skipped moves an hour forward.
    fn of_local(time: NaiveDateTime) -> Option<Self> {
        let later = || Local.from_local_datetime(&(time + chrono::Duration::hours(1))).earliest();
        let local = Local.from_local_datetime(&time).earliest().or_else(later)?;
        Some(Self(local.with_timezone(&Utc)))
    }

    /// Returns milliseconds since 1970.
    pub fn millis(self) -> i64 {
        self.0.timestamp_millis()
    }

    /// Returns the seconds from `earlier` to this time; negative if the clock was set back.
    pub fn seconds_since(self, earlier: Self) -> f64 {
        let millis = (self.0 - earlier.0).num_milliseconds();
        #[expect(clippy::cast_precision_loss, reason = "milliseconds of millennia fit a double")]
        let seconds = millis as f64 / 1000.0;
        seconds
    }

    /// Returns the time this number of seconds later.
    pub(crate) fn after_seconds(self, seconds: f64) -> Option<Self> {
        #[expect(clippy::cast_precision_loss, reason = "milliseconds of millennia fit a double")]
        Self::of_seconds(self.millis() as f64 / 1000.0 + seconds)
    }

    /// Formats the time in UTC by a strftime(3) pattern, for names of directories.
    pub fn utc(self, pattern: &str) -> String {
        self.0.format(pattern).to_string()
    }

    /// Formats the time in local time for a table: the time of day, with the date unless it is today.
    pub fn local(self) -> String {
        let here = self.0.with_timezone(&Local);
        let today = Local::now().date_naive() == here.date_naive();
        here.format(if today { "%H:%M:%S" } else { "%Y-%m-%d %H:%M" }).to_string()
    }

    /// Formats as in files and passes the text to `to`. Fast for common times, of which a listing writes tens
    /// of thousands: years with four digits, no leap seconds.
    fn written<R>(self, to: impl FnOnce(&str) -> R) -> R {
        let mut text = *FORM;
        let mut put = |at: Range<usize>, mut number: u32| {
            for digit in text[at].iter_mut().rev() {
                *digit = b"0123456789"[(number % 10) as usize];
                number /= 10;
            }
        };
        let millis = self.0.nanosecond() / 1_000_000;
        match u32::try_from(self.0.year()) {
            Ok(year @ ..=9999) if millis < 1000 => put(0..4, year),
            _ => return to(&self.0.to_rfc3339_opts(SecondsFormat::Millis, true)),
        }
        put(5..7, self.0.month());
        put(8..10, self.0.day());
        put(11..13, self.0.hour());
        put(14..16, self.0.minute());
        put(17..19, self.0.second());
        put(20..23, millis);
        to(str::from_utf8(&text).unwrap_or_default())
    }
}

/// A time in the format of [`Timestamp`].
const FORM: &[u8; 24] = b"0000-00-00T00:00:00.000Z";

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.written(|text| f.write_str(text))
    }
}

impl FromStr for Timestamp {
    type Err = chrono::ParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match own_form(text.as_bytes()) {
            Some(time) => Ok(time),
            None => DateTime::parse_from_rfc3339(text).map(|time| Self(time.with_timezone(&Utc))),
        }
    }
}

/// Parses the format that [`Timestamp`] writes; a listing reads tens of thousands of them.
fn own_form(text: &[u8]) -> Option<Timestamp> {
    let text: &[u8; FORM.len()] = text.try_into().ok()?;
    let number = |from: usize, to: usize| {
        text[from..to].iter().try_fold(0, |number, byte| match byte {
            b'0'..=b'9' => Some(number * 10 + u32::from(byte - b'0')),
            _ => None,
        })
    };
    if [4, 7, 10, 13, 16, 19, 23].iter().any(|&mark| text[mark] != FORM[mark]) {
        return None;
    }
    let date = NaiveDate::from_ymd_opt(number(0, 4)?.cast_signed(), number(5, 7)?, number(8, 10)?)?;
    let time = date.and_hms_milli_opt(number(11, 13)?, number(14, 16)?, number(17, 19)?, number(20, 23)?)?;
    Some(Timestamp(time.and_utc()))
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.written(|text| serializer.serialize_str(text))
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Text<'a>(#[serde(borrow)] Cow<'a, str>); // without this attribute it would be copied

        Text::deserialize(deserializer)?.0.parse().map_err(serde::de::Error::custom)
    }
}

/// The longest supported waiting time, a century.
pub const LONGEST: Duration = Duration::from_secs(100 * 365 * 86400);

/// Parses a duration such as `90s`, `5m`, `2h30m`, `1d`, `1.5s`, `250ms`; a bare number is seconds.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("'{text}' is not a duration; write 90s, 5m or 2h30m");
    let mut rest = text;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number: f64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        seconds += number
            * match &rest[..letters] {
                "ms" => 0.001,
                "s" => 1.0,
                "" if digits == text.len() => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                "d" => 86400.0,
                _ => return Err(wrong()),
            };
        rest = &rest[letters..];
    }
    if text.is_empty() {
        return Err(wrong());
    }
    match Duration::try_from_secs_f64(seconds) {
        Ok(duration) if duration <= LONGEST => Ok(duration),
        _ => Err(format!("'{text}' is longer than a century")),
    }
}

/// Parses a duration greater than zero.
pub fn parse_positive(text: &str) -> Result<Duration, String> {
    match parse_duration(text)? {
        Duration::ZERO => Err("must be greater than zero".to_owned()),
        duration => Ok(duration),
    }
}

/// Formats a duration for people by its two largest units: `2h30m`, `12m`, `1m05s`, `0.4s`.
pub fn human(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (days, hours, minutes) = (seconds / 86400, seconds / 3600 % 24, seconds / 60 % 60);
    let two = |a: u64, unit: &str, b: u64, sub: &str| match b {
        0 => format!("{a}{unit}"),
        _ => format!("{a}{unit}{b:02}{sub}"),
    };
    if days > 0 {
        two(days, "d", hours, "h")
    } else if hours > 0 {
        two(hours, "h", minutes, "m")
    } else if minutes > 0 {
        two(minutes, "m", seconds % 60, "s")
    } else if seconds >= 10 || duration.subsec_millis() == 0 {
        format!("{seconds}s")
    } else {
        format!("{:.1}s", duration.as_secs_f64())
    }
}

/// Formats seconds, which may be negative after a change of the clock, like [`human`].
pub fn human_seconds(seconds: f64) -> String {
    human(Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_are_read_as_people_type_them() {
        assert_eq!(parse_duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("2h30m"), Ok(Duration::from_secs(9000)));
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_duration("1.5"), Ok(Duration::from_millis(1500)));
        for wrong in ["", "h", "5x", "-1s", "1h30", "1..2s", "1e3s", "99999999999999999999d", "876001h"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn durations_are_shown_by_two_units() {
        assert_eq!(human(Duration::from_secs(9000)), "2h30m");
        assert_eq!(human(Duration::from_secs(7200)), "2h");
        assert_eq!(human(Duration::from_secs(65)), "1m05s");
        assert_eq!(human(Duration::from_millis(400)), "0.4s");
        assert_eq!(human(Duration::from_secs(2)), "2s");
        assert_eq!(human(Duration::from_secs(90061)), "1d01h");
    }

    #[test]
    fn timestamps_have_milliseconds_and_z() {
        let time: Timestamp = "2026-01-29T13:00:00.1239+01:00".parse().unwrap();
        assert_eq!(time.to_string(), "2026-01-29T12:00:00.123Z");
        assert_eq!(time.to_string().parse(), Ok(Timestamp(time.0 - chrono::Duration::microseconds(900))));
        for wrong in ["2026-02-30T12:00:00.123Z", "2026-01-29T25:00:00.123Z", "2026-01-29T12:00:00.12xZ"] {
            assert!(wrong.parse::<Timestamp>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn instants_of_other_programs_are_read() {
        let read = |text: &str| Timestamp::of_iso(text).map(|time| time.to_string());
        let zoned = Some("2026-01-29T12:00:00.250Z".to_owned());
        for text in
            ["2026-01-29T12:00:00.250000+00:00", "2026-01-29 13:00:00.25+01:00", " 2026-01-29T12:00:00.25Z"]
        {
            assert_eq!(read(text), zoned, "{text}");
        }
        let local = |text: &str| Timestamp::of_iso(text).unwrap().0.with_timezone(&Local).naive_local();
        for text in ["2026-01-29T12:00:00", "2026-01-29 12:00:00", "2026-01-29T12:00:00.000001"] {
            assert_eq!(local(text).to_string()[..19], *"2026-01-29 12:00:00", "{text}");
        }
        for wrong in ["", "yesterday", "2026-01-29", "12:00:00", "2026-02-30T12:00:00"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
        assert_eq!(Timestamp::of_seconds(f64::NAN), None);
        assert_eq!(Timestamp::of_seconds(1e300), None);
        assert_eq!(Timestamp::of_seconds(1.5).map(Timestamp::millis), Some(1500));
    }

    /// Any time that a clock can show, including leap seconds and distant years.
    fn instants() -> impl Strategy<Value = DateTime<Utc>> {
        let all = DateTime::<Utc>::MIN_UTC.timestamp()..=DateTime::<Utc>::MAX_UTC.timestamp();
        let four_digits = 0..253_402_300_800_i64;
        let last_of_minutes = (0..4_223_371_680_i64).prop_map(|minute| minute * 60 + 59);
        let seconds = prop_oneof![all, four_digits, last_of_minutes];
        (seconds, 0..2_000_000_000_u32).prop_filter_map("no instant", |(seconds, nanos)| {
            DateTime::from_timestamp(seconds, nanos).or_else(|| DateTime::from_timestamp(seconds, nanos / 2))
        })
    }

    proptest! {
        #[test]
        fn instants_are_written_as_chrono_has_it(instant in instants()) {
            let expected = instant.to_rfc3339_opts(SecondsFormat::Millis, true);
            prop_assert_eq!(Timestamp(instant).to_string(), expected.as_str());
            prop_assert_eq!(serde_json::to_value(Timestamp(instant)).unwrap(), expected);
        }

        #[test]
        fn instants_are_read_as_chrono_has_it(
            text in "[0-9]{4}-[01][0-9]-[0-3][0-9][T ][0-2][0-9]:[0-5][0-9]:[0-6][0-9]\\.[0-9]{2,3}[0-9Zz:]",
        ) {
            let expected = DateTime::parse_from_rfc3339(&text).map(|time| Timestamp(time.with_timezone(&Utc)));
            prop_assert_eq!(text.parse::<Timestamp>(), expected);
        }
    }
}
