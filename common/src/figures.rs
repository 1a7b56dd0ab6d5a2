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

/// Formats a number for people with at least this many decimals, unless it has an exponent. The numbers of a
/// column look alike if each gets the greatest number of [`decimals`] in the column.
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

/// Formats a sum of money for people: with cents, and small sums in few digits.
pub fn money(sum: f64) -> String {
    money_alike(sum, 0)
}

/// Formats a sum of money for people with at least this many decimals.
pub fn money_alike(sum: f64, least: usize) -> String {
    if sum.abs() < 0.01 { figure_alike(sum, least) } else { format!("{sum:.0$}", least.max(2)) }
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
        assert_eq!([12.345, 0.01, 0.004, 0.0].map(money), ["12.35", "0.01", "0.0040", "0"]);
        assert_eq!([12.345, 0.004, 0.0].map(|sum| money_alike(sum, 4)), ["12.3450", "0.0040", "0.0000"]);
    }
}
