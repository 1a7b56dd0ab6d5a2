//! Scans a line from left to right, for the known formats.

use crate::row::{MetricRow, MetricValue};

/// The rest of a line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scan<'a>(pub(super) &'a str);

impl<'a> Scan<'a> {
    /// Takes exactly this text.
    pub(super) fn tag(&mut self, tag: &str) -> Option<()> {
        self.0 = self.0.strip_prefix(tag)?;
        Some(())
    }

    /// Takes bytes while they match, at least one.
    pub(super) fn some(&mut self, mut is_such: impl FnMut(u8) -> bool) -> Option<&'a str> {
        let end = self.0.bytes().position(|byte| !is_such(byte)).unwrap_or(self.0.len());
        let (taken, rest) = self.0.split_at_checked(end).filter(|(taken, _)| !taken.is_empty())?;
        self.0 = rest;
        Some(taken)
    }

    /// Takes blanks, if there are any.
    pub(super) fn blanks(&mut self) {
        self.0 = self.0.trim_start_matches(' ');
    }

    /// Takes a whole number without sign.
    pub(super) fn whole(&mut self) -> Option<f64> {
        self.some(|byte| byte.is_ascii_digit())?.parse().ok()
    }

    /// Takes a number as programs print them.
    pub(super) fn number(&mut self) -> Option<f64> {
        number(self.some(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))?)
    }

    /// Takes a number that has a unit after it.
    pub(super) fn measure(&mut self, unit: &str) -> Option<f64> {
        let end = self.0.find(unit)?;
        let value = number(&self.0[..end])?;
        self.0 = &self.0[end + unit.len()..];
        Some(value)
    }

    /// Requires that nothing is left.
    pub(super) fn end(self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}

/// Reads a number as Python, NumPy and C print them: `3`, `-0.5`, `21.`, `1.2E+00`, `nan`, `inf`.
pub(super) fn number(text: &str) -> Option<f64> {
    let digits = text.trim_start_matches(['+', '-']);
    let is_number = digits.starts_with(|c: char| c.is_ascii_digit())
        || (digits.starts_with('.') && digits[1..].starts_with(|c: char| c.is_ascii_digit()))
        || ["nan", "inf", "NaN", "Infinity", "Inf"].contains(&digits);
    text.parse().ok().filter(|_| is_number)
}

/// Returns a number such as `1,234,567` without the commas between its thousands.
pub(super) fn ungrouped(text: &str) -> Option<String> {
    let whole = text.split('.').next()?;
    let mut groups = whole.trim_start_matches('-').split(',');
    let is_digits = |group: &str| group.bytes().all(|byte| byte.is_ascii_digit());
    let is_first = groups.next().is_some_and(|group| (1..=3).contains(&group.len()) && is_digits(group));
    (is_first && groups.all(|group| group.len() == 3 && is_digits(group))).then(|| text.replace(',', ""))
}

/// Collects the numbers of a row.
#[derive(Debug, Default)]
pub(super) struct Numbers(Vec<(String, MetricValue)>);

impl Numbers {
    /// Adds a number.
    pub(super) fn add(&mut self, name: impl Into<String>, number: f64) {
        self.0.push((name.into(), MetricValue::Number(number)));
    }

    /// Returns the row, if it has more than a step.
    pub(super) fn row(self) -> Option<MetricRow> {
        Some(MetricRow::new(self.0)).filter(|row| row.has_step_key() && row.numbers().next().is_some())
    }
}
