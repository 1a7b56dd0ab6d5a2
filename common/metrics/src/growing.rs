//! Reads the rows that are appended to the files of a source, and keeps the figures of the rows that count.

use super::figures::Figures;
use super::read::Origins;
use super::resumptions::Resumptions;
use super::row_reader::{RowReader, SourceFormat};
use super::source::{MetricSource, SourceFile};
use super::supersede::FirstSteps;
use run_common::fsio::read::LIMIT;
use run_common::fsio::stamp::Stamp;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

/// Maximum number of bytes of each file to read in one call: a heartbeat must not wait for a gigabyte.
const PIECE: u64 = LIMIT;

/// Numbers of bytes that identify a file: at its beginning, and before the position up to which it was read. A
/// rewritten file differs there.
const HEAD: usize = 256;
const TAIL: usize = 64;

/// After a step that goes back, everything is read again. If that took longer than this, the next time waits
/// until this many times its duration has passed.
const READ_AGAIN: Duration = Duration::from_millis(10);
const RARENESS: u32 = 100;

/// The result of reading what was appended to a source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Growth {
    /// Whether the current attempt added a row.
    pub has_rows: bool,
    /// Whether the figures have changed.
    pub is_changed: bool,
    /// Whether some appended bytes are still unread.
    pub is_behind: bool,
}

impl Growth {
    /// Adds the result of a later read.
    pub fn add(&mut self, later: Self) {
        self.has_rows |= later.has_rows;
        self.is_changed |= later.is_changed;
        self.is_behind = later.is_behind;
    }
}

/// A source that is read as it grows.
#[derive(Debug)]
pub(super) struct Growing {
    source: MetricSource,
    files: Vec<GrowingFile>,
    figures: Figures,
    /// Where the rows of each start begin.
    starts: FirstSteps,
    attempts: Resumptions,
    is_begun: bool,
    /// Whether rows that were counted may have been superseded since.
    repeats: bool,
    /// The metric whose course is kept, if any.
    traced: Option<String>,
    /// Time before which superseded rows are not removed from the figures.
    read_again_at: Instant,
}

/// A file of a source that grows.
#[derive(Debug)]
struct GrowingFile {
    reader: RowReader,
    origins: Origins,
    /// Its size and times at the last look.
    stamp: Option<Stamp>,
    head: Vec<u8>,
    tail: Vec<u8>,
}

impl GrowingFile {
    fn new(source: &MetricSource, file: &SourceFile, attempts: &Resumptions) -> Self {
        Self {
            reader: RowReader::new(source.format()),
            origins: Origins::of(file, source.format(), attempts),
            stamp: None,
            head: Vec::new(),
            tail: Vec::new(),
        }
    }

    /// Returns whether the file, of this length, was replaced since it was read.
    fn is_another(&self, file: &File, length: u64) -> bool {
        let position = self.reader.position();
        let least = position.max(self.origins.last_boundary());
        length < least || self.head != bytes(file, 0, self.head.len()) || self.tail != tail(file, position)
    }

    /// Records the bytes that identify the file.
    fn mark(&mut self, file: &File) {
        let position = self.reader.position();
        if self.head.len() < HEAD {
            self.head = bytes(file, 0, usize::try_from(position).map_or(HEAD, |position| position.min(HEAD)));
        }
        self.tail = tail(file, position);
    }
}

/// Reads up to `count` bytes at an offset.
fn bytes(file: &File, offset: u64, count: usize) -> Vec<u8> {
    let mut buffer = vec![0; count];
    let mut length = 0;
    while let Ok(read @ 1..) = file.read_at(&mut buffer[length..], offset + length as u64) {
        length += read;
    }
    buffer.truncate(length);
    buffer
}

fn tail(file: &File, position: u64) -> Vec<u8> {
    let start = position.saturating_sub(TAIL as u64);
    bytes(file, start, usize::try_from(position - start).unwrap_or(TAIL))
}

impl Growing {
    pub(super) fn new(source: MetricSource, attempts: &Resumptions) -> Self {
        let files = source.files().iter().map(|file| GrowingFile::new(&source, file, attempts)).collect();
        Self {
            source,
            files,
            figures: Figures::for_record(),
            starts: FirstSteps::default(),
            attempts: attempts.clone(),
            is_begun: false,
            repeats: false,
            traced: None,
            read_again_at: Instant::now(),
        }
    }

    pub(super) fn source(&self) -> &MetricSource {
        &self.source
    }

