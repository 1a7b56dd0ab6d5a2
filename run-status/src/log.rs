//! A run's log as the command wrote it.

use crate::cli::{Args, Log};
use run_common::cli::operands::open_one;
use run_common::cli::out::Out;
use run_common::error::{Error, Exit};
use run_common::rundir::observe::Observer;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::time::Duration;

/// How often a log that is followed is looked at.
const PAUSE: Duration = Duration::from_millis(100);

/// Length of the time, the stream and the tag before each line of combined.log.
const HEAD: usize = "2026-01-29T12:00:00.123456Z stdout F ".len();

/// Prints a log, and what is added to it until the run has ended.
pub(crate) fn print(args: &Args, which: Log, observer: &Observer, out: &mut Out) -> Result<Exit, Error> {
    let [operand] = args.runs.as_slice() else { return Err(Error::usage("--log takes one run")) };
    if operand == "-" {
        return Err(Error::usage("--log takes one run"));
    }
    let run = open_one(operand, &args.runs_dir.path())?;
    let layout = run.layout();
    let follow = args.follow;
    let path = match which {
        Log::Combined => layout.combined(),
        Log::Stdout => layout.stdout(),
        Log::Stderr => layout.stderr(),
    };
    let failed = |error| Error::io("read", &path, error);
    let mut log: Option<BufReader<File>> = None;
    let mut has_ended = observer.observe(&run)?.status().has_ended();
    loop {
        if log.is_none() {
            log = match File::open(&path) {
                Ok(file) => Some(BufReader::with_capacity(64 << 10, file)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => None, // nothing was written yet
                Err(error) => return Err(failed(error)),
            };
        }
        if let Some(log) = &mut log {
            match which {
                Log::Combined => print_lines(log, out, has_ended || !follow).map_err(failed)??,
                Log::Stdout | Log::Stderr => print_bytes(log, out).map_err(failed)??,
            }
        }
        out.flush()?;
        if has_ended || !follow {
            return Ok(Exit::Ok);
        }
        out.pause(PAUSE)?;
        has_ended = observer.observe(&run)?.status().has_ended();
    }
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

/// Prints whole lines without what stands before them, and pieces of a line as one. A line that is
/// still being written waits, unless nothing more is to come.
fn print_lines(log: &mut BufReader<File>, out: &mut Out, last: bool) -> io::Result<Result<(), Error>> {
    let mut line = Vec::new();
    loop {
        line.clear();
        log.read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Ok(Ok(()));
        }
        if !line.ends_with(b"\n") && !last {
            log.seek_relative(-i64::try_from(line.len()).unwrap_or_default())?;
            return Ok(Ok(()));
        }
        let is_piece = line.get(HEAD - 2) == Some(&b'P');
        let text = line.get(HEAD..).unwrap_or(&line);
        let text = if is_piece { text.strip_suffix(b"\n").unwrap_or(text) } else { text };
        if let Err(error) = out.bytes(text) {
            return Ok(Err(error));
        }
    }
}
