//! Reads metric rows off a log that was written before: what run-exec would have read off the output.

use super::{Patterns, Scraper};
use crate::lines::LineReader;
use run_common::fsio::open_regular;
use std::io::{self, Write};
use std::path::Path;

/// Looks for rows in a log, and writes them as lines of JSON; returns how many they are. A log that is missing, or no
/// file, has none.
pub fn scrape_log(log: &Path, patterns: &Patterns, out: &mut impl Write) -> io::Result<u64> {
    let Some(file) = open_regular(log)? else { return Ok(0) };
    let mut scraper = Scraper::new(patterns.clone());
    let (mut rows, mut text) = (0, Vec::new());
    LineReader::default().read(&file, u64::MAX, &mut |_, line| {
        let Some(line) = line.map(last_drawn) else { return Ok(()) };
        let is_wanted = line.first().is_some_and(|&first| scraper.wanted()[usize::from(first)]);
        if let Some(row) = is_wanted.then(|| scraper.line(line)).flatten() {
            rows += 1;
            text.clear();
            row.write_line(&mut text);
            out.write_all(&text)?;
        }
        Ok(())
    })?;
    Ok(rows)
}

/// Returns a line without its end, as it was last drawn.
fn last_drawn(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let mut states = line.rsplit(|&byte| byte == b'\r');
    states.find(|state| !state.is_empty()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_read_as_its_lines_were_last_drawn() {
        let mut log = tempfile::NamedTempFile::new().unwrap();
        log.write_all(
            b"epoch 1: loss 0.5\n 50%|#\r\repoch 2: loss 0.25\r\nn_layer = 2\nE3 acc=1\nepoch 4: loss",
        )
        .unwrap();
        let rows = |specs: &[&str]| {
            let specs: Vec<String> = specs.iter().map(|&spec| spec.to_owned()).collect();
            let mut out = Vec::new();
            let count = scrape_log(log.path(), &Patterns::parse(&specs).unwrap(), &mut out).unwrap();
            (count, String::from_utf8(out).unwrap())
        };
        let known = "{\"epoch\":1,\"loss\":0.5}\n{\"epoch\":2,\"loss\":0.25}\n";
        let own = r"^E(?<epoch>\d+) acc=(?<acc>\d+)$";
        assert_eq!(rows(&[]), (2, known.to_owned()));
        assert_eq!(rows(&[own]), (3, format!("{known}{{\"epoch\":3,\"acc\":1}}\n")));
        assert_eq!(rows(&[own, "none"]), (1, "{\"epoch\":3,\"acc\":1}\n".to_owned()));
        let mut out = Vec::new();
        assert_eq!(scrape_log(Path::new("/nowhere"), &Patterns::default(), &mut out).unwrap(), 0);
        assert_eq!(scrape_log(Path::new("/dev"), &Patterns::default(), &mut out).unwrap(), 0);
    }
}
