//! Keras: a line `Epoch 3/10`, then a complete bar with the epoch's metrics. An incomplete bar, or a bar
//! without such a line, as in an evaluation, is not a row.

use super::scan::{Numbers, Scan};
use crate::row::MetricRow;

/// The state of an epoch.
#[derive(Debug, Default)]
pub(super) struct KerasBar {
    epoch: Option<f64>,
}

impl KerasBar {
    /// Returns whether the bar of an epoch may follow.
    pub(super) fn is_waiting(&self) -> bool {
        self.epoch.is_some()
    }

    /// Takes a line that begins with `E` or a digit.
    pub(super) fn line(&mut self, text: &str) -> Option<MetricRow> {
        if text.starts_with('E') {
            if let Some(epoch) = epoch(text) {
                self.epoch = Some(epoch);
            }
            return None;
        }
        let row = self.epoch.and_then(|epoch| bar(text, epoch));
        if row.is_some() {
            self.epoch = None;
        }
        row
    }
}

/// Reads `Epoch 3/10`.
fn epoch(text: &str) -> Option<f64> {
    let mut scan = Scan(text);
    scan.tag("Epoch ")?;
    let epoch = scan.whole()?;
    scan.tag("/")?;
    scan.whole()?;
    scan.end()?;
    Some(epoch)
}

/// Reads `1770/1770 [====] - 14s 8ms/step - loss: 0.39` (Keras 2), `1770/1770 ━━━━ 14s 8ms/step -
/// loss: 0.39` (Keras 3) and what both write with `verbose=2`.
fn bar(text: &str, epoch: f64) -> Option<MetricRow> {
    let mut scan = Scan(text);
    let done = scan.some(|byte| byte.is_ascii_digit())?;
    scan.tag("/")?;
    if scan.some(|byte| byte.is_ascii_digit())? != done {
        return None;
    }
    scan.tag(" ")?;
    if scan.tag("[").is_some() {
        scan.some(|byte| b"=>.".contains(&byte))?;
        scan.tag("] ")?;
    } else if scan.0.starts_with('━') {
        scan.0 = scan.0.trim_start_matches('━');
        scan.tag(" ")?;
    }
    let rest = scan.0.strip_prefix("- ").unwrap_or(scan.0);
    let mut numbers = Numbers::default();
    numbers.add("epoch", epoch);
    let mut is_timed = false;
    for part in rest.split(" - ") {
        match part.split_once(": ") {
            Some((name, value)) if is_timed => {
                let mut value = Scan(value);
                numbers.add(name, value.number()?);
                value.end()?;
            }
            _ if is_time(part) => is_timed = true,
            _ => return None,
        }
    }
    numbers.row()
}

/// Returns whether it is `14s`, `14s 8ms/step`, `8ms/step` or `14s/epoch`.
fn is_time(text: &str) -> bool {
    text.split(' ').all(|word| {
        let word = word.split_once('/').map_or(word, |(time, _)| time);
        let digits = word.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let unit = &word[digits.len()..];
        ["s", "ms", "us"].contains(&unit)
            && !digits.is_empty()
            && digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
    })
}
