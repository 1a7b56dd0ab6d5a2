//! The metrics of a run: a file for each, with a line for each value.

use super::keys::Keys;
use crate::bridge::points::Point;
use crate::scalar::csv_number;
use run_common::fsio::write::open_append;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Maximum size of buffered lines, in bytes: the files of a thousand metrics cannot stay open.
const ROOM: usize = 64 << 10;

/// Writes metrics.
pub(super) struct Metrics {
    directory: PathBuf,
    keys: Keys,
    files: HashMap<String, Lines>,
}

/// The lines of a metric.
#[derive(Default)]
struct Lines {
    waiting: String,
    /// The last step and time so far.
    step: Option<i64>,
    millis: i64,
}

impl Metrics {
    /// Writes to files below a directory.
    pub(super) fn new(directory: PathBuf) -> Self {
        Self { directory, keys: Keys::default(), files: HashMap::new() }
    }

    /// Adds values.
    pub(super) fn add(&mut self, point: &Point) -> io::Result<()> {
        for (name, value) in point.values {
            if !self.files.contains_key(*name) {
                let path = self.directory.join(self.keys.of(name));
                path.parent().map_or(Ok(()), fs::create_dir_all)?;
                self.files.insert((*name).to_owned(), Lines::default());
            }
            let Some(lines) = self.files.get_mut(*name) else { continue };
            lines.add(point.step, point.millis, *value);
            if lines.waiting.len() >= ROOM {
                lines.write(&self.directory.join(self.keys.of(name)))?;
            }
        }
        Ok(())
    }

    /// Writes the buffered lines; returns the changed names, with their replacements.
    pub(super) fn finish(mut self) -> io::Result<BTreeMap<String, String>> {
        for (name, lines) in &mut self.files {
            lines.write(&self.directory.join(self.keys.of(name)))?;
        }
        Ok(self.keys.changed().collect())
    }
}

impl Lines {
    /// Adds a line. Two lines of the same step never have the same time: a database has room for only one of
    /// them, and the later one is the last value.
    fn add(&mut self, step: i64, millis: i64, value: f64) {
        let is_ahead = self.step.is_none_or(|last| step > last);
        let millis = if is_ahead { millis } else { millis.max(self.millis + 1) };
        let value = if value.is_nan() { "nan".to_owned() } else { csv_number(value) };
        let _ = writeln!(self.waiting, "{millis} {value} {step}"); // writing to a String cannot fail
        self.step = self.step.max(Some(step));
        self.millis = self.millis.max(millis);
    }

    fn write(&mut self, path: &Path) -> io::Result<()> {
        open_append(path)?.write_all(self.waiting.as_bytes())?;
        self.waiting.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_lines_have_one_step_and_one_time() {
        let mut lines = Lines::default();
        for (step, millis, value) in
            [(1, 5, 0.5), (2, 5, 0.25), (1, 5, 0.5), (1, 5, f64::NAN), (3, 6, f64::INFINITY)]
        {
            lines.add(step, millis, value);
        }
        assert_eq!(lines.waiting, "5 0.5 1\n5 0.25 2\n6 0.5 1\n7 nan 1\n6 inf 3\n");
    }
}
