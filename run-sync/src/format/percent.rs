//! Percent-encoding of names: of bytes that JSON or a store cannot hold.

use std::fmt::Write as _;

/// Writes bytes that are not `kept` as `%` and two upper case hexadecimal digits. `kept` is asked with the bytes
/// from each place on.
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

/// Reads what [`encode`] wrote; none if a `%` is followed by anything but two hexadecimal digits.
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
