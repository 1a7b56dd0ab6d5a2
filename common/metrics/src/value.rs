//! Classifies the values of a metric line, and finds their ends.

use wide::u8x16;

/// Padding after the last line of a buffer, so that windows may overrun; contents ignored.
pub const PAD: usize = WINDOW;

/// Number of bytes that are compared at once; nearly all values are shorter.
pub const WINDOW: usize = 32;

/// The kind of a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// A finite number, quoted or not; the quotes are not in the span.
    #[default]
    Number,
    /// A text without escapes; the quotes are not in the span.
    Text,
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool,
    /// `NaN`, quoted or not.
    NaN,
    /// `Infinity`, quoted or not.
    Infinity,
    /// `-Infinity`, quoted or not.
    MinusInfinity,
}

/// The position of a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Its start in the buffer.
    pub start: usize,
    /// Its end.
    pub end: usize,
    /// Its kind.
    pub kind: Kind,
}

/// Returns some bytes from `at` on.
#[inline]
pub fn window<const SIZE: usize>(buffer: &[u8], at: usize) -> Option<&[u8; SIZE]> {
    buffer.get(at..)?.first_chunk()
}

/// Reads a text without escapes; returns the text between its quotes, and its end.
pub(crate) fn text(buffer: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let inside = buffer.get(at..)?.strip_prefix(b"\"")?;
    let length = inside.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20))?;
    let text = &inside[..length];
    let is_whole = inside[length] == b'"' && (text.is_ascii() || std::str::from_utf8(text).is_ok());
    is_whole.then_some((text, at + length + 2))
}

/// Reads a value; returns the value and its end.
pub(crate) fn value(buffer: &[u8], at: usize) -> Option<(Span, usize)> {
    if let Some(end) = number(buffer, at) {
        return Some((Span { start: at, end, kind: Kind::Number }, end));
    }
    other_value(buffer, at)
}

#[cold]
#[inline(never)]
pub(crate) fn other_value(buffer: &[u8], at: usize) -> Option<(Span, usize)> {
    if buffer.get(at) == Some(&b'"') {
        let (inside, end) = text(buffer, at)?;
        let kind = match inside {
            b"NaN" => Kind::NaN,
            b"Infinity" => Kind::Infinity,
            b"-Infinity" => Kind::MinusInfinity,
            _ if number(buffer, at + 1) == Some(end - 1) => Kind::Number,
            _ => Kind::Text,
        };
        return Some((Span { start: at + 1, end: end - 1, kind }, end));
    }
    let words: [(&[u8], Kind); 6] = [
        (b"NaN", Kind::NaN),
        (b"null", Kind::Null),
        (b"true", Kind::Bool),
        (b"false", Kind::Bool),
        (b"Infinity", Kind::Infinity),
        (b"-Infinity", Kind::MinusInfinity),
    ];
    let rest = buffer.get(at..)?;
    let (word, kind) = words.into_iter().find(|(word, _)| rest.starts_with(word))?;
    let end = at + word.len();
    Some((Span { start: at, end, kind }, end))
}

/// Returns the end of the number that begins here, by the grammar of JSON.
#[inline(always)]
#[expect(clippy::inline_always, reason = "it is all that is done for most values, and a call costs as much")]
pub fn number(buffer: &[u8], at: usize) -> Option<usize> {
    let window = window::<WINDOW>(buffer, at)?;
    let byte = |at: u32| window.get(at as usize).copied().unwrap_or_default();
    let mut others = !digits(window); // a bit for each byte that is not a digit
    let first = u32::from(byte(0) == b'-');
    others &= !first;
    let mut end = others.trailing_zeros();
    if end == first || end > first + 1 && byte(first) == b'0' {
        return None;
    }
    if byte(end) == b'.' {
        others &= others - 1;
        let fraction = end + 1;
        end = others.trailing_zeros();
        if end == fraction {
            return long_number(buffer, at);
        }
    }
    let mut is_long = false;
    if byte(end) | 0x20 == b'e' {
        others &= others.wrapping_sub(1);
        let mut exponent = end + 1;
        if matches!(byte(exponent), b'+' | b'-') {
            others &= others.wrapping_sub(1);
            exponent += 1;
        }
        end = others.trailing_zeros();
        if end == exponent {
            return long_number(buffer, at);
        }
        is_long = end > exponent + 2;
    }
    if end as usize >= WINDOW || is_long {
        return long_number(buffer, at);
    }
    Some(at + end as usize)
}

/// Like [`number`], for a number that is long or may be too large.
#[cold]
#[inline(never)]
fn long_number(buffer: &[u8], at: usize) -> Option<usize> {
    let digits = |from: usize| {
        let count = buffer.get(from..)?.iter().position(|byte| !byte.is_ascii_digit())?;
        (count > 0).then_some(from + count)
    };
    let first = at + usize::from(*buffer.get(at)? == b'-');
    let mut end = digits(first)?;
    if end > first + 1 && buffer[first] == b'0' {
        return None;
    }
    if buffer[end] == b'.' {
        end = digits(end + 1)?;
    }
    if buffer[end] | 0x20 == b'e' {
        let is_signed = matches!(buffer.get(end + 1)?, b'+' | b'-');
        end = digits(end + 1 + usize::from(is_signed))?;
    }
    // No reader accepts a number that is too large.
    float(&buffer[at..end]).is_some_and(f64::is_finite).then_some(end)
}

