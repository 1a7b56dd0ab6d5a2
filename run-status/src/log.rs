//! Prints a run's log as the command wrote it.

use crate::cli::Log;
use run_common::cli::out::Out;
use run_common::error::{Error, Exit};
use run_common::fsio::read::open_file;
use run_common::rundir::layout::Layout;
use run_common::rundir::observe::Observer;
use run_common::rundir::open::RunDir;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::PathBuf;
use std::time::Duration;

/// How often to look at a followed log.
const PAUSE: Duration = Duration::from_millis(100);

/// Length of the time, the stream and the tag before each line of combined.log.
const HEAD: usize = "2026-01-29T12:00:00.123456Z stdout F ".len();

/// Bytes to read of a line of combined.log at a time; most lines are shorter.
const PIECE: u64 = 64 << 10;

/// Prints a log, and what is appended to it until the run has ended.
pub(crate) fn print(
    run: &RunDir,
    which: Log,
    follow: bool,
    observer: &Observer,
    out: &mut Out,
) -> Result<Exit, Error> {
    let layout = run.layout();
    let path = path(layout, which)?;
    let failed = |error| Error::io("read", &path, error);
    let mut log: Option<BufReader<File>> = None;
    let mut is_within = false;
    let mut has_ended = !follow || observer.observe(run)?.status().has_ended();
    loop {
        if log.is_none() {
            log = match open_file(&path) {
                Ok(file) => Some(BufReader::with_capacity(64 << 10, file)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => None, // nothing was written yet
                Err(error) => return Err(failed(error)),
            };
        }
        if let Some(log) = &mut log {
            match which {
                Log::Combined if layout.foreign().is_none() => {
                    print_lines(log, out, has_ended, &mut is_within).map_err(failed)??;
                }
                Log::Combined | Log::Stdout | Log::Stderr => print_bytes(log, out).map_err(failed)??,
            }
        }
        out.flush()?;
        if has_ended {
            return Ok(Exit::Ok);
        }
        out.pause(PAUSE)?;
        has_ended = observer.observe(run)?.status().has_ended();
    }
}

/// Returns where a log is. A run of another system may not have it.
fn path(layout: &Layout, which: Log) -> Result<PathBuf, Error> {
    let Some(foreign) = layout.foreign() else {
        return Ok(match which {
            Log::Combined => layout.combined(),
            Log::Stdout => layout.stdout(),
            Log::Stderr => layout.stderr(),
        });
    };
    let logs = foreign.logs(layout.root());
    let (path, name) = match which {
        Log::Combined => (logs.combined.or(logs.stdout), "log"),
        Log::Stdout => (logs.stdout, "log of its stdout alone"),
        Log::Stderr => (logs.stderr, "log of its stderr alone"),
    };
    path.ok_or_else(|| {
        let what = format!("cannot print the log of '{}'", layout.root().display());
        Error::new(Exit::BadRun, what).because(format!("a run of {} has no {name}", foreign.name()))
    })
}

fn print_bytes(log: &mut BufReader<File>, out: &mut Out) -> io::Result<Result<(), Error>> {
    loop {
        let bytes = log.fill_buf()?;
        if bytes.is_empty() {
            return Ok(Ok(()));
        }
        if let Err(error) = out.bytes(bytes) {
            return Ok(Err(error));
        }
        let count = bytes.len();
        log.consume(count);
    }
}

/// Prints whole lines without their prefix, and joins the pieces of a line. An unfinished line waits for its
/// end, unless the log is complete or the line is long already; then `is_within` is set, and the next piece
/// belongs to the line.
fn print_lines(
    log: &mut BufReader<File>,
    out: &mut Out,
    last: bool,
    is_within: &mut bool,
) -> io::Result<Result<(), Error>> {
    let mut line = Vec::new();
    loop {
        line.clear();
        let count = log.by_ref().take(PIECE).read_until(b'\n', &mut line)? as u64;
        if count == 0 {
            return Ok(Ok(()));
        }
        let is_whole = line.ends_with(b"\n");
        if !is_whole && !last && count < PIECE {
            log.seek_relative(-i64::try_from(count).unwrap_or_default())?;
            return Ok(Ok(()));
        }
        let is_piece = !*is_within && line.get(HEAD - 2) == Some(&b'P');
        let text = if *is_within { &line } else { line.get(HEAD..).unwrap_or(&line) };
        let text = if is_piece { text.strip_suffix(b"\n").unwrap_or(text) } else { text };
        *is_within = !is_whole;
        if let Err(error) = out.bytes(text) {
            return Ok(Err(error));
        }
    }
}
