//! Metrics that are read from the logs of runs for a report, instead of the runs' own metrics.

use crate::run::Run;
use run_common::error::Error;
use run_common::fsio::write::create_with_mode;
use run_common::message::warn;
use run_common::rundir::attempts::{Attempt, Attempts};
use run_common::rundir::layout::MadeRows;
use run_metrics::scrape::Patterns;
use run_metrics::scrape::log::scrape_log;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use tempfile::TempDir;

/// Reads the logs of ended runs; a run without rows in its logs keeps its metrics. Returns the directory of
/// the rows, which is removed when dropped.
pub(crate) fn scrape(runs: &mut [Run], specs: &[String]) -> Result<TempDir, Error> {
    let patterns =
        Patterns::parse(specs).map_err(|cause| Error::usage("cannot use --scrape").because(cause))?;
    let unwritten = |error| Error::io("write", &std::env::temp_dir(), error);
    let scratch = tempfile::Builder::new().prefix("run-report-").tempdir().map_err(unwritten)?;
    let mut is_any = false;
    for (number, run) in runs.iter_mut().enumerate().filter(|(_, run)| run.seen.status().has_ended()) {
        let layout = run.seen.run.layout();
        let path = scratch.path().join(format!("{number}.jsonl"));
        // Most programs print their metrics to one of the two streams.
        let mut found = None;
        for log in [layout.stdout(), layout.stderr()] {
            let starts = starts(&run.attempts, &log);
            found = write(&log, &patterns, &path, &starts).map_err(|error| Error::io("read", &log, error))?;
            if found.is_some() {
                break;
            }
        }
        if let Some(begun) = found {
            run.seen.run = run.seen.run.clone().with_rows(MadeRows { path, begun });
            is_any = true;
        }
    }
    if !is_any {
        warn("--scrape matches no line of stdout.log or stderr.log of the runs that have ended");
    }
    Ok(scratch)
}

/// Returns the offsets at which attempts after the first began in a log.
fn starts(attempts: &Attempts, log: &Path) -> Vec<u64> {
    let name = log.file_name().unwrap_or_default().to_string_lossy();
    let start = |attempt: &Attempt| attempt.start.offsets.get(name.as_ref()).copied().unwrap_or_default();
    attempts.iter().skip(1).map(start).collect()
}

/// Writes the rows of a log; returns the offsets at which the rows of later attempts begin, if there are any
/// rows.
fn write(log: &Path, patterns: &Patterns, rows: &Path, starts: &[u64]) -> io::Result<Option<Vec<u64>>> {
    let mut out = BufWriter::new(create_with_mode(rows, 0o600)?);
    let (mut begun, mut length, mut line) = (Vec::new(), 0, Vec::new());
    scrape_log(log, patterns, &mut |offset, row| {
        while starts.get(begun.len()).is_some_and(|start| *start <= offset) {
            begun.push(length);
        }
        line.clear();
        row.write_line(&mut line);
        length += line.len() as u64;
        out.write_all(&line)
    })?;
    out.flush()?;
    begun.resize(starts.len(), length);
    Ok((length > 0).then_some(begun))
}
