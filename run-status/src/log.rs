//! Prints a run's log as the command wrote it.

use crate::cli::Log;
use run_common::cli::out::Out;
use run_common::error::{Error, Exit};
use run_common::fsio::read::open_file;
use run_common::message::warn;
use run_common::rundir::layout::Layout;
use run_common::rundir::meta::Meta;
use run_common::rundir::observe::Observer;
use run_common::rundir::open::RunDir;
use run_common::rundir::recorded::Recorded;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::Duration;

/// How often to look at a followed log.
const PAUSE: Duration = Duration::from_millis(100);

/// Length of the time, the stream and the tag before each line of combined.log.
const HEAD: usize = "2026-01-29T12:00:00.123456Z stdout F ".len();

/// Bytes to read of a line of combined.log at a time; most lines are shorter.
const PIECE: u64 = 64 << 10;

/// Bytes of a log that are compared before more is read.
const SEEN: u64 = 128;

/// Prints a log, and what is appended to it until the run has ended.
pub(crate) fn print(
    run: &RunDir,
    which: Log,
    follow: bool,
    observer: &Observer,
    out: &mut Out,
) -> Result<Exit, Error> {
    let Parts { earlier, path, begin, has_heads } = Parts::of(run.layout(), which)?;
    if let Some(log) = &earlier {
        print_earlier(log, out)?;
    }
    let failed = |error| Error::io("read", &path, error);
    let mut log: Option<BufReader<File>> = None;
    let (mut is_within, mut seen) = (false, Vec::new());
    let mut has_ended = !follow || observer.observe(run)?.status().has_ended();
    loop {
        if log.is_none() {
            log = match open_file(&path) {
                Ok(mut file) => {
                    if begin > 0 {
                        file.seek(SeekFrom::Start(begin)).map_err(failed)?;
                    }
                    let mut log = BufReader::with_capacity(64 << 10, file);
                    seen = before(&mut log).map_err(failed)?;
                    Some(log)
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => None, // nothing was written yet
                Err(error) => return Err(failed(error)),
            };
        }
        if let Some(log) = &mut log {
            if before(log).map_err(failed)? != seen {
                warn(&format!("'{}' was cut: what follows is from its new beginning", path.display()));
                log.rewind().map_err(failed)?;
                is_within = false;
            }
            if has_heads {
                print_lines(log, out, has_ended, &mut is_within).map_err(failed)??;
            } else {
                print_bytes(log, out).map_err(failed)??;
            }
            if !has_ended {
                seen = before(log).map_err(failed)?;
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

/// Returns the last bytes before the place up to which a log was read. They change if the log is cut, however long it is
/// by now.
fn before(log: &mut BufReader<File>) -> io::Result<Vec<u8>> {
    let place = log.stream_position()?;
    let from = place.saturating_sub(SEEN);
    let mut bytes = vec![0; usize::try_from(place - from).unwrap_or_default()];
    match log.get_ref().read_exact_at(&mut bytes, from) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(Vec::new()),
        read => read.map(|()| bytes),
    }
}

/// Where a log is.
struct Parts {
    /// What the system of an adopted run wrote, which comes first.
    earlier: Option<EarlierPart>,
    /// The log itself, which need not exist.
    path: PathBuf,
    /// The offset at which it begins.
    begin: u64,
    /// Whether a time, a stream and a tag precede each line.
    has_heads: bool,
}

/// The beginning of a file.
struct EarlierPart {
    path: PathBuf,
    bytes: u64,
}

impl Parts {
    /// Finds a log. A run of another system may not have it, before and after its adoption.
    fn of(layout: &Layout, which: Log) -> Result<Self, Error> {
        if let Some(foreign) = layout.foreign() {
            let logs = foreign.logs(layout.root());
            let path = match which {
                Log::Combined => logs.combined.or(logs.stdout),
                Log::Stdout => logs.stdout,
                Log::Stderr => logs.stderr,
            };
            let path = path.ok_or_else(|| missing(layout, which, foreign.name()))?;
            return Ok(Self { earlier: None, path, begin: 0, has_heads: false });
        }
        let path = match which {
            Log::Combined => layout.combined(),
            Log::Stdout => layout.stdout(),
            Log::Stderr => layout.stderr(),
        };
        // A damaged meta.json hides no log.
        let Meta { system, logs, .. } = Meta::read(layout).unwrap_or_default();
        let logs = logs.unwrap_or_default();
        let earlier = match which {
            Log::Combined => logs.combined.or(logs.stdout),
            Log::Stdout => logs.stdout,
            Log::Stderr => logs.stderr,
        };
        let earlier = earlier.map(|log| EarlierPart { path: layout.root().join(log.path), bytes: log.bytes });
        let is_adopted_alone = || {
            Recorded::read(layout).is_ok_and(|run| run.attempts() == 1 && run.ended().is_some())
                && fs::symlink_metadata(&path).is_err()
        };
        if let (Some(system), None) = (system, &earlier)
            && is_adopted_alone()
        {
            return Err(missing(layout, which, &system));
        }
        let begin = earlier.as_ref().filter(|log| log.path == path).map_or(0, |log| log.bytes);
        Ok(Self { earlier, path, begin, has_heads: which == Log::Combined })
    }
}

/// Returns the error that the system of a run writes no such log.
fn missing(layout: &Layout, which: Log, system: &str) -> Error {
    let name = match which {
        Log::Combined => "log",
        Log::Stdout => "log of its stdout alone",
        Log::Stderr => "log of its stderr alone",
    };
    let what = format!("cannot print the log of '{}'", layout.root().display());
    let why = match system {
        "unknown" => format!("it was adopted without a {name}"),
        system => format!("a run of {system} has no {name}"),
    };
    Error::new(Exit::BadRun, what).because(why)
}

/// Prints the log of an adopted run as it was at the adoption, if it is still there.
fn print_earlier(log: &EarlierPart, out: &mut Out) -> Result<(), Error> {
    let failed = |error| Error::io("read", &log.path, error);
    match open_file(&log.path) {
        Ok(file) => print_bytes(&mut BufReader::new(file.take(log.bytes)), out).map_err(failed)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed(error)),
    }
}

fn print_bytes(log: &mut impl BufRead, out: &mut Out) -> io::Result<Result<(), Error>> {
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
