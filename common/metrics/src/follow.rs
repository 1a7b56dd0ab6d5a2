//! Follows growing files of metric rows and keeps the figures of what counts. Used by the
//! supervisor, so that nobody else needs to read a long file again.

use super::aggregate::{Aggregate, Aggregates};
use super::lines::{LineReader, is_damage};
use super::row::MetricRow;
use super::supersede::{FirstSteps, RowOrigin};
use run_common::fsio::open_regular;
use run_common::fsio::read::LIMIT;
use serde_json::{Map, Value};
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::path::PathBuf;

/// How many of the last rows are kept, and bytes of each.
const RECENT: usize = 5;
const ROW: usize = 256 << 10;

/// Bytes that one call reads at most: a heartbeat must not wait for a gigabyte.
const PIECE: u64 = LIMIT;

/// The metrics of a run as they grow: the rows that the program writes or, while there are none,
/// those that were read off its output.
#[derive(Debug)]
pub struct Follower {
    written: Growing,
    scraped: Growing,
    /// The program has written something.
    is_written: bool,
}

impl Follower {
    /// Follows a file of rows that the program writes and one of those read off its output; each
    /// with the offsets at which the attempts after the first began in it.
    pub fn new(written: (PathBuf, Vec<u64>), scraped: (PathBuf, Vec<u64>)) -> Self {
        let growing = |(path, boundaries)| Growing::new(path, boundaries);
        Self { written: growing(written), scraped: growing(scraped), is_written: false }
    }

    /// Returns the figures as of the last [`Self::poll`].
    pub fn figures(&self) -> &Figures {
        if self.is_written { &self.written.figures } else { &self.scraped.figures }
    }

    /// Reads what was added, or a part of it, and says what that was.
    pub fn poll(&mut self) -> io::Result<Growth> {
        if let Some(file) = open_regular(&self.written.path)?
            && file.metadata()?.len() > 0
        {
            self.is_written = true;
            return self.written.poll(&file);
        }
        self.is_written = false;
        match open_regular(&self.scraped.path)? {
            Some(file) => self.scraped.poll(&file),
            None => Ok(Growth::default()),
        }
    }
}

/// What was added to a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Growth {
    /// There was a row at least.
    pub has_rows: bool,
    /// Not all of it was read.
    pub is_behind: bool,
}

/// A file of rows that is read as it grows.
#[derive(Debug)]
struct Growing {
    path: PathBuf,
    lines: LineReader,
    /// Where each attempt after the first began in the file, the present one last.
    boundaries: Vec<u64>,
    figures: Figures,
    /// What the present attempt began with.
    starts: FirstSteps,
    /// What earlier attempts wrote was read.
    is_begun: bool,
}

/// The figures of all rows that no later attempt superseded, as far as they have room in a record.
#[derive(Clone, Debug)]
pub struct Figures {
    aggregates: Aggregates,
    recent: VecDeque<MetricRow>,
    rows: u64,
    step: Option<f64>,
    skipped: u64,
}

impl Default for Figures {
    fn default() -> Self {
        let (aggregates, recent) = (Aggregates::for_record(), VecDeque::new());
        Self { aggregates, recent, rows: 0, step: None, skipped: 0 }
    }
}

impl Figures {
    /// Takes in a row of so many bytes.
    fn add(&mut self, row: MetricRow, length: usize) {
        self.rows += 1;
        #[expect(clippy::cast_precision_loss, reason = "more than 2^53 rows are not to be had")]
        let number = self.rows as f64;
        self.step = Some(row.step().map_or(number, |(_, step)| step));
        for (name, value) in row.numbers() {
            self.aggregates.add(name, value);
        }
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(if length > ROW { row.cut(ROW) } else { row });
    }

    /// Returns the figures by metric name, in the order first logged.
    pub fn aggregates(&self) -> impl Iterator<Item = (&str, Aggregate)> {
        self.aggregates.iter()
    }

    /// Returns the last rows.
    pub fn recent(&self) -> Vec<Map<String, Value>> {
        self.recent.iter().map(MetricRow::to_json).collect()
    }

    /// Returns the step of the last row.
    pub fn step(&self) -> Option<f64> {
        self.step
    }

    /// Returns how many lines of the present attempt could not be read.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }
}

impl Growing {
    fn new(path: PathBuf, boundaries: Vec<u64>) -> Self {
        Self {
            path,
            lines: LineReader::default(),
            boundaries,
            figures: Figures::default(),
            starts: FirstSteps::default(),
            is_begun: false,
        }
    }

