//! The hash by which a config is known again.

use sha2::{Digest, Sha256};
use std::fs;
use std::io;
use std::path::Path;

/// Returns the SHA-256 of bytes, in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    let digits =
        |byte: &u8| [byte >> 4, byte & 15].map(|digit| char::from_digit(digit.into(), 16).unwrap_or('0'));
    Sha256::digest(bytes).iter().flat_map(digits).collect()
}

/// Returns the SHA-256 of a file, in hexadecimal.
pub fn sha256_of(path: &Path) -> io::Result<String> {
    Ok(sha256(&fs::read(path)?))
}
