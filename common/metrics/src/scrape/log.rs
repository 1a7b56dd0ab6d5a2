//! Reads metric rows from an earlier log: the rows that run-exec would have read from the output.

use super::{Patterns, Scraper};
use crate::lines::LineReader;
use crate::row::MetricRow;
use run_common::fsio::open_regular;
use std::io;
use std::path::Path;

/// Finds rows in a log, and passes each on with the offset of its line. A log that is missing, or not a file,
/// has no rows.
pub fn scrape_log(
    log: &Path,
    patterns: &Patterns,
    each: &mut dyn FnMut(u64, &MetricRow) -> io::Result<()>,
) -> io::Result<()> {
    let Some(file) = open_regular(log)? else { return Ok(()) };
    let mut scraper = Scraper::new(patterns.clone());
    let mut act = |offset, line: Option<&[u8]>| {
        let row = line.and_then(|line| scraper.printed(line));
        row.map_or(Ok(()), |row| each(offset, &row))
    };
    LineReader::default().read(&file, u64::MAX, &mut act).map(drop)
}

impl Scraper {
    /// Reads a line of a log with its newline; returns the row that its last drawn state completes.
    pub(crate) fn printed(&mut self, line: &[u8]) -> Option<MetricRow> {
        let line = last_drawn(line);
        let is_wanted = line.first().is_some_and(|&first| self.wanted()[usize::from(first)]);
        is_wanted.then(|| self.line(line)).flatten()
    }
}

/// Returns the last drawn state of a line, without its newline.
fn last_drawn(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let mut states = line.rsplit(|&byte| byte == b'\r');
    states.find(|state| !state.is_empty()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_log_is_read_as_its_lines_were_last_drawn() {
        let mut log = tempfile::NamedTempFile::new().unwrap();
        log.write_all(
            b"epoch 1: loss 0.5\n 50%|#\r\repoch 2: loss 0.25\r\nn_layer = 2\nE3 acc=1\nepoch 4: loss",
        )
        .unwrap();
        let scraped = |path: &Path, specs: &[&str]| {
            let specs: Vec<String> = specs.iter().map(|&spec| spec.to_owned()).collect();
            let (mut offsets, mut out) = (Vec::new(), Vec::new());
            let mut each = |offset, row: &MetricRow| {
                offsets.push(offset);
                row.write_line(&mut out);
                Ok(())
            };
            scrape_log(path, &Patterns::parse(&specs).unwrap(), &mut each).unwrap();
            (offsets, String::from_utf8(out).unwrap())
        };
        let rows = |specs: &[&str]| scraped(log.path(), specs);
        let known = "{\"epoch\":1,\"loss\":0.5}\n{\"epoch\":2,\"loss\":0.25}\n";
        let own = r"^E(?<epoch>\d+) acc=(?<acc>\d+)$";
        assert_eq!(rows(&[]), (vec![0, 18], known.to_owned()));
        assert_eq!(rows(&[own]), (vec![0, 18, 58], format!("{known}{{\"epoch\":3,\"acc\":1}}\n")));
        assert_eq!(rows(&[own, "none"]), (vec![58], "{\"epoch\":3,\"acc\":1}\n".to_owned()));
        for none in ["/nowhere", "/dev"] {
            assert_eq!(scraped(Path::new(none), &[]), (vec![], String::new()));
        }
    }
}
