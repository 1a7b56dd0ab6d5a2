//! The natural order of names, in which numbers compare as numbers: `run-2` before `run-10`, `lr=3e-4` before
//! `lr=1e-3`. Used wherever runs and files are listed by name.

use std::cmp::Ordering;
use std::path::Path;

/// Compares two names. A number after `=` is compared with its fraction and exponent, digits after `0.` are a
/// fraction, and all other digits are whole numbers. Different names are never equal.
pub fn natural(one: &[u8], other: &[u8]) -> Ordering {
    let same = one.iter().zip(other).position(|(one, other)| one != other);
    let at = same.unwrap_or(one.len().min(other.len()));
    let by_bytes = || one[at..].cmp(&other[at..]);
    // Start of the number in which the names differ: the same position in both.
    let of_number = |byte: &u8| byte.is_ascii_digit() || b".eE+-".contains(byte);
    let number = one[..at].iter().rposition(|byte| !of_number(byte)).map_or(0, |before| before + 1);
    if number > 0
        && one[number - 1] == b'='
        && let (Some(first), Some(second)) =
            (leading_number(&one[number..]), leading_number(&other[number..]))
        && let Some(order @ (Ordering::Less | Ordering::Greater)) = first.partial_cmp(&second)
    {
        return order;
    }
    let digits = one[..at].iter().rposition(|byte| !byte.is_ascii_digit()).map_or(0, |before| before + 1);
    let (first, second) = (leading_digits(&one[digits..]), leading_digits(&other[digits..]));
    if first.is_empty() || second.is_empty() || is_fraction(&one[..digits]) {
        return by_bytes();
    }
    let (small, large) = (without_zeros(first), without_zeros(second));
    small.len().cmp(&large.len()).then_with(|| small.cmp(large)).then_with(by_bytes)
}

/// Compares two paths in natural order, by their bytes.
pub fn natural_paths(one: &Path, other: &Path) -> Ordering {
    natural(one.as_os_str().as_encoded_bytes(), other.as_os_str().as_encoded_bytes())
}

fn leading_digits(text: &[u8]) -> &[u8] {
    let end = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    &text[..end]
}

fn without_zeros(digits: &[u8]) -> &[u8] {
    &digits[digits.iter().position(|digit| *digit != b'0').unwrap_or(digits.len())..]
}

/// Returns whether digits after this text are a fraction: the text ends in `0.`, without another digit before
/// it.
fn is_fraction(before: &[u8]) -> bool {
    before.strip_suffix(b"0.").is_some_and(|before| !before.last().is_some_and(u8::is_ascii_digit))
}

/// Returns the number that a text begins with, such as `-1.5e-3`.
fn leading_number(text: &[u8]) -> Option<f64> {
    let mut end = usize::from(text.starts_with(b"-"));
    let digits = |from: usize| text.get(from..).map_or(0, |rest| leading_digits(rest).len());
    let whole = digits(end);
    if whole == 0 {
        return None;
    }
    end += whole;
    if text.get(end) == Some(&b'.') && digits(end + 1) > 0 {
        end += 1 + digits(end + 1);
    }
    if matches!(text.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(text.get(end + 1), Some(b'+' | b'-')));
        if digits(end + 1 + sign) > 0 {
            end += 1 + sign + digits(end + 1 + sign);
        }
    }
    std::str::from_utf8(&text[..end]).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sorted(names: &str) -> String {
        let mut names: Vec<&str> = names.split_whitespace().rev().collect();
        names.sort_by(|one, other| natural(one.as_bytes(), other.as_bytes()));
        names.join(" ")
    }

    #[test]
    fn numbers_in_names_compare_as_numbers() {
        for names in [
            "run run-2 run-010 run-10 run-11 run_1",
            "hidden=4 hidden=16 hidden=64",
            "lr=3e-4 lr=1e-3 lr=0.01 lr=0.05 lr=0.1 lr=0.10 lr=1",
            "b=-10 b=-2 b=0 b=2,c=9 b=2,c=10 b=x",
            "lr0.15 lr0.2 lr0.25 lr1",
            "v1.9 v1.10 v2.0",
            "2026-01-29_12-00-00 2026-01-29_12-00-00_2 2026-01-29_12-00-00_10 2026-02-01_00-00-00",
            "a/2/b a/10/b a/10/c",
            "x99999999999999999999 x100000000000000000000",
            "lr=1e lr=1e-seed=2 lr=1e5",
        ] {
            assert_eq!(sorted(names), names);
        }
    }

    proptest! {
        #[test]
        fn it_is_an_order(names in prop::collection::vec("[a0-9=.e-]{0,8}", 3)) {
            let of = |one: usize, other: usize| natural(names[one].as_bytes(), names[other].as_bytes());
            prop_assert_eq!(of(0, 1), of(1, 0).reverse());
            prop_assert_eq!(of(0, 1).is_eq(), names[0] == names[1]);
            if of(0, 1).is_le() && of(1, 2).is_le() {
                prop_assert!(of(0, 2).is_le(), "{:?}", names);
            }
        }
    }
}
