//! How stores are reached, by the options and the environment.

use super::environment::Environment;
use super::reach::Reach;
use crate::bar::Gauge;
use run_common::error::Error;
use std::time::Duration;

/// How long a failing request is retried, unless `RUN_SYNC_TIMEOUT` is set.
const PATIENCE: Duration = Duration::from_secs(60);

/// How stores are reached.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    /// Requests at a time.
    pub(crate) transfers: usize,
    /// Bytes a second, up and down together.
    pub(crate) rate: Option<u64>,
    /// How long a failing request is retried, and half the time that a store may stay silent.
    pub(crate) patience: Duration,
    /// Where credentials are looked up.
    pub(crate) environment: Environment,
    /// Where bytes in progress are shown.
    pub(crate) gauge: Gauge,
}

impl Access {
    /// Reads the options and the environment.
    pub(crate) fn new(reach: &Reach) -> Result<Self, Error> {
        let environment = Environment::new(reach.env_file.as_deref())?;
        let patience = match environment.get("RUN_SYNC_TIMEOUT") {
            None => PATIENCE,
            Some(text) => match text.parse() {
                Ok(seconds @ 1..=86400) => Duration::from_secs(seconds),
                _ => {
                    return Err(Error::usage(format!(
                        "RUN_SYNC_TIMEOUT is '{text}', not 1 to 86400 seconds"
                    )));
                }
            },
        };
        let rate = reach.limit.as_deref().map(rate).transpose()?;
        Ok(Self { transfers: reach.transfers.into(), rate, patience, environment, gauge: Gauge::default() })
    }
}

/// Parses a number of bytes a second: `500K`, `20M`, `1.5G`.
fn rate(text: &str) -> Result<u64, Error> {
    let wrong = || Error::usage(format!("--limit '{text}' is no rate such as 500K, 20M or 1G"));
    let digits = text.trim_end_matches("/s").trim_end_matches(['B', 'b']).trim_end_matches('i');
    let (digits, shift) = match digits.as_bytes().last().map(u8::to_ascii_uppercase) {
        Some(b'K') => (&digits[..digits.len() - 1], 10),
        Some(b'M') => (&digits[..digits.len() - 1], 20),
        Some(b'G') => (&digits[..digits.len() - 1], 30),
        _ => (digits, 0),
    };
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let number: f64 = digits.parse().ok().filter(|_| is_number).ok_or_else(wrong)?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "both bounds are looked at")]
    match number * f64::from(1_u32 << shift) {
        bytes if (1.0..1e15).contains(&bytes) => Ok(bytes as u64),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_numbers_with_a_unit() {
        for (text, bytes) in
            [("1", 1), ("500K", 512_000), ("20M", 20 << 20), ("1.5G", 3 << 29), ("2MiB/s", 2 << 20)]
        {
            assert_eq!(rate(text).unwrap(), bytes, "{text}");
        }
        for wrong in ["", "0", "M", "-1", "1e3", "inf", "1T", "20 M"] {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
    }
}
