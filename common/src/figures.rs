//! Numbers for people: in few digits. Used by run-status, run-report and run-sync.

/// Formats a size for people: `512B`, `1.5K`, `64M`, `2.0G`.
pub fn human_bytes(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let mut size = bytes as f64;
    let mut units = ["K", "M", "G", "T", "P"].iter();
    let mut unit = "B";
    while size >= 1023.5
        && let Some(next) = units.next()
    {
        size /= 1024.0;
        unit = next;
    }
    if unit == "B" || size >= 9.95 { format!("{size:.0}{unit}") } else { format!("{size:.1}{unit}") }
}

/// Formats a count with its noun, whose singular is `one`: `1 file`, `2 files`.
pub fn counted(number: usize, one: &str) -> String {
    format!("{number} {one}{}", if number == 1 { "" } else { "s" })
}

/// Formats a number for people, in few digits.
pub fn figure(number: f64) -> String {
    figure_alike(number, 0)
}

/// Formats a number for people with at least this many decimals, unless it has an exponent. The values along an axis
/// look alike if each gets the greatest number of [`decimals`] of any.
pub fn figure_alike(number: f64, least: usize) -> String {
    match decimals(number) {
        Some(decimals) => format!("{number:.0$}", decimals.max(least)),
        None if number.is_finite() => format!("{number:.3e}"),
        None => format!("{number}"),
    }
}

/// Returns the number of decimals in the format for people; `None` if it has an exponent or is not finite.
pub fn decimals(number: f64) -> Option<usize> {
    match number.abs() {
        m if m == 0.0 || (m < 1e6 && number.fract() == 0.0) => Some(0),
        m if !(1e-3..1e5).contains(&m) => None,
        m if m < 1.0 => Some(4),
        m if m < 100.0 => Some(3),
        _ => Some(1),
    }
}

/// The form of all numbers of a column: no number has an exponent beside one that has decimals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// This many decimals.
    Decimals(usize),
    /// Four digits and an exponent; zero is `0`.
    Exponent,
}

/// Decimals of small numbers beside others, and the range of numbers that are shown in decimals beside others.
const SMALL: usize = 6;
const BESIDE: std::ops::Range<f64> = 1e-4..1e9;

impl Precision {
    /// Returns the form of these numbers: that of the most exact number. If some of them alone had an exponent, they
    /// get decimals unless they are very small or large, in which case all numbers get an exponent.
    pub fn of(numbers: impl IntoIterator<Item = f64>) -> Self {
        let (mut most, mut has_plain, mut is_small, mut has_exponent, mut is_far) =
            (0, false, false, false, false);
        for number in numbers.into_iter().filter(|number| number.is_finite() && *number != 0.0) {
            match decimals(number) {
                Some(decimals) => {
                    has_plain = true;
                    most = decimals.max(most);
                }
                None => {
                    has_exponent = true;
                    is_small |= number.abs() < 1.0;
                    is_far |= !BESIDE.contains(&number.abs());
                    most = most.max(usize::from(number.fract() != 0.0));
                }
            }
        }
        match (has_exponent, has_plain && !is_far) {
            (false, _) => Self::Decimals(most),
            (true, true) => Self::Decimals(if is_small { SMALL } else { most }),
            (true, false) => Self::Exponent,
        }
    }

    /// Formats a number for people.
    pub fn show(self, number: f64) -> String {
        match self {
            Self::Exponent if number == 0.0 => "0".to_owned(),
            Self::Exponent if number.is_finite() => format!("{number:.3e}"),
            Self::Decimals(decimals) if number.is_finite() => format!("{number:.decimals$}"),
            Self::Exponent | Self::Decimals(_) => format!("{number}"),
        }
    }
}

/// Formats a sum of money for people: with cents, and sums below a cent with two more digits.
pub fn money(sum: f64) -> String {
    money_alike(sum, money_decimals(sum))
}

/// Formats a sum of money for people with this many decimals; a sum that would look like nothing is `<0.0001`.
pub fn money_alike(sum: f64, decimals: usize) -> String {
    let least = 0.1_f64.powi(i32::try_from(decimals).unwrap_or(i32::MAX));
    if sum != 0.0 && sum.abs() < least / 2.0 {
        format!("<{least:.decimals$}")
    } else {
        format!("{sum:.decimals$}")
    }
}

/// Returns the number of decimals of a sum of money for people; the sums of a column get the greatest of these.
pub fn money_decimals(sum: f64) -> usize {
    if sum != 0.0 && sum.abs() < 0.01 { 4 } else { 2 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_two_or_three_digits() {
        let shown = [0, 1023, 1024, 1536, 10_239, 67_108_864, 2 << 30, u64::MAX].map(human_bytes);
        assert_eq!(shown, ["0B", "1023B", "1.0K", "1.5K", "10K", "64M", "2.0G", "16384P"]);
    }

    #[test]
    fn the_numbers_of_a_column_have_the_most_decimals_of_any() {
        let numbers = [0.5, 3.0, 12.25, 1234.5, 1e-5, f64::NAN, 0.0];
        let most = numbers.iter().filter_map(|number| decimals(*number)).max().unwrap_or_default();
        let shown = numbers.map(|number| figure_alike(number, most));
        assert_eq!(shown, ["0.5000", "3.0000", "12.2500", "1234.5000", "1.000e-5", "NaN", "0.0000"]);
        assert_eq!(numbers.map(figure), ["0.5000", "3", "12.250", "1234.5", "1.000e-5", "NaN", "0"]);
    }

    #[test]
    fn small_sums_are_not_nothing() {
        assert_eq!(
            [12.345, 0.01, 0.004, 1e-5, 0.0].map(money),
            ["12.35", "0.01", "0.0040", "<0.0001", "0.00"]
        );
        assert_eq!([12.345, 0.004, 0.0].map(|sum| money_alike(sum, 4)), ["12.3450", "0.0040", "0.0000"]);
    }

    #[test]
    fn a_column_has_exponents_or_decimals_and_not_both() {
        let shown = |numbers: &[f64]| {
            let precision = Precision::of(numbers.iter().copied());
            numbers.iter().map(|number| precision.show(*number)).collect::<Vec<_>>()
        };
        assert_eq!(shown(&[0.0147, 6.564e-4, 0.0]), ["0.014700", "0.000656", "0.000000"]);
        assert_eq!(shown(&[1e-5, 0.0147, 3.0, 0.0]), ["1.000e-5", "1.470e-2", "3.000e0", "0"]);
        assert_eq!(shown(&[3e-4, 1e-4]), ["3.000e-4", "1.000e-4"]);
        assert_eq!(shown(&[500_000.0, 2e6]), ["500000", "2000000"]);
        assert_eq!(shown(&[2e6, 3e6]), ["2.000e6", "3.000e6"]);
        assert_eq!(shown(&[0.5, 123_456.5]), ["0.5000", "123456.5000"]);
        assert_eq!(shown(&[0.5, 2e12]), ["5.000e-1", "2.000e12"]);
        assert_eq!(shown(&[3.0, f64::NAN, f64::INFINITY, -0.25]), ["3.0000", "NaN", "inf", "-0.2500"]);
        assert_eq!(shown(&[3.0, 4.0]), ["3", "4"]);
        assert!(shown(&[]).is_empty());
    }
}
