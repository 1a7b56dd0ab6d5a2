//! The last lines of the logs of a run, for people, without secrets. Used by run-status and run-report.

use super::layout::Layout;
use super::logs::of_other_system;
use super::meta::Meta;
use crate::fsio::read::read_end;
use crate::provenance::redact::redact_text;
use crate::text::without_escapes;
use std::path::{Path, PathBuf};

/// Bytes at the end of a log to search for the last lines.
const TAIL: u64 = 8 << 10;

/// Length of the time, the stream and the tag before each line of combined.log.
const HEAD: usize = "2026-01-29T12:00:00.123456Z stdout F ".len();

/// Returns the last lines of a log without heads before its lines, from an offset on, if there are any.
pub fn tail(log: &Path, start: u64, most: usize) -> Option<Vec<String>> {
    lines(log, start, most, |_| 0)
}

/// Returns the last lines of output, in the order in which both streams were written. `attempts` is the number of
/// attempts.
pub fn last_output(layout: &Layout, meta: &Meta, attempts: u32, most: usize) -> Option<Vec<String>> {
    if let Some(logs) = of_other_system(layout, Some(meta), attempts) {
        let mut logs: [Option<PathBuf>; 3] = [logs.combined, logs.stderr, logs.stdout];
        return logs.iter_mut().flatten().find_map(|log| tail(log, 0, most));
    }
    let is_head = |line: &str| line.as_bytes().get(HEAD - 1) == Some(&b' ') && line.is_char_boundary(HEAD);
    lines(&layout.combined(), 0, most, |line| if is_head(line) { HEAD } else { 0 })
}

/// Returns the last lines of a log, from an offset on, if there are any. `head` returns the length of the part
/// before the text of a line.
fn lines(log: &Path, start: u64, most: usize, head: impl Fn(&str) -> usize) -> Option<Vec<String>> {
    let bytes = read_end(log, start, TAIL).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let texts: Vec<&str> = text.lines().map(|line| line.get(head(line)..).unwrap_or(line)).collect();
    let text = without_escapes(&texts.join("\n"));
    let text = redact_text(&text);
    let shown = |line: &str| line.rsplit('\r').find(|part| !part.is_empty()).unwrap_or_default().to_owned();
    let mut lines: Vec<String> = text.lines().map(shown).filter(|line| !line.trim().is_empty()).collect();
    lines.drain(..lines.len().saturating_sub(most));
    (!lines.is_empty()).then_some(lines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use tempfile::TempDir;

    #[test]
    fn the_last_lines_have_no_head_no_escapes_and_no_secrets() {
        let dir = TempDir::new().unwrap();
        let layout = Layout::new(dir.path());
        assert_eq!(last_output(&layout, &Meta::default(), 1, 3), None);
        let line = |text: &str| format!("2026-01-29T12:00:00.123456Z stdout F {text}\n");
        let bar = "10%\r20%\r";
        let text = ["one", "", "\u{1b}[31mtwo\u{1b}[0m", bar, "password=hunter2xyz"].map(line).concat();
        fs::write(layout.combined(), text).unwrap();
        let shown = last_output(&layout, &Meta::default(), 1, 3).unwrap();
        assert_eq!(shown[..2], ["two", "20%"]);
        assert!(!shown[2].contains("hunter2xyz"), "{shown:?}");
    }
}
