//! Determines the step of a checkpoint whose name has none: from its own record, from its contents, or from the
//! metrics that the run had logged when the checkpoint was written.

use crate::checkpoint::Size;
use crate::contents::modified_ns;
use crate::document;
use crate::overwritten::Overwritten;
use crate::saved_step::saved;
use run_common::fsio::open_regular;
use run_common::rundir::attempts::Attempts;
use run_common::rundir::layout::Layout;
use run_common::time::Timestamp;
use run_metrics::of_run;
use run_metrics::row::{MetricRow, MetricValue};
use run_metrics::scrape::{Patterns, Scraper};
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

/// Maximum total size of the files that are read for a step, in bytes.
const MOST: u64 = 64 << 20;

/// Returns the step that a directory records.
pub(crate) fn own_step(path: &Path) -> Option<u64> {
    let record = |name: &str| document::record(&path.join(name)).ok();
    record("training_info.json")
        .and_then(|row| document::step(&row, &["step", "global_step"]))
        .or_else(|| document::step(&record("trainer_state.json")?, &["global_step"]))
}

/// Returns the step of a checkpoint that is overwritten in place; `path` is below the run. In order of
/// preference: the step in the checkpoint; the step of the last metric row before it was written, by the times
/// of rows or as run-exec recorded it; the epoch in the checkpoint.
pub(crate) fn step_of_overwritten(layout: &Layout, path: &Path, size: Size) -> Option<u64> {
    let saved = saved(&layout.root().join(path));
    let logged = || logged(layout, size.modified_ns);
    let seen = || Overwritten::read(layout).step(path, size);
    saved.step.or_else(logged).or_else(seen).or(saved.epoch)
}

/// Returns the step that a run had logged at a time, in nanoseconds since 1970; `None` if unknown.
fn logged(layout: &Layout, at_ns: i128) -> Option<u64> {
    let source = of_run::source(layout)?;
    let metas: Vec<_> = source.paths().filter_map(|path| fs::metadata(path).ok()).collect();
    if metas.iter().map(std::fs::Metadata::len).sum::<u64>() > MOST {
        return None;
    }
    // If no file of metrics is newer than the checkpoint, all rows precede it.
    let is_newest = metas.iter().map(modified_ns).max().is_some_and(|newest| newest <= at_ns);
    let (mut last, mut timed, mut has_times) = (None, None, false);
    of_run::rows(layout, &mut |row, _| {
        last = step(&row).or(last);
        if let Some(ns) = time_ns(&row) {
            has_times = true;
            if ns <= at_ns {
                timed = step(&row).or(timed);
            }
        }
    })
    .ok()?;
    match (is_newest, has_times) {
        (true, _) => last,
        (false, true) => timed,
        (false, false) if source.paths().any(|path| path == layout.scraped()) => printed(layout, at_ns),
        (false, false) => None,
    }
}

/// Returns the step of a row, if it is a whole number.
fn step(row: &MetricRow) -> Option<u64> {
    let (key, _) = row.step()?;
    document::step(row, &[key])
}

/// Returns the time at which a row was logged, in nanoseconds, if the row has one: seconds or milliseconds
/// since 1970, or an ISO 8601 text.
fn time_ns(row: &MetricRow) -> Option<i128> {
    #[expect(clippy::cast_possible_truncation, reason = "out of range, it is later than any file")]
    if let Some(seconds) = row.logged() {
        return Some((seconds * 1e9) as i128);
    }
    ["_timestamp", "timestamp", "wall_time", "time", "ts"].iter().find_map(|key| match row.get(key)? {
        #[expect(clippy::cast_possible_truncation, reason = "it is small")]
        MetricValue::Number(seconds) if (1e9..1e10).contains(seconds) => Some((seconds * 1e9) as i128),
        #[expect(clippy::cast_possible_truncation, reason = "it is small")]
        MetricValue::Number(millis) if (1e12..1e13).contains(millis) => Some((millis * 1e6) as i128),
        MetricValue::Other(value) => {
            let time: Timestamp = serde_json::from_value(value.clone()).ok()?;
            Some(i128::from(time.millis()) * 1_000_000)
        }
        MetricValue::Number(_) => None,
    })
}

/// Returns the step of the last row that was printed before a time, by the timestamps in combined.log.
fn printed(layout: &Layout, at_ns: i128) -> Option<u64> {
    let file = open_regular(&layout.root().join("combined.log")).ok()??;
    if file.metadata().ok()?.len() > MOST {
        return None;
    }
    let millis = Timestamp::from_millis(i64::try_from(at_ns.div_euclid(1_000_000)).ok()?)?.to_string();
    let end = format!("{}{:03}", millis.strip_suffix('Z')?, at_ns.rem_euclid(1_000_000) / 1000);
    let attempts = Attempts::read(layout).ok()?;
    let specs = attempts.last().and_then(|last| last.start.options.scrape.clone()).unwrap_or_default();
    let patterns = Patterns::parse(&specs).ok()?;
    let mut scrapers = [Scraper::new(patterns.clone()), Scraper::new(patterns)];
    let (mut reader, mut line, mut found) = (BufReader::new(file.take(MOST)), Vec::new(), None);
    while reader.read_until(b'\n', &mut line).ok()? > 0 {
        let text = line.trim_ascii_end();
        if text.get(..end.len()).is_some_and(|time| time > end.as_bytes()) {
            break;
        }
        let scraper =
            &mut scrapers[usize::from(text.get(28..).is_some_and(|rest| rest.starts_with(b"stderr")))];
        if let Some(printed) = text.get(TEXT..) {
            found = scraper.line(printed).and_then(|row| step(&row)).or(found);
        }
        line.clear();
    }
    found
}

/// Offset of the text in a line of combined.log (run-dir(5)).
const TEXT: usize = "2026-01-29T12:00:00.123456Z stdout F ".len();
