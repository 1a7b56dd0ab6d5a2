//! Follows a growing metrics.jsonl and keeps the figures of what counts. Used by the supervisor,
//! so that nobody else needs to read a long file again.

use super::aggregate::Aggregate;
use super::row::Row;
use crate::fsio::open_regular;
use serde_json::{Map, Value};
use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::PathBuf;

/// How many of the last rows are kept.
const RECENT: usize = 5;

/// Bytes that one call reads at most: a heartbeat must not wait for a gigabyte.
const PIECE: u64 = 16 << 20;

/// A metrics file that is read as it grows.
#[derive(Debug)]
pub struct Follower {
    path: PathBuf,
    offset: u64,
    /// Where each attempt after the first began in the file, the present one last.
    boundaries: Vec<u64>,
    figures: Figures,
    first_row: bool,
}

/// The figures of all rows that no later attempt superseded.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    aggregates: Vec<(String, Aggregate)>,
    recent: VecDeque<Row>,
    rows: u64,
    step: Option<f64>,
}

impl Figures {
    fn add(&mut self, row: Row) {
        self.rows += 1;
        #[expect(clippy::cast_precision_loss, reason = "more than 2^53 rows are not to be had")]
        let number = self.rows as f64;
        self.step = Some(row.step().map_or(number, |(_, step)| step));
        for (name, value) in row.numbers() {
            match self.aggregates.iter_mut().find(|(known, _)| known == name) {
                Some((_, aggregate)) => aggregate.add(value),
                None => {
                    let mut aggregate = Aggregate::default();
                    aggregate.add(value);
                    self.aggregates.push((name.to_owned(), aggregate));
                }
            }
        }
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(row);
    }

    /// Returns the figures by metric name, in the order first logged.
    pub fn aggregates(&self) -> impl Iterator<Item = (&str, &Aggregate)> {
        self.aggregates.iter().map(|(name, aggregate)| (name.as_str(), aggregate))
    }

    /// Returns the last rows.
    pub fn recent(&self) -> Vec<Map<String, Value>> {
        self.recent.iter().map(Row::to_json).collect()
    }

    /// Returns the step of the last row.
    pub fn step(&self) -> Option<f64> {
        self.step
    }
}

impl Follower {
    /// Follows the file at `path`, in which the attempts after the first began at `boundaries`.
    pub fn new(path: PathBuf, boundaries: Vec<u64>) -> Self {
        let mut follower = Self { path, offset: 0, boundaries, figures: Figures::default(), first_row: true };
        if let Some(&start) = follower.boundaries.last() {
            follower.figures = follower.history(None).unwrap_or_default();
            follower.offset = start;
        }
        follower
    }

    /// Returns the figures as of the last [`Self::poll`].
    pub fn figures(&self) -> &Figures {
        &self.figures
    }

    /// Reads what was added, and says whether that was a row at least. A file that has become
    /// shorter was written anew and is read from its beginning.
    pub fn poll(&mut self) -> io::Result<bool> {
        let Some(mut file) = open_regular(&self.path)? else { return Ok(false) };
        let length = file.metadata()?.len();
        if length < self.offset {
            *self = Self::new(self.path.clone(), Vec::new());
        }
        if length == self.offset {
            return Ok(false);
        }
        file.seek(SeekFrom::Start(self.offset))?;
        let mut reader = BufReader::new(file.take(PIECE));
        let mut line = Vec::new();
        let mut grown = false;
        loop {
            line.clear();
            let count = reader.read_until(b'\n', &mut line)? as u64;
            if !line.ends_with(b"\n") {
                if count == PIECE {
                    self.offset += count; // a line of 16 MiB is no row
                }
                return Ok(grown);
            }
            self.offset += count;
            let Some(row) = Row::parse(&line) else { continue };
            if std::mem::take(&mut self.first_row) && !self.boundaries.is_empty() {
                self.figures = self.history(Some(&row))?;
            }
            self.figures.add(row);
            grown = true;
        }
    }

    /// Reads what earlier attempts wrote, without the rows that a later attempt went over again:
    /// those at or after the first step that it logged under the same key.
    fn history(&self, first: Option<&Row>) -> io::Result<Figures> {
        let Some(file) = open_regular(&self.path)? else { return Ok(Figures::default()) };
        let end = self.boundaries.last().copied().unwrap_or_default();
        let attempt_of = |offset: u64| self.boundaries.iter().filter(|&&start| start <= offset).count();
        let mut starts: Vec<Option<(&'static str, f64)>> = vec![None; self.boundaries.len() + 1];
        if let Some(last) = starts.last_mut() {
            *last = first.and_then(Row::step);
        }
        let each = |act: &mut dyn FnMut(usize, Row)| -> io::Result<()> {
            let mut reader = BufReader::new((&file).take(end));
            (&file).rewind()?;
            let (mut line, mut offset) = (Vec::new(), 0);
            loop {
                line.clear();
                let count = reader.read_until(b'\n', &mut line)? as u64;
                if count == 0 {
                    return Ok(());
                }
                if let Some(row) = Row::parse(&line) {
                    act(attempt_of(offset), row);
                }
                offset += count;
            }
        };
        each(&mut |attempt, row| {
            if starts[attempt].is_none() {
                starts[attempt] = row.step();
            }
        })?;
        let mut figures = Figures::default();
        each(&mut |attempt, row| {
            let superseded = row.step().is_some_and(|(key, step)| {
                starts[attempt + 1..].iter().flatten().any(|(later, start)| *later == key && step >= *start)
            });
            if !superseded {
                figures.add(row);
            }
        })?;
        Ok(figures)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn rows(steps: std::ops::Range<u32>, scale: u32) -> String {
        steps.map(|step| format!("{{\"step\": {step}, \"loss\": {}}}\n", step * scale)).collect()
    }

    #[test]
    fn rows_that_a_later_attempt_went_over_again_do_not_count() {
        let path = std::env::temp_dir().join(format!("follow-{}", std::process::id()));
        let first = rows(0..10, 1);
        std::fs::write(&path, &first).unwrap();
        let mut follower = Follower::new(path.clone(), vec![first.len() as u64]);
        assert_eq!(follower.figures().step(), Some(9.0));
        let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
        assert!(!follower.poll().unwrap());
        write!(file, "{}{{\"step\": 8, \"lo", rows(5..8, 100)).unwrap();
        assert!(follower.poll().unwrap());
        let loss = |follower: &Follower| follower.figures().aggregates().next().unwrap().1.to_json();
        assert_eq!(loss(&follower)["count"], 8);
        assert_eq!(loss(&follower)["max"], 700);
        writeln!(file, "ss\": 800}}").unwrap();
        assert!(follower.poll().unwrap());
        assert_eq!(loss(&follower)["last"], 800);
        assert_eq!(follower.figures().recent().len(), 5);
        std::fs::write(&path, rows(0..1, 7)).unwrap();
        assert!(follower.poll().unwrap());
        std::fs::remove_file(&path).unwrap();
        assert_eq!(loss(&follower)["count"], 1);
    }
}
