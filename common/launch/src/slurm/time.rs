//! Times as Slurm writes them.

use run_common::time::Timestamp;
use std::time::Duration;

/// Reads a time limit as sbatch takes it: `minutes`, `minutes:seconds`, `h:m:s`, `days-h`, `days-h:m`,
/// `days-h:m:s`. `None` means no limit, or no readable limit.
pub(super) fn limit(text: &str) -> Option<Duration> {
    let numbers = |text: &str| text.split(':').map(|part| part.parse().ok()).collect::<Option<Vec<u64>>>();
    let seconds = match text.split_once('-') {
        Some((days, rest)) => {
            let parts = numbers(rest)?;
            let [hours, minutes, seconds] = [0, 1, 2].map(|at| parts.get(at).copied().unwrap_or(0));
            days.parse::<u64>().ok()? * 86400 + hours * 3600 + minutes * 60 + seconds
        }
        None => match numbers(text)?.as_slice() {
            [minutes] => minutes * 60,
            [minutes, seconds] => minutes * 60 + seconds,
            [hours, minutes, seconds] => hours * 3600 + minutes * 60 + seconds,
            _ => return None,
        },
    };
    (seconds > 0).then(|| Duration::from_secs(seconds))
}

/// Reads a point in time that a command wrote as seconds since 1970.
pub(crate) fn point(text: &str) -> Option<Timestamp> {
    let seconds: i64 = text.trim().parse().ok()?;
    Timestamp::from_millis(seconds.checked_mul(1000)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_as_sbatch_does() {
        let seconds = |text| limit(text).map(|limit| limit.as_secs());
        for (text, expected) in [
            ("5", Some(300)),
            ("5:30", Some(330)),
            ("4:00:00", Some(14400)),
            ("1-0", Some(86400)),
            ("1-2:03", Some(93780)),
            ("1-2:03:04", Some(93784)),
            ("0", None),
            ("UNLIMITED", None),
            ("1:2:3:4", None),
            ("", None),
        ] {
            assert_eq!(seconds(text), expected, "{text}");
        }
        assert_eq!(point("1769688000").map(Timestamp::millis), Some(1_769_688_000_000));
        assert_eq!(point("N/A"), None);
    }
}
