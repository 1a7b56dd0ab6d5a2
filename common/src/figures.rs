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
    let magnitude = number.abs();
    if number == 0.0 || (number.fract() == 0.0 && magnitude < 1e6) || !number.is_finite() {
        return format!("{number}");
    }
    let digits = match magnitude {
        m if !(1e-3..1e5).contains(&m) => return format!("{number:.3e}"),
        m if m < 1.0 => 4,
        m if m < 100.0 => 3,
        _ => 1,
    };
    format!("{number:.digits$}")
}

/// Formats a sum of money for people: with cents, and small sums in few digits.
pub fn money(sum: f64) -> String {
    if sum.abs() < 0.01 { figure(sum) } else { format!("{sum:.2}") }
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
    fn small_sums_are_not_nothing() {
        assert_eq!([12.345, 0.01, 0.004, 0.0].map(money), ["12.35", "0.01", "0.0040", "0"]);
    }
}
