//! Percent-encoding of names, for bytes that JSON or a store cannot hold.

use std::fmt::Write as _;

/// Encodes bytes as `%` and two upper case hexadecimal digits, unless `kept` returns true for the bytes from
/// there on.
pub(crate) fn encode(bytes: &[u8], kept: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let mut text = String::new();
    let mut encoded = Vec::with_capacity(bytes.len());
    for (at, byte) in bytes.iter().enumerate() {
        if kept(&bytes[at..]) {
            encoded.push(*byte);
        } else {
            text.clear();
            let _ = write!(text, "%{byte:02X}"); // a String takes everything
            encoded.extend_from_slice(text.as_bytes());
        }
    }
    encoded
}

/// Decodes the output of [`encode`]; none if a `%` is not followed by two hexadecimal digits.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        if *first == b'%' {
            let [high, low, after @ ..] = rest else { return None };
            let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
            bytes.push(digit(*high)? << 4 | digit(*low)?);
            rest = after;
        } else {
            bytes.push(*first);
        }
    }
    Some(bytes)
}

/// Returns whether bytes begin with a `%` and two hexadecimal digits.
pub(crate) fn begins_encoded(bytes: &[u8]) -> bool {
    matches!(bytes, [b'%', high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit())
}
