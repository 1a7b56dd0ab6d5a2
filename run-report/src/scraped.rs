//! Metrics that are read off the logs of runs for a report, in place of those that the runs have.

use crate::run::Run;
use run_common::error::Error;
use run_common::fsio::write::create_with_mode;
use run_common::message::warn;
use run_metrics::scrape::Patterns;
use run_metrics::scrape::log::scrape_log;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use tempfile::TempDir;

/// Reads the logs of the runs that have ended; a run in which nothing is found keeps its metrics. Returns the
/// directory that the rows are in, which is removed when it is dropped.
pub(crate) fn scrape(runs: &mut [Run], specs: &[String]) -> Result<TempDir, Error> {
    let patterns =
        Patterns::parse(specs).map_err(|cause| Error::usage("cannot use --scrape").because(cause))?;
    let unwritten = |error| Error::io("write", &std::env::temp_dir(), error);
    let scratch = tempfile::Builder::new().prefix("run-report-").tempdir().map_err(unwritten)?;
    let mut is_any = false;
    for (number, run) in runs.iter_mut().enumerate().filter(|(_, run)| run.seen.status().has_ended()) {
        let layout = run.seen.run.layout();
        let rows = scratch.path().join(format!("{number}.jsonl"));
        // Most programs print their metrics to one of the two.
        let mut found = 0;
        for log in [layout.stdout(), layout.stderr()] {
            found = write(&log, &patterns, &rows).map_err(|error| Error::io("read", &log, error))?;
            if found > 0 {
                break;
            }
        }
        if found > 0 {
            run.seen.run = run.seen.run.clone().with_rows(rows);
            is_any = true;
        }
    }
    if !is_any {
        warn("--scrape matches no line of stdout.log or stderr.log of the runs that have ended");
    }
    Ok(scratch)
}

fn write(log: &Path, patterns: &Patterns, rows: &Path) -> io::Result<u64> {
    let mut out = BufWriter::new(create_with_mode(rows, 0o600)?);
    let found = scrape_log(log, patterns, &mut out)?;
    out.flush().map(|()| found)
}
