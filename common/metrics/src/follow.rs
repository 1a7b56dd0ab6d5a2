//! Follows growing files of metric rows and keeps the figures of what counts. Used by the
//! supervisor, so that nobody else needs to read a long file again.

use super::aggregate::{Aggregate, Aggregates};
use super::lines::{LONGEST, LineReader, is_damage};
use super::row::Row;
use super::supersede::{Place, Starts};
use run_common::fsio::open_regular;
use serde_json::{Map, Value};
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::path::PathBuf;

/// How many of the last rows are kept, and bytes of each.
const RECENT: usize = 5;
const ROW: usize = 256 << 10;

/// Bytes that one call reads at most: a heartbeat must not wait for a gigabyte.
const PIECE: u64 = LONGEST as u64;

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
    starts: Starts,
    /// What earlier attempts wrote was read.
    is_begun: bool,
}

/// The figures of all rows that no later attempt superseded, as far as they have room in a record.
#[derive(Clone, Debug)]
pub struct Figures {
    aggregates: Aggregates,
    recent: VecDeque<Row>,
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
    fn add(&mut self, row: Row, length: usize) {
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
        self.recent.iter().map(Row::to_json).collect()
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
            starts: Starts::default(),
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
                match line.and_then(Row::parse) {
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
    fn take(&mut self, file: &File, offset: u64, row: Row, length: usize) -> io::Result<()> {
        let present = Place { attempt: self.boundaries.len(), track: 0 };
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
        let each = |act: &mut dyn FnMut(Place, Row, usize)| {
            LineReader::default().read(file, end, &mut |offset, line| {
                if let Some(row) = line.and_then(Row::parse) {
                    let attempt = self.boundaries.iter().filter(|&&start| start <= offset).count();
                    act(Place { attempt, track: 0 }, row, line.map_or(0, <[u8]>::len));
                }
                Ok(())
            })
        };
        each(&mut |place, row, _| {
            starts.note(place, &row);
        })?;
        let mut figures = Figures::default();
        each(&mut |place, row, length| {
            if !starts.supersede(place, &row) {
                figures.add(row, length);
            }
        })?;
        Ok(figures)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, OpenOptions};
    use std::io::Write;

    fn rows(key: &str, steps: std::ops::Range<u32>, scale: u32) -> String {
        steps.map(|step| format!("{{\"{key}\": {step}, \"loss\": {}}}\n", step * scale)).collect()
    }

    /// Returns the paths of two files that are not there yet.
    fn files(name: &str) -> (PathBuf, PathBuf) {
        let path = |kind| std::env::temp_dir().join(format!("{name}-{kind}-{}", std::process::id()));
        (path("written"), path("scraped"))
    }

    fn loss(follower: &Follower) -> Value {
        follower.figures().aggregates().next().unwrap().1.to_json()
    }

    fn append(path: &PathBuf, text: &str) {
        OpenOptions::new().append(true).create(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
    }

    #[test]
    fn rows_that_a_later_attempt_went_over_again_do_not_count() {
        let (path, other) = files("follow");
        let first = rows("step", 0..10, 1);
        fs::write(&path, &first).unwrap();
        let mut follower = Follower::new((path.clone(), vec![first.len() as u64]), (other, Vec::new()));
        assert!(!follower.poll().unwrap().has_rows);
        assert_eq!(follower.figures().step(), Some(9.0));
        append(&path, &format!("{}{{\"step\": 8, \"lo", rows("step", 5..8, 100)));
        assert!(follower.poll().unwrap().has_rows);
        assert_eq!(loss(&follower)["count"], 8);
        assert_eq!(loss(&follower)["max"], 700);
        append(&path, "ss\": 800}\n");
        assert!(follower.poll().unwrap().has_rows);
        assert_eq!(loss(&follower)["last"], 800);
        assert_eq!(follower.figures().recent().len(), 5);
        fs::write(&path, rows("step", 0..1, 7)).unwrap();
        assert!(follower.poll().unwrap().has_rows);
        fs::remove_file(&path).unwrap();
        assert_eq!(loss(&follower)["count"], 1);
    }

    #[test]
    fn every_step_key_of_a_later_attempt_supersedes_its_own() {
        let (path, other) = files("keys");
        let first = rows("iter", 0..10, 1) + &rows("step", 0..10, 1);
        fs::write(&path, &first).unwrap();
        let mut follower = Follower::new((path.clone(), vec![first.len() as u64]), (other, Vec::new()));
        append(&path, &(rows("step", 5..6, 1) + &rows("iter", 5..6, 1)));
        assert!(follower.poll().unwrap().has_rows);
        assert_eq!(loss(&follower)["count"], 12);
        append(&path, &rows("iter", 6..8, 100));
        assert!(follower.poll().unwrap().has_rows);
        fs::remove_file(&path).unwrap();
        assert_eq!(loss(&follower)["count"], 14);
        assert_eq!(loss(&follower)["max"], 700);
    }

    #[test]
    fn rows_off_the_output_count_while_the_program_writes_none() {
        let (written, scraped) = files("either");
        let mut follower = Follower::new((written.clone(), Vec::new()), (scraped.clone(), Vec::new()));
        assert!(!follower.poll().unwrap().has_rows);
        append(&scraped, &rows("iter", 0..3, 1));
        append(&written, "");
        assert!(follower.poll().unwrap().has_rows);
        assert_eq!(loss(&follower)["count"], 3);
        append(&written, &rows("step", 7..8, 1));
        assert!(follower.poll().unwrap().has_rows);
        assert_eq!(follower.figures().step(), Some(7.0));
        assert_eq!(loss(&follower)["count"], 1);
        fs::remove_file(&written).unwrap();
        fs::remove_file(&scraped).unwrap();
    }
}
