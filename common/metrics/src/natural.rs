//! The natural order of paths, in which numbers are compared as numbers.

use std::cmp::Ordering;
use std::path::Path;

/// Compares paths so that 2 comes before 10.
pub(super) fn natural(one: &Path, other: &Path) -> Ordering {
    let (one, other) = (one.to_string_lossy(), other.to_string_lossy());
    let (mut one, mut other) = (one.as_ref(), other.as_ref());
    loop {
        let (first, second) = (piece(one), piece(other));
        let (Some(first), Some(second)) = (first, second) else { return first.cmp(&second) };
        let (small, large) = (first.trim_start_matches('0'), second.trim_start_matches('0'));
        let order = if is_digits(first) && is_digits(second) {
            small.len().cmp(&large.len()).then_with(|| small.cmp(large))
        } else {
            first.cmp(second)
        };
        if order.is_ne() {
            return order;
        }
        (one, other) = (&one[first.len()..], &other[second.len()..]);
    }
}

/// Returns the beginning of a text: its digits, or the text before the next digits.
fn piece(text: &str) -> Option<&str> {
    let is_digit = text.chars().next()?.is_ascii_digit();
    let end = text.find(|c: char| c.is_ascii_digit() != is_digit).unwrap_or(text.len());
    Some(&text[..end])
}

fn is_digits(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit())
}
