//! The documents of a file store, which are YAML.

use serde_json::Value;
use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Returns a document with a line for each value: texts, numbers, null and empty lists.
pub(super) fn document(values: &[(&str, Value)]) -> String {
    values.iter().map(|(key, value)| format!("{key}: {}\n", scalar(value))).collect()
}

/// Returns a value. A text is quoted, with escapes for everything except printable ASCII, because not all
/// other characters are allowed.
fn scalar(value: &Value) -> String {
    let Value::String(text) = value else { return value.to_string() };
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            ' '..='~' => quoted.push(c),
            _ => _ = write!(quoted, "\\U{:08x}", u32::from(c)), // writing to a String cannot fail
        }
    }
    quoted + "\""
}

/// Returns the URI of an absolute path.
pub(super) fn uri(path: &Path) -> String {
    let mut uri = String::from("file://");
    for &byte in path.as_os_str().as_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'.' | b'_' | b'~' => {
                uri.push(byte.into());
            }
            _ => _ = write!(uri, "%{byte:02X}"),
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use run_common::provenance::config;

    #[test]
    fn paths_are_escaped() {
        assert_eq!(uri(Path::new("/a b/ü%1")), "file:///a%20b/%C3%BC%251");
    }

    proptest! {
        #[test]
        fn texts_are_read_back_as_they_were(text: String) {
            let document = document(&[("key", text.clone().into()), ("number", 3.into()), ("none", Value::Null)]);
            let read = config::parse(Path::new("meta.yaml"), document.as_bytes()).unwrap();
            prop_assert_eq!(&read["key"], &Value::from(text));
            prop_assert_eq!(&read["number"], &Value::from(3));
            prop_assert_eq!(&read["none"], &Value::Null);
        }
    }
}