    pub(super) fn figures(&self) -> &Figures {
        &self.figures
    }

    /// Keeps the course of this metric; the next poll reads everything again.
    pub(super) fn trace(&mut self, metric: &str) {
        self.traced = Some(metric.to_owned());
        self.figures = std::mem::replace(&mut self.figures, Figures::for_record()).traced(Some(metric));
        self.repeats |= self.is_begun;
        self.hurry();
    }

    /// Makes the next poll remove superseded rows from the figures, however long that takes.
    pub(super) fn hurry(&mut self) {
        self.read_again_at = Instant::now();
    }

    /// Switches to a source that has the same files and further ones; `false` if `source` is not such.
    pub(super) fn extend(&mut self, source: &MetricSource) -> bool {
        let goes_on = source.format() == self.source.format()
            && source.step_key() == self.source.step_key()
            && self.source.files().iter().all(|file| source.files().contains(file));
        if goes_on {
            let mut old: Vec<Option<GrowingFile>> = self.files.drain(..).map(Some).collect();
            for file in source.files() {
                let known = self.source.files().iter().position(|known| known == file);
                let kept = known.and_then(|known| old[known].take());
                self.files.push(kept.unwrap_or_else(|| GrowingFile::new(source, file, &self.attempts)));
            }
            self.source = source.clone();
        }
        goes_on
    }

    /// Reads some or all appended rows. A rewritten file is read from its beginning.
    pub(super) fn poll(&mut self) -> io::Result<Growth> {
        let mut growth = Growth::default();
        let is_first = !std::mem::replace(&mut self.is_begun, true);
        if is_first {
            let ends: Vec<u64> = self.files.iter().map(|file| file.origins.last_boundary()).collect();
            if ends.iter().any(|&end| end > 0) {
                self.read_again(&ends)?;
                growth.is_changed = self.figures.rows() > 0;
            }
        }
        let mut must_read_again = false;
        for number in 0..self.files.len() {
            let Some(file) = self.source.open(&self.source.files()[number].path)? else { continue };
            let stamp = Stamp::of(&file.metadata()?);
            let known = &mut self.files[number];
            if known.stamp == Some(stamp) {
                continue;
            }
            known.stamp = Some(stamp);
            if known.reader.is_incremental() {
                if known.is_another(&file, stamp.length) {
                    known.origins.begin_anew(); // positions of earlier attempts are no longer valid
                    (known.reader, known.head) = (RowReader::new(self.source.format()), Vec::new());
                    must_read_again = true;
                }
            } else {
                must_read_again = true; // a document
            }
            if must_read_again {
                continue;
            }
            self.repeats |= self.read_on(&file, number, is_first, &mut growth)?;
            self.files[number].mark(&file);
            if growth.is_behind {
                self.files[number].stamp = None; // more is to be read
            }
        }
        let start = Instant::now();
        if must_read_again || self.repeats && start >= self.read_again_at {
            self.read_all_again(&mut growth)?;
            self.repeats = false;
            let took = start.elapsed();
            self.read_again_at = if took > READ_AGAIN { Instant::now() + took * RARENESS } else { start };
        }
        Ok(growth)
    }

    /// Reads rows appended to a file; returns whether rows that were counted may have been superseded.
    fn read_on(
        &mut self,
        file: &File,
        number: usize,
        is_first: bool,
        growth: &mut Growth,
    ) -> io::Result<bool> {
        let present = self.attempts.count();
        let of_source = &self.source.files()[number];
        let GrowingFile { reader, origins, .. } = &mut self.files[number];
        let (figures, starts, key) = (&mut self.figures, &mut self.starts, self.source.step_key());
        let mut repeats = false;
        let is_behind = reader.read(file, &of_source.prefix, PIECE, &mut |place, row, length| {
            let origin = origins.at(place);
            let Some(row) = row.map(|row| row.with_step(key)) else {
                figures.skipped += 1;
                return Ok(());
            };
            growth.has_rows |= !is_first || origin.attempt >= present;
            growth.is_changed = true;
            let standing = row.standing();
            repeats |= standing.as_ref().is_some_and(|standing| starts.note_at(origin, standing));
            if standing.as_ref().is_some_and(|standing| starts.supersede_at(origin, standing)) {
                figures.superseded += 1;
            } else {
                let shape = standing.map_or(0, |standing| standing.shape);
                figures.add(origin, row, shape, length);
            }
            Ok(())
        })?;
        growth.is_behind |= is_behind;
        Ok(repeats)
    }