    /// Reads what was added, or a part of it. A file that has become shorter was written anew and is
    /// read from its beginning.
    fn poll(&mut self, file: &File) -> io::Result<Growth> {
        let length = file.metadata()?.len();
        if length < self.lines.position().max(self.boundaries.last().copied().unwrap_or_default()) {
            *self = Self::new(std::mem::take(&mut self.path), Vec::new());
        }
        if !std::mem::replace(&mut self.is_begun, true)
            && let Some(&start) = self.boundaries.last()
        {
            self.figures = self.up_to(file, start)?;
            self.lines = LineReader::at(start);
        }
        let mut growth = Growth::default();
        if length > self.lines.position() {
            let mut lines = self.lines;
            let read = lines.read(file, PIECE, &mut |offset, line| {
                match line.and_then(MetricRow::parse) {
                    Some(row) => {
                        growth.has_rows = true;
                        self.take(file, offset, row, line.map_or(0, <[u8]>::len))?;
                    }
                    None => self.figures.skipped += u64::from(is_damage(line)),
                }
                Ok(())
            });
            self.lines = lines;
            growth.is_behind = read?;
        }
        Ok(growth)
    }

    /// Takes in a row of the present attempt.
    fn take(&mut self, file: &File, offset: u64, row: MetricRow, length: usize) -> io::Result<()> {
        let present = RowOrigin { attempt: self.boundaries.len(), track: 0 };
        if self.starts.note(present, &row) && !self.boundaries.is_empty() {
            // Another key of which earlier rows may be superseded; there are a few at most.
            let skipped = self.figures.skipped;
            self.figures = Figures { skipped, ..self.up_to(file, offset)? };
        }
        self.figures.add(row, length);
        Ok(())
    }

