//! Splits names into words, numbers and separators.

/// A piece of a name in lower case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token<'a> {
    /// Letters.
    Word(&'a str),
    /// Digits.
    Number(&'a str),
    /// A number with a unit or an exponent, `10k` or `1e6`, and its value if it is whole.
    Scaled(Option<u64>),
    /// A fraction or a negative number, which is not a step.
    Fraction,
    /// Any other character.
    Mark(char),
}
use Token::{Fraction, Mark, Number, Scaled, Word};

impl Token<'_> {
    /// Returns its value, if it is a whole number.
    pub(crate) fn value(&self) -> Option<u64> {
        match self {
            Number(digits) => digits.parse().ok(),
            Scaled(value) => *value,
            _ => None,
        }
    }

    /// Returns whether it is a number of any kind.
    pub(crate) fn is_number(&self) -> bool {
        matches!(self, Number(_) | Scaled(_) | Fraction)
    }
}

/// Splits a lower-case name.
pub(crate) fn tokens(name: &str) -> Vec<Token<'_>> {
    let mut found: Vec<Token> = Vec::new();
    let mut rest = name;
    while let Some(first) = rest.chars().next() {
        let (token, length) = if first.is_ascii_digit() {
            let is_negative = matches!(found[..], [Mark('-')] | [.., Mark(_), Mark('-')]);
            let (token, length) = number(rest);
            (if is_negative { Fraction } else { token }, length)
        } else if first.is_alphabetic() {
            let length = run(rest, char::is_alphabetic);
            (Word(&rest[..length]), length)
        } else {
            (Mark(first), first.len_utf8())
        };
        found.push(token);
        rest = &rest[length..];
    }
    found
}

/// Returns the length in bytes of the longest prefix of such characters.
fn run(text: &str, is: fn(char) -> bool) -> usize {
    text.find(|c| !is(c)).unwrap_or(text.len())
}

fn digits(text: &str) -> &str {
    &text[..run(text, |c| c.is_ascii_digit())]
}

/// Reads the number at the beginning of a text, and its length: `12`, `0.25`, `10k`, `1.5m`, `1e6`, `1e-4`. A
/// number with more dots is a version, and so not a step.
fn number(text: &str) -> (Token<'_>, usize) {
    let whole = digits(text);
    let mut length = whole.len();
    let (mut places, mut dots) = ("", 0);
    while let Some(after) = text[length..].strip_prefix('.').map(digits).filter(|after| !after.is_empty()) {
        places = after;
        dots += 1;
        length += 1 + after.len();
    }
    if dots > 1 {
        return (Fraction, length);
    }
    let rest = &text[length..];
    let word = &rest[..run(rest, char::is_alphabetic)];
    let exponent = match word {
        "k" => Some((3, 1)),
        "m" => Some((6, 1)),
        "e" => {
            let after = &rest[1..];
            let signed = after.strip_prefix('-').map(digits).filter(|digits| !digits.is_empty());
            if let Some(power) = signed {
                return (Fraction, length + 2 + power.len());
            }
            let power = digits(after);
            (1..=2).contains(&power.len()).then(|| (power.parse().unwrap_or(99), 1 + power.len()))
        }
        _ => None,
    };
    match exponent {
        Some((power, more)) => (Scaled(scaled(whole, places, power)), length + more),
        None if dots == 1 => (Fraction, length),
        None => (Number(whole), length),
    }
}

/// Returns `whole.places` times a power of ten, if that is a whole number.
fn scaled(whole: &str, places: &str, power: usize) -> Option<u64> {
    let places = places.trim_end_matches('0');
    let zeros = power.checked_sub(places.len())?;
    format!("{whole}{places}")
        .parse::<u64>()
        .ok()?
        .checked_mul(10u64.checked_pow(u32::try_from(zeros).ok()?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_with_their_units() {
        let one = |text: &'static str| match tokens(text)[..] {
            [token] => token,
            _ => Mark('?'),
        };
        for (text, expected) in [
            ("0012", Number("0012")),
            ("10k", Scaled(Some(10_000))),
            ("1.5m", Scaled(Some(1_500_000))),
            ("1.2345k", Scaled(None)),
            ("1e6", Scaled(Some(1_000_000))),
            ("1e99", Scaled(None)),
            ("1e-4", Fraction),
            ("0.25", Fraction),
            ("1.2.3", Fraction),
            ("99999999999999999999k", Scaled(None)),
        ] {
            assert_eq!(one(text), expected, "{text}");
        }
        assert_eq!(tokens("step_-9"), [Word("step"), Mark('_'), Mark('-'), Fraction]);
        assert_eq!(tokens("7b-5"), [Number("7"), Word("b"), Mark('-'), Number("5")]);
        assert_eq!(tokens("1ep"), [Number("1"), Word("ep")]);
        assert_eq!(tokens("m.05-0.1"), [Word("m"), Mark('.'), Number("05"), Mark('-'), Fraction]);
        assert_eq!(tokens("99999999999999999999")[0].value(), None);
    }
}
