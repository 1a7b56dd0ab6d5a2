//! Numbers of sweeps: interpolated, rounded, and spelled in the shortest exact way.

/// Interpolates linearly: `part` 0 is `from`, 1 is `to`.
pub(crate) fn between(from: f64, to: f64, part: f64) -> f64 {
    from * (1.0 - part) + to * part
}

/// Interpolates logarithms, with the functions of libm, which give the same result on every machine.
pub(crate) fn between_logs(from: f64, to: f64, part: f64) -> f64 {
    libm::exp(between(libm::log(from), libm::log(to), part))
}

/// Returns how many decimal places give `digits` significant digits to a number of this size.
pub(crate) fn places(size: f64, digits: usize) -> i64 {
    i64::try_from(digits).unwrap_or_default() - i64::from(scientific(size).1)
}

/// Rounds to decimal places.
pub(crate) fn rounded(number: f64, places: i64) -> f64 {
    let places = usize::try_from(places).unwrap_or(0).min(400);
    format!("{number:.places$}").parse().unwrap_or(number)
}

/// Rounds to significant digits.
pub(crate) fn significant(number: f64, digits: usize) -> f64 {
    format!("{number:.*e}", digits - 1).parse().unwrap_or(number)
}

/// Returns the digits of the shortest text that parses to this number, and the exponent of the first digit.
fn scientific(number: f64) -> (String, i32) {
    let text = format!("{:e}", number.abs());
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    (digits.replace('.', ""), exponent.parse().unwrap_or(0))
}

/// Spells a number in the shortest exact way: `0.001`, `16`, `2.5e-8`.
pub(crate) fn spelled(number: f64) -> String {
    let (digits, exponent) = scientific(number);
    let sign = if number < 0.0 { "-" } else { "" };
    let text = match usize::try_from(exponent) {
        Ok(before) if before < 16 && digits.len() <= before + 1 => format!("{digits:0<0$}", before + 1),
        Ok(before) if before < 16 => format!("{}.{}", &digits[..=before], &digits[before + 1..]),
        Err(_) if exponent >= -6 => {
            let zeros = usize::try_from(-1 - exponent).unwrap_or(0);
            format!("0.{}{digits}", "0".repeat(zeros))
        }
        _ if digits.len() > 1 => format!("{}.{}e{exponent}", &digits[..1], &digits[1..]),
        _ => format!("{digits}e{exponent}"),
    };
    sign.to_owned() + &text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_number_is_spelled_exactly(number in proptest::num::f64::NORMAL | proptest::num::f64::SUBNORMAL | proptest::num::f64::ZERO) {
            prop_assert_eq!(spelled(number).parse::<f64>().unwrap().to_bits(), (number + 0.0).to_bits());
        }
    }
}
