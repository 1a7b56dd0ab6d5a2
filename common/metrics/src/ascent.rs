//! Quickly determines whether the rows of a file are plainly in the order of their steps, which saves a
//! thorough check.

use super::lines::LineReader;
use super::row::MetricRow;
use memchr::memchr;
use memchr::memmem::Finder;
use std::fs::File;
use std::io;

/// Returns whether every row of a file of JSON lines has the step key of the first row, with whole numbers
/// that never decrease. After `false`, the rows may still be in order.
pub(super) fn ascends(file: &File) -> io::Result<bool> {
    let mut known: Option<Finder> = None;
    let mut last = f64::NEG_INFINITY;
    let mut is_plain = true;
    let mut look = |line: &[u8]| -> Option<()> {
        if line.trim_ascii().is_empty() {
            return Some(());
        }
        let key = match &known {
            Some(key) => key,
            None => {
                let row = MetricRow::parse(line)?;
                let key = serde_json::to_vec(row.step()?.0).ok()?;
                known.insert(Finder::new(&key).into_owned())
            }
        };
        let at = key.find(line)?;
        let after = line[at + key.needle().len()..].trim_ascii_start().strip_prefix(b":")?.trim_ascii_start();
        let digits = &after[..after.iter().position(|byte| !byte.is_ascii_digit())?];
        let is_flat = memchr(b'{', &line[1..]).is_none();
        let is_whole =
            is_flat && !matches!(after[digits.len()], b'.' | b'e' | b'E') && !line[..at].ends_with(b"\\");
        let step: f64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
        (is_whole && std::mem::replace(&mut last, step) <= step).then_some(())
    };
    let mut lines = LineReader::default();
    let mut act = |_, line: Option<&[u8]>| {
        is_plain &= line.is_some_and(|line| look(line).is_some());
        if is_plain { Ok(()) } else { Err(io::Error::other("it is not plain")) }
    };
    let read = lines.read(file, u64::MAX, &mut act);
    if is_plain { read.map(|_| true) } else { Ok(false) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn rows_come_in_order_where_a_quick_look_says_so() {
        let is_plain = |text: &str| {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(text.as_bytes()).unwrap();
            ascends(&file).unwrap()
        };
        for text in [
            "",
            "\n",
            "{\"step\": 1, \"loss\": NaN}\n\n{\"step\":1}\n{\"loss\": 2, \"step\" : 10}\n{\"step\": 9",
            "{\"epoch\": 3, \"train/step\": 1}\n{\"train/step\": 2, \"epoch\": 1}\n",
        ] {
            assert!(is_plain(text), "{text}");
        }
        for text in [
            "{\"step\": 1}\n{\"step\": 0}\n",
            "{\"step\": 1}\n{\"iter\": 2}\n",
            "{\"step\": 1}\n{\"step\": 1e9}\n",
            "{\"epoch\": 0.5}\n",
            "{\"epoch\": 1}\n{\"epoch\": 1.5}\n",
            "{\"loss\": 1}\n",
            "{\"step\": 1}\nbad\n",
            "{\"step\": 1}\n{\"a\": {\"step\": 5}, \"step\": 0}\n",
            "{\"step\": 1}\n{\"a\": \"\\\"step\\\": 5\", \"step\": 0}\n",
        ] {
            assert!(!is_plain(text), "{text}");
        }
    }
}
