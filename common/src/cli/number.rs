//! Numbers on the command line, with error messages for people.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// Reads a whole number of at least 0.
pub fn natural(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| whole(text, "must be a whole number, 0 or more", u64::MAX))
}

/// Reads a whole number, which may be negative.
pub fn integer(text: &str) -> Result<i64, String> {
    text.parse().map_err(|_| whole(text, "must be a whole number", i64::MAX))
}

/// Returns a parser of a whole number in a range.
pub fn within<T>(
    range: RangeInclusive<T>,
) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static
where
    T: Clone + Display + FromStr + PartialOrd + Send + Sync + 'static,
{
    move |text| {
        let number = text.parse().ok().filter(|number| range.contains(number));
        number.ok_or_else(|| format!("must be a whole number from {} to {}", range.start(), range.end()))
    }
}

/// Returns the fault of a text that is not a whole number, or too large.
fn whole(text: &str, fault: &str, largest: impl Display) -> String {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let is_large = digits.len() > 9 && digits.bytes().all(|byte| byte.is_ascii_digit());
    if is_large && !text.starts_with('-') { format!("must be at most {largest}") } else { fault.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_tells_what_to_write() {
        assert_eq!((natural("0"), integer("-5"), within(1..=9)("9")), (Ok(0), Ok(-5), Ok(9)));
        for wrong in ["", "x", "1e6", "-5", "-99999999999999999999", "1.0"] {
            assert_eq!(natural(wrong), Err("must be a whole number, 0 or more".to_owned()), "{wrong}");
        }
        assert_eq!(natural("99999999999999999999"), Err("must be at most 18446744073709551615".to_owned()));
        assert_eq!(integer("99999999999999999999"), Err("must be at most 9223372036854775807".to_owned()));
        assert_eq!(integer("-99999999999999999999"), Err("must be a whole number".to_owned()));
        assert_eq!(within(1..=9)("10"), Err("must be a whole number from 1 to 9".to_owned()));
    }
}
