//! Texts of requests: percent-encoding, base64, and the words of a store in a message.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest as _, Md5};
use std::fmt::Write as _;

/// Characters to show of a store's message.
const SHOWN: usize = 200;

/// Percent-encodes the characters that an address cannot hold; `/` stays in a path.
pub(super) fn encode(text: &str, is_path: bool) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(byte.into()),
            b'/' if is_path => encoded.push('/'),
            _ => drop(write!(encoded, "%{byte:02X}")), // writing to a String cannot fail
        }
    }
    encoded
}

/// Returns the pairs of a query as text, encoded.
pub(super) fn query(pairs: &[(&str, &str)]) -> String {
    let pairs = pairs.iter().map(|(name, value)| format!("{}={}", encode(name, false), encode(value, false)));
    pairs.collect::<Vec<_>>().join("&")
}

/// Encodes bytes in base64, with padding.
pub(super) fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Returns the MD5 of bytes for the header `content-md5`, with which every store checks what arrives.
pub(super) fn md5(bytes: &[u8]) -> String {
    base64(&Md5::digest(bytes))
}

/// Decodes base64.
pub(super) fn from_base64(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text.trim()).ok()
}

/// Makes the words of a store fit for a message of one line.
pub(super) fn plain(text: &str) -> String {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    run_common::text::cut(&run_common::text::printable(&words), SHOWN).into_owned()
}

/// Escapes text for XML.
pub(super) fn xml(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
