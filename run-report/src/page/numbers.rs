//! Numbers of the page, as short as a screen needs them.

use std::fmt::Write;

/// Significant digits of a value.
const DIGITS: i32 = 6;

/// Appends an array of numbers; what is not finite is null.
pub(super) fn array(into: &mut String, values: impl Iterator<Item = f64>) {
    into.push('[');
    for (place, value) in values.enumerate() {
        if place > 0 {
            into.push(',');
        }
        number(into, value);
    }
    into.push(']');
}

/// Appends a number as it is, or null.
pub(super) fn number(into: &mut String, value: f64) {
    let size = value.abs();
    let _ = if !value.is_finite() {
        into.write_str("null")
    } else if size != 0.0 && !(1e-4..1e15).contains(&size) {
        write!(into, "{value:e}")
    } else {
        write!(into, "{value}")
    }; // writing to a String cannot fail
}

/// Rounds a value to the digits that a screen shows.
pub(super) fn short(value: f64) -> f64 {
    if value.fract() == 0.0 || !value.is_finite() {
        return value;
    }
    #[expect(clippy::cast_possible_truncation, reason = "an exponent of a double")]
    let place = DIGITS - 1 - value.abs().log10().floor() as i32;
    if (1..=22).contains(&place) {
        let power = 10_f64.powi(place); // exact
        (value * power).round() / power
    } else {
        format!("{value:.*e}", DIGITS.unsigned_abs() as usize - 1).parse().unwrap_or(value)
    }
}

/// Returns the rounding of times that span this number of seconds.
pub(super) fn rounding(span: f64) -> impl Fn(f64) -> f64 {
    let parts = if span > 5e4 {
        1.0
    } else if span > 500.0 {
        10.0
    } else {
        1000.0
    };
    move |seconds| (seconds * parts).round() / parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_are_short_json() {
        let text = |value: f64| {
            let mut text = String::new();
            number(&mut text, short(value));
            text
        };
        let numbers = [0.0, -3.0, 0.1 + 0.2, 1.0 / 3.0, 1e-7, 123_456.789, 3e-5, f64::NAN, 1e300, 2.5e-320];
        let texts = numbers.map(text);
        assert_eq!(
            texts,
            ["0", "-3", "0.3", "0.333333", "1e-7", "123457", "3e-5", "null", "1e300", "2.5e-320"]
        );
    }

    proptest! {
        #[test]
        fn rounding_keeps_six_digits(value in prop::num::f64::NORMAL) {
            let mut text = String::new();
            number(&mut text, short(value));
            let back: f64 = serde_json::from_str(&text).unwrap();
            prop_assert!((back - value).abs() <= value.abs() * 1e-5, "{value} {text}");
        }
    }
}