    /// Reads everything again, up to the previous end.
    fn read_all_again(&mut self, growth: &mut Growth) -> io::Result<()> {
        let before = (self.figures.rows(), self.figures.step());
        let ends: Vec<u64> = self
            .files
            .iter()
            .map(|file| match file.reader.position() {
                0 => u64::MAX, // a rewritten file or a document
                position => position,
            })
            .collect();
        let anew = Figures::for_record().traced(self.traced.as_deref());
        let figures = std::mem::replace(&mut self.figures, anew);
        self.read_again(&ends)?;
        let is_document = self.files.iter().any(|file| !file.reader.is_incremental());
        if is_document && self.figures.rows() == 0 {
            self.figures = figures; // the document is being written
            return Ok(());
        }
        growth.is_changed = true;
        growth.has_rows |= match self.source.format() {
            SourceFormat::Snapshot => self.figures.step() != before.1, // a clock in it advances without the training
            _ => is_document || self.figures.rows() != before.0,
        };
        Ok(())
    }

    /// Reads the files from their beginnings up to these ends, in two passes: the first finds the starts, the
    /// second the rows that no later start superseded.
    fn read_again(&mut self, ends: &[u64]) -> io::Result<()> {
        let present = self.attempts.count();
        let mut starts = FirstSteps::default();
        let mut figures = Figures::for_record().traced(self.traced.as_deref());
        let mut done = ends.to_vec();
        let key = self.source.step_key();
        for is_second in [false, true] {
            for (number, of_source) in self.source.files().iter().enumerate() {
                let Some(file) = self.source.open(&of_source.path)? else { continue };
                let GrowingFile { reader, origins, .. } = &mut self.files[number];
                *reader = RowReader::new(self.source.format());
                reader.read(&file, &of_source.prefix, done[number], &mut |place, row, length| {
                    let origin = origins.at(place);
                    match row.map(|row| row.with_step(key)) {
                        Some(row) if !is_second => {
                            starts.note(origin, &row);
                        }
                        Some(row) => {
                            let standing = row.standing();
                            if standing.as_ref().is_some_and(|one| starts.supersede_at(origin, one)) {
                                figures.superseded += 1;
                            } else {
                                let shape = standing.map_or(0, |standing| standing.shape);
                                figures.add(origin, row, shape, length);
                            }
                        }
                        None if is_second && origin.attempt >= present => figures.skipped += 1,
                        _ => {}
                    }
                    Ok(())
                })?;
                if reader.is_incremental() {
                    done[number] = reader.position();
                }
                self.files[number].mark(&file);
            }
        }
        (self.starts, self.figures) = (starts, figures);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read;
    use crate::supersede::RowOrigin;
    use proptest::prelude::*;
    use serde_json::Value;
    use std::fs::{self, OpenOptions};
    use std::io::Write;
    use std::path::{Path, PathBuf};

    type Said = (Vec<(String, Value)>, Option<f64>, u64);

    fn said(figures: &Figures) -> Said {
        let all = figures.aggregates().map(|(name, figures)| (name.to_owned(), figures.to_json()));
        (all.collect(), figures.step(), figures.rows())
    }

    /// Returns the figures from reading all rows at once.
    fn read_at_once(source: &MetricSource, attempts: &Resumptions) -> Said {
        let mut figures = Figures::for_record();
        read::rows(source, attempts, &mut |row, _| figures.add(RowOrigin::default(), row, 0, 0)).unwrap();
        said(&figures)
    }

    fn source(path: &Path) -> MetricSource {
        let root = path.parent().unwrap().to_owned();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        MetricSource::named(&root, &name).unwrap()
    }

    fn append(path: &Path, bytes: &[u8]) {
        OpenOptions::new().append(true).open(path).unwrap().write_all(bytes).unwrap();
    }

    fn events() -> Vec<u8> {
        let fixture = "../../tests/fixtures/tensorboard/events.out.tfevents.1769688000.gpu3";
        fs::read(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(fixture)).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]

        #[test]
        fn what_grows_says_the_same_as_what_is_read_at_once(
            steps in prop::collection::vec((0_u32..9, 0_u32..9), 1..12),
            format in 0_usize..3,
            begun: prop::sample::Index,
            looks in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let (name, bytes) = match format {
                0 => ("metrics.jsonl", steps.iter().map(|(step, loss)| format!("{{\"step\":{step},\"loss\":{loss}}}\n")).collect::<String>().into_bytes()),
                1 => ("metrics.csv", ("step,loss\n".to_owned() + &steps.iter().map(|(step, loss)| format!("{step},{loss}\n")).collect::<String>()).into_bytes()),
                _ => ("events.out.tfevents.1.h", events()),
            };
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join(name);
            // The current attempt begins at the start of a line. In event files, the time separates attempts.
            let starts: Vec<usize> = (0..=bytes.len()).filter(|&at| at == 0 || bytes[at - 1] == b'\n').collect();
            let begun = if format == 2 { 1 } else { *begun.get(&starts) };
            let attempts = match begun {
                0 => Resumptions::default(),
                at => Resumptions::resumed("2026-01-29T12:00:20.000Z".parse().unwrap(), name, at as u64),
            };
            let begun = begun.max(1);
            fs::write(&path, &bytes[..begun]).unwrap();
            let source = source(&path);
            prop_assert_eq!(source.format(), [SourceFormat::Lines, SourceFormat::Csv, SourceFormat::Events][format]);
            let mut growing = Growing::new(source.clone(), &attempts);
            let mut ends: Vec<usize> = looks.iter().map(|look| begun + look.index(bytes.len() - begun + 1)).collect();
            ends.push(bytes.len());
            ends.sort_unstable();
            let mut done = begun;
            for end in ends {
                growing.poll().unwrap();
                append(&path, &bytes[done..end]);
                done = end;
            }
            growing.poll().unwrap();
            let (figures, step, rows) = said(growing.figures());
            let (at_once, step_at_once, rows_at_once) = read_at_once(&source, &attempts);
            prop_assert_eq!((figures, step), (at_once, step_at_once));
            prop_assert!(format == 2 || rows == rows_at_once);
        }
    }

