//! The metrics of a run: the files that count, and their rows.

use crate::follow::chosen;
use crate::foreign;
use crate::read::{self, RowCounts};
use crate::resumptions::Resumptions;
use crate::row::MetricRow;
use crate::source::MetricSource;
use crate::trainer_files::candidates;
use run_common::rundir::attempts::Attempts;
use run_common::rundir::layout::{Layout, MadeRows};
use run_common::rundir::recorded::Recorded;
use run_common::time::Timestamp;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Finds the metrics of a run: the files that its record names, else the best ones that exist (run-dir(5)).
/// Files that existed before the run was executed, and that no attempt has written to, do not belong to it.
pub fn source(layout: &Layout) -> Option<MetricSource> {
    let recorded = if layout.foreign().is_some() { None } else { Recorded::read(layout).ok() };
    source_by(layout, recorded.as_ref())
}

/// Like [`source`], with a record that was read before; `None` if there is none.
pub fn source_by(layout: &Layout, recorded: Option<&Recorded>) -> Option<MetricSource> {
    if let Some(MadeRows { path, begun }) = layout.rows() {
        return Some(MetricSource::made(path.clone(), begun.clone()));
    }
    if let Some(foreign) = layout.foreign() {
        return foreign::source(layout, foreign);
    }
    let attempt = recorded.and_then(Recorded::attempt);
    let step_key = attempt.and_then(|attempt| attempt.step_key.as_deref());
    let names = attempt.and_then(|attempt| attempt.metrics_from.as_deref()).unwrap_or_default();
    let is = |path: PathBuf| names.first().is_some_and(|name| layout.root().join(name) == path);
    let attempts = attempt.filter(|_| names.is_empty()).and_then(|_| Attempts::read(layout).ok());
    if let Some(name) = attempts.as_ref().and_then(named) {
        return MetricSource::named(layout.root(), name).map(|source| source.with_step_key(step_key));
    }
    if names.is_empty() || is(layout.metrics()) {
        // The usual case, which needs no search.
        if let Some(source) = MetricSource::lines(layout.metrics()) {
            return Some(source.with_step_key(step_key));
        }
    }
    let scraped = || MetricSource::lines(layout.scraped());
    let has_scraped = attempt.is_some_and(|attempt| !attempt.metrics.figures().is_empty());
    if is(layout.scraped()) || names.is_empty() && has_scraped {
        // A record without names was written by an older version, which read the output.
        if let Some(source) = scraped() {
            return Some(source.with_step_key(step_key));
        }
    }
    let mut candidates = candidates(layout, true);
    if let Some(first) = attempts.as_ref().and_then(|attempts| attempts.iter().next()) {
        let since = first.start.start_time;
        candidates.retain(|(rank, source)| {
            !rank.is_of_trainer() || source.paths().any(|path| is_since(path, since))
        });
    }
    let found = match (chosen(&candidates, names, layout.root()), names) {
        (Some(found), [_]) if candidates[found].1.has_tracks() => None, // the record names this file alone
        (found, _) => found,
    };
    let found = found.map(|found| candidates.swap_remove(found).1);
    let named = || names.first().and_then(|name| MetricSource::named(layout.root(), name));
    let source = found.or_else(named).or_else(|| Some(candidates.into_iter().next()?.1))?;
    Some(source.with_step_key(step_key))
}

/// Returns the file that `--metrics` names for the last attempt; no other file counts then.
fn named(attempts: &Attempts) -> Option<&String> {
    attempts.last()?.start.options.metrics.as_ref()
}

/// Returns whether a file was written since a time. File systems take the time of the last tick of the kernel.
fn is_since(path: &Path, since: Timestamp) -> bool {
    const TICK: i128 = 10; // milliseconds
    let modified = fs::metadata(path).and_then(|file| file.modified());
    let millis = |time: SystemTime| time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    modified.is_ok_and(|modified| {
        i128::try_from(millis(modified)).is_ok_and(|time| time + TICK >= since.millis().into())
    })
}

/// Reads the rows that count, each with the number of its attempt from 1, in bounded memory. A run without
/// metrics has no rows.
pub fn rows(layout: &Layout, each: &mut dyn FnMut(MetricRow, usize)) -> io::Result<RowCounts> {
    match source(layout) {
        Some(source) => read::rows(&source, &Resumptions::read(layout)?, each),
        None => Ok(RowCounts::default()),
    }
}