    /// Reads the rows before an offset, without those that a later attempt superseded.
    fn up_to(&self, file: &File, end: u64) -> io::Result<Figures> {
        let mut starts = self.starts.clone();
        let each = |act: &mut dyn FnMut(RowOrigin, MetricRow, usize)| {
            LineReader::default().read(file, end, &mut |offset, line| {
                if let Some(row) = line.and_then(MetricRow::parse) {
                    let attempt = self.boundaries.iter().filter(|&&start| start <= offset).count();
                    act(RowOrigin { attempt, track: 0 }, row, line.map_or(0, <[u8]>::len));
                }
                Ok(())
            })
        };
        each(&mut |origin, row, _| {
            starts.note(origin, &row);
        })?;
        let mut figures = Figures::default();
        each(&mut |origin, row, length| {
            if !starts.supersede(origin, &row) {
                figures.add(row, length);
            }
        })?;
        Ok(figures)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs::{self, OpenOptions};
    use std::io::Write;
    use std::ops::Range;
    use tempfile::{TempDir, tempdir};

    fn rows(key: &str, steps: Range<u32>, scale: u32) -> String {
        steps.map(|step| format!("{{\"{key}\": {step}, \"loss\": {}}}\n", step * scale)).collect()
    }

    /// The two files of a run, which are not there yet.
    struct Files {
        _dir: TempDir,
        written: PathBuf,
        scraped: PathBuf,
    }

    impl Files {
        fn new() -> Self {
            let dir = tempdir().unwrap();
            let [written, scraped] = ["written", "scraped"].map(|name| dir.path().join(name));
            Self { _dir: dir, written, scraped }
        }

        /// Follows them in an attempt that began when the first file had so many bytes.
        fn follow(&self, boundaries: &[usize]) -> Follower {
            let boundaries = boundaries.iter().map(|&at| at as u64).collect();
            Follower::new((self.written.clone(), boundaries), (self.scraped.clone(), Vec::new()))
        }
    }

    fn loss(follower: &Follower) -> Value {
        follower.figures().aggregates().next().unwrap().1.to_json()
    }

    fn append(path: &PathBuf, text: &str) {
        OpenOptions::new().append(true).create(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
    }

    #[test]
    fn rows_that_a_later_attempt_went_over_again_do_not_count() {
        let files = Files::new();
        let first = rows("step", 0..10, 1);
        fs::write(&files.written, &first).unwrap();
        let mut follower = files.follow(&[first.len()]);
        assert!(!follower.poll().unwrap().has_rows);
        assert_eq!(follower.figures().step(), Some(9.0));
        append(&files.written, &format!("{}{{\"step\": 8, \"lo", rows("step", 5..8, 100)));
        assert!(follower.poll().unwrap().has_rows);
        assert_eq!(loss(&follower)["count"], 8);
        assert_eq!(loss(&follower)["max"], 700);
        append(&files.written, "ss\": 800}\n");
        assert!(follower.poll().unwrap().has_rows);
        assert_eq!(loss(&follower)["last"], 800);
        assert_eq!(follower.figures().recent().len(), 5);
        fs::write(&files.written, rows("step", 0..1, 7)).unwrap();
        assert!(follower.poll().unwrap().has_rows);
        assert_eq!(loss(&follower)["count"], 1);
    }

    #[test]
    fn every_step_key_of_a_later_attempt_supersedes_its_own() {
        let files = Files::new();
        let first = rows("iter", 0..10, 1) + &rows("step", 0..10, 1);
        fs::write(&files.written, &first).unwrap();
        let mut follower = files.follow(&[first.len()]);
        append(&files.written, &(rows("step", 5..6, 1) + &rows("iter", 5..6, 1)));
        assert!(follower.poll().unwrap().has_rows);
        assert_eq!(loss(&follower)["count"], 12);
        append(&files.written, &rows("iter", 6..8, 100));
        assert!(follower.poll().unwrap().has_rows);
        assert_eq!(loss(&follower)["count"], 14);
        assert_eq!(loss(&follower)["max"], 700);
    }

    #[test]
    fn rows_off_the_output_count_while_the_program_writes_none() {
        let files = Files::new();
        let mut follower = files.follow(&[]);
        assert!(!follower.poll().unwrap().has_rows);
        append(&files.scraped, &rows("iter", 0..3, 1));
        append(&files.written, "");
        assert!(follower.poll().unwrap().has_rows);
        assert_eq!(loss(&follower)["count"], 3);
        append(&files.written, &rows("step", 7..8, 1));
        assert!(follower.poll().unwrap().has_rows);
        assert_eq!(follower.figures().step(), Some(7.0));
        assert_eq!(loss(&follower)["count"], 1);
    }

    #[test]
    fn lines_that_cannot_be_read_count_in_their_own_attempt() {
        let files = Files::new();
        let long = "x".repeat(16 << 20) + "\n";
        let first = rows("step", 0..4, 1) + "bad\n" + &long + &rows("step", 4..8, 1);
        fs::write(&files.written, &first).unwrap();
        let mut follower = files.follow(&[first.len()]);
        append(&files.written, &(long.repeat(2) + "bad\n\n" + &rows("step", 6..8, 10)));
        let mut calls = 1;
        while follower.poll().unwrap().is_behind {
            calls += 1;
        }
        assert!(calls > 2, "a heartbeat must not wait for all of it");
        assert_eq!((loss(&follower)["count"].clone(), follower.figures().skipped()), (8.into(), 3));
        append(&files.written, &(rows("iter", 0..1, 1) + "bad\n"));
        assert_eq!(follower.poll().unwrap(), Growth { has_rows: true, is_behind: false });
        assert_eq!(follower.figures().skipped(), 4);
    }

    #[test]
    fn a_row_that_is_large_is_kept_without_its_largest_fields() {
        let files = Files::new();
        let text = "x".repeat(ROW);
        append(&files.written, &format!("{{\"step\": 1, \"a\": \"{text}\", \"loss\": 2, \"b\": [1]}}\n"));
        let mut follower = files.follow(&[]);
        assert!(follower.poll().unwrap().has_rows);
        let recent = serde_json::to_string(&follower.figures().recent()).unwrap();
        assert_eq!(recent, "[{\"step\":1,\"loss\":2,\"b\":[1]}]");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn figures_are_the_same_however_often_one_looks(
            lines in prop::collection::vec("(\\{\"(step|epoch)\": [0-9], \"loss\": [0-9]\\}|bad|)", 0..12),
            begun: prop::sample::Index,
            looks in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
            let start = lines[..begun.index(lines.len() + 1)].iter().map(|line| line.len() + 1).sum();
            let said = |follower: &Follower| {
                let figures = follower.figures();
                let all: Vec<_> = figures.aggregates().map(|(name, figures)| (name.to_owned(), figures.to_json())).collect();
                (all, figures.recent(), figures.step(), figures.skipped())
            };
            let files = Files::new();
            fs::write(&files.written, &text).unwrap();
            let mut once = files.follow(&[start]);
            once.poll().unwrap();
            let grows = Files::new();
            fs::write(&grows.written, &text[..start]).unwrap();
            let mut often = grows.follow(&[start]);
            let mut ends: Vec<usize> = looks.iter().map(|look| start + look.index(text.len() - start + 1)).collect();
            ends.push(text.len());
            ends.sort_unstable();
            let mut done = start;
            for end in ends {
                append(&grows.written, &text[done..end]);
                done = end;
                often.poll().unwrap();
            }
            prop_assert_eq!(said(&often), said(&once));
        }
    }
}
