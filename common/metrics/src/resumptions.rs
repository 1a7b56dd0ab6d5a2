//! Where and when the attempts of a run began, which assigns rows to attempts.

use super::row_reader::SourceFormat;
use run_common::fsio::open_regular;
use run_common::rundir;
use run_common::rundir::attempts::AttemptStart;
use run_common::rundir::fingerprint::fingerprint;
use run_common::rundir::layout::Layout;
use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// The attempts of a run after the first, the oldest first; empty for a run without a record.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resumptions(Vec<Begun>);

#[derive(Clone, Debug, PartialEq)]
struct Begun {
    /// The start, in milliseconds since 1970.
    time: i64,
    /// Lengths of files at the start, and fingerprints of their beginnings.
    offsets: BTreeMap<String, u64>,
    fingerprints: BTreeMap<String, String>,
}

impl Begun {
    fn of(start: &AttemptStart) -> Self {
        let (offsets, fingerprints) = (start.offsets.clone(), start.fingerprints.clone());
        Self { time: start.start_time.millis(), offsets, fingerprints }
    }
}

/// Returns whether a line of a file begins at an offset; true if that is unknown.
fn is_line_start(path: &Path, offset: u64) -> bool {
    let Some(at) = offset.checked_sub(1) else { return true };
    let mut before = [0];
    match open_regular(path).map(|file| file.map(|file| file.read_at(&mut before, at))) {
        Ok(Some(Ok(1))) => before == *b"\n",
        _ => true,
    }
}

impl Resumptions {
    /// Takes the attempts after the first from attempts.jsonl.
    pub fn of(attempts: &rundir::attempts::Attempts) -> Self {
        let later = attempts.iter().map(|one| &one.start).filter(|start| start.attempt > 1);
        Self(later.map(Begun::of).collect())
    }

    /// Reads the attempts.jsonl of a run. A run of another system has at most one attempt.
    pub fn read(layout: &Layout) -> io::Result<Self> {
        if layout.foreign().is_some() {
            return Ok(Self::default());
        }
        Ok(Self::of(&rundir::attempts::Attempts::read(layout)?))
    }

    /// Creates a second attempt, which began at this time, when a file had this length.
    #[cfg(test)]
    pub(crate) fn resumed(time: run_common::time::Timestamp, file: &str, offset: u64) -> Self {
        let (offsets, fingerprints) = ([(file.to_owned(), offset)].into(), BTreeMap::new());
        Self(vec![Begun { time: time.millis(), offsets, fingerprints }])
    }

    /// Takes the fingerprint of the one file that an attempt recorded.
    #[cfg(test)]
    pub(crate) fn fingerprinted(mut self, path: &Path) -> Self {
        for begun in &mut self.0 {
            let of = |(name, length): (&String, &u64)| Some((name.clone(), fingerprint(path, *length)?));
            begun.fingerprints = begun.offsets.iter().filter_map(of).collect();
        }
        self
    }

    /// Returns whether at most one attempt is known.
    pub(super) fn is_single(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the offsets at which the attempts after the first began in a file, which has this name in the
    /// records. The offset is 0 if an attempt recorded none, or if the file was rewritten since.
    pub(super) fn boundaries(&self, name: &str, path: &Path, format: SourceFormat) -> Vec<u64> {
        let of = |begun: &Begun| begun.offsets.get(name).copied().unwrap_or_default();
        let mut boundaries: Vec<u64> = self.0.iter().map(of).collect();
        let mut pairs = self.0.iter().zip(&boundaries);
        let is_another = |(begun, &length): (&Begun, &u64)| match (format, begun.fingerprints.get(name)) {
            (SourceFormat::Csv | SourceFormat::Lines, Some(known)) => {
                fingerprint(path, length).as_ref() != Some(known)
            }
            (SourceFormat::Csv, None) => !is_line_start(path, length), // written by an older version
            _ => false,
        };
        if let Some(last) = pairs.rposition(is_another) {
            boundaries[..=last].fill(0);
        }
        boundaries
    }

    /// Adds the current attempt, unless it is among them already.
    #[must_use]
    pub fn with(mut self, present: &AttemptStart) -> Self {
        let time = present.start_time.millis();
        if present.attempt > 1 && self.0.last().is_none_or(|last| last.time != time) {
            self.0.push(Begun::of(present));
        }
        self
    }

    /// Returns the number of attempts after the first.
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// Returns whether an attempt recorded the length of a file.
    pub(super) fn knows(&self, name: &str) -> bool {
        self.0.iter().any(|begun| begun.offsets.contains_key(name))
    }

    /// Returns the number of the attempt, from 0, at a time in seconds since 1970.
    pub(super) fn at(&self, seconds: f64) -> usize {
        #[expect(clippy::cast_precision_loss, reason = "times are far below 2^53 milliseconds")]
        self.0.iter().filter(|begun| begun.time as f64 <= seconds * 1000.0).count()
    }
}
