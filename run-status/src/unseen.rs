//! Warnings about metrics that were expected and not found.

use run_common::fsio::read::read_start;
use run_common::rundir::attempts::Attempts;
use run_common::rundir::observe::Observed;
use run_common::rundir::status::Status;
use run_common::text::cut;
use run_metrics::scrape::{Patterns, WAYS_TO_METRICS};
use std::fs;

/// Seconds that a program may print without a metric before the warning. Once it has ended by itself or on request,
/// there is nothing to wait for; a program that failed early has other problems.
const PATIENCE: f64 = 60.0;

/// Bytes to search of the rows that were read from the output.
const ROWS: u64 = 1 << 20;

/// Returns warnings that the output of the last attempt contained no metric, or that some `--scrape` patterns
/// have matched no line.
pub(crate) fn unseen(run: &Observed, attempts: &Attempts) -> Option<String> {
    let layout = run.run.layout();
    if layout.foreign().is_some() {
        return None; // nobody looked
    }
    let start = &attempts.last()?.start;
    let has_ended = run.status().has_ended();
    let is_over = matches!(run.status(), Status::Completed | Status::Stopped);
    let is_late = is_over || run.duration_s().is_some_and(|seconds| seconds >= PATIENCE);
    let has_printed = [layout.stdout(), layout.stderr()].into_iter().any(|log| {
        let name = log.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let before = start.offsets.get(&name).copied().unwrap_or_default();
        fs::metadata(log).is_ok_and(|file| file.len() > before)
    });
    if !has_printed || !is_late && !has_ended {
        return None;
    }
    let figures = run.recorded.metrics().figures();
    let rows = read_start(&layout.scraped(), ROWS).unwrap_or_default();
    let rows = String::from_utf8_lossy(&rows);
    let is_seen = |name: &String| figures.contains_key(name) || rows.contains(&format!("\"{name}\":"));
    let specs = start.options.scrape.as_deref().unwrap_or_default();
    let unmatched = specs.iter().find(|spec| {
        let patterns = Patterns::parse(std::slice::from_ref(spec)).unwrap_or_default();
        patterns.own.iter().any(|pattern| !pattern.names().any(|name| is_seen(&name.to_owned())))
    });
    match unmatched {
        Some(spec) => Some(format!("--scrape '{}' has matched no line", cut(spec, 60))),
        None if figures.is_empty() && is_late => Some(format!("no metric was seen: {WAYS_TO_METRICS}")),
        None => None,
    }
}