/// The digits of a whole number with at most fifteen digits, packed so that they compare like the number.
/// `None` is less than any number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Digits(u128);

impl Digits {
    /// Reads the number that begins here, if it consists of digits only.
    #[inline]
    pub fn at(buffer: &[u8], at: usize) -> Option<Self> {
        // Digits are 0x30 to 0x39, and no other byte of a JSON number has the upper half 3.
        const HIGH: u128 = u128::from_be_bytes([0xf0; 16]);
        const DIGITS: u128 = u128::from_be_bytes([0x30; 16]);
        let block = window::<16>(buffer, at)?;
        let text = u128::from_be_bytes(*block);
        let length = ((text & HIGH) ^ DIGITS).leading_zeros() / 8;
        let ends = matches!(block.get(length as usize), Some(b',' | b'}' | b' ' | b'\t' | b'\r' | b'\n'));
        (length > 0 && ends).then(|| Self(text >> (128 - 8 * length)))
    }

    /// Returns the number.
    pub fn number(self) -> f64 {
        self.0
            .to_be_bytes()
            .iter()
            .filter(|byte| **byte != 0)
            .fold(0.0, |number, byte| number * 10.0 + f64::from(byte & 0x0f))
    }

    /// Takes a number, if it is whole and has no more digits.
    pub fn of(number: f64) -> Option<Self> {
        Self::at(format!("{number},{:WINDOW$}", "").as_bytes(), 0)
    }
}

/// Converts back to a number.
pub fn float(text: &[u8]) -> Option<f64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Returns the position of the next quote.
#[inline]
pub(crate) fn quote(buffer: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let found = quotes(window(buffer, at)?);
        if found != 0 {
            return Some(at + found.trailing_zeros() as usize);
        }
        at += WINDOW;
    }
}

/// Returns which bytes of a window are digits: a bit for each byte, the lowest bit for the first byte.
#[inline]
fn digits(window: &[u8; WINDOW]) -> u32 {
    bits(window, |bytes| {
        let values = bytes - u8x16::splat(b'0');
        values.simd_eq(values.min(u8x16::splat(9)))
    })
}

/// Returns which bytes of a window are quotes.
#[inline]
fn quotes(window: &[u8; WINDOW]) -> u32 {
    bits(window, |bytes| bytes.simd_eq(u8x16::splat(b'"')))
}

#[inline]
fn bits(window: &[u8; WINDOW], test: impl Fn(u8x16) -> u8x16) -> u32 {
    let half = |at: usize| {
        let bytes = window.get(at..).and_then(<[u8]>::first_chunk).copied().unwrap_or_default();
        test(u8x16::new(bytes)).to_bitmask()
    };
    half(0) | half(16) << 16
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn digits_are_whole_numbers_alone(text in "-?[0-9]{0,17}(\\.[0-9]{1,3})?([eE][+-]?[0-9]{1,2})?[,} \n]") {
            let mut buffer = text.clone().into_bytes();
            buffer.resize(buffer.len() + PAD, 0);
            let is_plain = text.len() < 17 && text.len() > 1 && text[..text.len() - 1].bytes().all(|byte| byte.is_ascii_digit());
            prop_assert_eq!(Digits::at(&buffer, 0).is_some(), is_plain);
        }

        #[test]
        fn a_number_ends_where_a_plain_look_finds_its_end(
            text in "-?[0-9]{0,36}(\\.[0-9]{0,36})?([eE][+-]?[0-9]{0,4})?[ ,}x.-]",
        ) {
            let mut buffer = text.into_bytes();
            buffer.resize(buffer.len() + PAD, 0);
            prop_assert_eq!(number(&buffer, 0), long_number(&buffer, 0));
        }

        #[test]
        fn digits_are_in_the_order_of_their_numbers(one in 0_u64..1_000_000_000_000_000, by in 0_u32..15, other: u32) {
            let one = one / 10_u64.pow(by);
            let digits = |number: u64| Digits::at(format!("{number},{:32}", "").as_bytes(), 0).unwrap();
            prop_assert_eq!(digits(one).cmp(&digits(other.into())), one.cmp(&other.into()));
            prop_assert!(digits(one) > Digits::default());
            prop_assert_eq!(digits(one).number().to_string(), one.to_string());
        }

        #[test]
        fn a_window_says_where_digits_and_quotes_are(text in "[0-9\"/:!#\u{80}-\u{ff}]{32}") {
            let block = window(text.as_bytes(), 0).unwrap();
            let bits = |test: fn(&u8) -> bool| (0..WINDOW).filter(|at| test(&block[*at])).fold(0, |bits, at| bits | 1 << at);
            prop_assert_eq!(digits(block), bits(u8::is_ascii_digit));
            prop_assert_eq!(quotes(block), bits(|byte| *byte == b'"'));
        }
    }
}