    #[test]
    fn a_table_that_was_written_anew_says_the_same_at_once_and_as_it_grows() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("metrics.csv");
        let old = "steps,loss\n10,1\n20,1\n30,1\n";
        let rows = |steps: &[u32]| steps.iter().map(|step| format!("{step},2\n")).collect::<String>();
        for (new, steps, count) in [
            // The lengths of episodes are no order of the rows; the fourth row is the first of the attempt.
            (format!("steps,loss\n{}", rows(&[40, 50, 60, 20, 70])), 70.0, 5),
            // The same header, and a longer row.
            (format!("steps,loss\n{}", rows(&[100, 200, 300, 50])), 50.0, 4),
            (format!("{old}{}", rows(&[20, 30])), 30.0, 3), // it has grown
        ] {
            fs::write(&path, old).unwrap();
            let time = "2026-01-29T12:00:20.000Z".parse().unwrap();
            let attempts = Resumptions::resumed(time, "metrics.csv", old.len() as u64).fingerprinted(&path);
            // The file is rewritten before the first look, and after it.
            for is_before in [true, false] {
                fs::write(&path, if is_before { &new } else { old }).unwrap();
                let mut growing = Growing::new(source(&path), &attempts);
                growing.poll().unwrap();
                fs::write(&path, &new).unwrap();
                growing.poll().unwrap();
                growing.hurry();
                growing.poll().unwrap();
                let (figures, step, rows) = said(growing.figures());
                assert_eq!((step, rows), (Some(steps), count), "{new}");
                assert_eq!((figures, step, rows), read_at_once(growing.source(), &attempts), "{new}");
            }
        }
    }

    #[test]
    fn a_file_that_is_written_anew_is_read_anew() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("metrics.csv");
        fs::write(&path, "step,loss\n1,4\n2,3\n").unwrap();
        let mut growing = Growing::new(source(&path), &Resumptions::default());
        assert!(growing.poll().unwrap().has_rows);
        assert_eq!(growing.poll().unwrap(), Growth::default());
        for (content, step, rows) in [
            ("step,loss\n1,4\n2,3\n3,1\n", 3.0, 3),      // it has grown
            ("step,loss\n2,9\n3,3\n4,1\n5,2\n", 5.0, 4), // longer, and another
            ("step,loss\n9,4\n", 9.0, 1),                // shorter
            ("step,loss,acc\n1,4,0\n", 1.0, 1),          // with another header
        ] {
            fs::write(&path, content).unwrap();
            assert!(growing.poll().unwrap().is_changed, "{content}");
            assert_eq!((growing.figures().step(), growing.figures().rows()), (Some(step), rows), "{content}");
        }
    }
}
