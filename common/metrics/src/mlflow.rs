//! Metric files in a file store of `MLflow`: `metrics/NAME` has a line for each value of a metric, with the
//! time in milliseconds since 1970, the value, the step (missing in early versions), and since version 3 the
//! data set (mlflow, `store/tracking/file_store.py`).

use super::lines::is_damage;
use super::ordered_step::Step;
use super::row::{MetricRow, MetricValue};
use run_common::fsio::read::LIMIT;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::Path;

/// Maximum total size of the files of a run that are read into memory, and maximum number of further files, which are
/// all open at once.
const AT_ONCE: u64 = 64 << 20;
const TOGETHER: usize = 256;

/// Reads the metrics of a run, given paths and names. The values of a step form a row. Returns the number of
/// damaged lines, or `None` if there are too many large files.
pub(super) fn merged(
    files: &[(&Path, &str)],
    opened: &dyn Fn(&Path) -> io::Result<Option<File>>,
    act: &mut dyn FnMut(MetricRow),
) -> io::Result<Option<u64>> {
    let mut series = Vec::new();
    let (mut left, mut open) = (AT_ONCE, 0);
    for (path, name) in files {
        let Some(file) = opened(path)? else { continue };
        let lines: Box<dyn BufRead> = match left.checked_sub(file.metadata()?.len()) {
            Some(rest) => {
                let mut bytes = Vec::new();
                file.take(left - rest).read_to_end(&mut bytes)?;
                left = rest;
                Box::new(Cursor::new(by_step(bytes)))
            }
            None if open == TOGETHER => return Ok(None),
            None => {
                open += 1;
                Box::new(BufReader::new(file))
            }
        };
        let mut one = Series { name, lines, next: None, skipped: 0 };
        one.advance()?;
        series.push(one);
    }
    let place = |at: usize, one: &Series| Some(Reverse((Step(one.next?.step), at)));
    let mut next: BinaryHeap<_> = series.iter().enumerate().filter_map(|(at, one)| place(at, one)).collect();
    while let Some(&Reverse((step, _))) = next.peek() {
        let mut row = Row::new(step.0);
        // A second value of a metric at the same step belongs to the next row.
        let mut later = Vec::new();
        while let Some(first) = next.peek_mut().filter(|first| first.0.0 == step) {
            let Reverse((_, at)) = PeekMut::pop(first);
            let one = &mut series[at];
            row.add(one.name, one.next);
            one.advance()?;
            later.extend(place(at, one));
        }
        next.extend(later);
        act(row.made());
    }
    Ok(Some(series.iter().map(|one| one.skipped).sum()))
}

/// Sorts the lines of a file by step, time and value, because `MLflow` takes the greatest as the latest, in
/// whatever order they were logged. Damaged lines come first, an unfinished last line comes last.
fn by_step(text: Vec<u8>) -> Vec<u8> {
    let place = |line: &&[u8]| {
        let Value { time, step, value } =
            if line.ends_with(b"\n") { Value::parse(line)? } else { Value::LAST };
        Some((Step(step), Step(time), Step(value)))
    };
    let mut lines: Vec<&[u8]> = text.split_inclusive(|&byte| byte == b'\n').collect();
    if lines.is_sorted_by_key(place) {
        return text;
    }
    lines.sort_by_cached_key(place);
    lines.concat()
}

/// The values of a metric that are still to be read.
struct Series<'a> {
    name: &'a str,
    lines: Box<dyn BufRead>,
    next: Option<Value>,
    /// Number of damaged lines.
    skipped: u64,
}

impl Series<'_> {
    /// Reads the next value; an unfinished last line is ignored.
    fn advance(&mut self) -> io::Result<()> {
        let mut line = Vec::new();
        loop {
            line.clear();
            self.lines.by_ref().take(LIMIT).read_until(b'\n', &mut line)?;
            let is_whole = line.ends_with(b"\n");
            self.next = if is_whole { Value::parse(&line) } else { None };
            let is_too_long = line.len() as u64 == LIMIT;
            if self.next.is_some() || !is_whole && !is_too_long {
                return Ok(());
            }
            self.skipped += u64::from(is_damage(Some(&line)));
        }
    }
}

/// The values in a line.
#[derive(Clone, Copy)]
struct Value {
    /// Time in seconds since 1970.
    time: f64,
    step: f64,
    value: f64,
}

impl Value {
    /// Sorts after all other values.
    const LAST: Self = Self { time: f64::INFINITY, step: f64::INFINITY, value: f64::INFINITY };

    fn parse(line: &[u8]) -> Option<Self> {
        let mut words = str::from_utf8(line).ok()?.split_ascii_whitespace();
        let time: i64 = words.next()?.parse().ok()?;
        let value = words.next()?.parse().ok()?;
        let step: i64 = words.next().map_or(Some(0), |step| step.parse().ok())?;
        #[expect(clippy::cast_precision_loss, reason = "steps and milliseconds are below 2^53")]
        Some(Self { time: time as f64 / 1000.0, step: step as f64, value })
    }
}

/// A row in the making: the values of a step.
struct Row {
    fields: Vec<(String, MetricValue)>,
    time: Option<f64>,
}

impl Row {
    fn new(step: f64) -> Self {
        Self { fields: vec![("step".to_owned(), MetricValue::Number(step))], time: None }
    }

    /// Adds a value of a metric, unless the metric has the name of the step.
    fn add(&mut self, name: &str, value: Option<Value>) {
        let Some(Value { time, value, .. }) = value else { return };
        self.time = self.time.or(Some(time));
        if name != "step" {
            self.fields.push((name.to_owned(), MetricValue::Number(value)));
        }
    }

    fn made(self) -> MetricRow {
        MetricRow::new(self.fields).logged_at(self.time)
    }
}

/// Reads a line of the file of a metric; `None` if it is damaged.
pub(super) fn row(line: &[u8], name: &str) -> Option<MetricRow> {
    let value = Value::parse(line)?;
    let mut row = Row::new(value.step);
    row.add(name, Some(value));
    Some(row.made())
}

#[cfg(test)]
mod tests {
    use super::*;
    use run_common::fsio::open_if_there;

    #[test]
    fn the_latest_value_is_that_of_the_greatest_step() {
        let text = |lines: &[&str]| String::from_utf8(by_step(lines.concat().into_bytes())).unwrap();
        assert_eq!(
            text(&["1 2 2\n", "1 1 1\n", "x\n", "1 2"]),
            ["x\n", "1 1 1\n", "1 2 2\n", "1 2"].concat()
        );
        assert_eq!(text(&["2 0.25 5\n", "9 0.5 -1\n", "3 nan 5\n"]), "9 0.5 -1\n2 0.25 5\n3 nan 5\n");
        assert_eq!(text(&["1 1 1\n"]), "1 1 1\n");
        assert_eq!(text(&[]), "");
    }

    #[test]
    fn the_values_of_a_step_are_a_row_however_many_metrics_there_are() {
        let dir = tempfile::TempDir::new().unwrap();
        let names: Vec<String> = (0..600).map(|number| format!("m{number}")).collect();
        let paths: Vec<_> = names.iter().map(|name| dir.path().join(name)).collect();
        for (path, lines) in
            paths.iter().zip(["1000 1 1\n2000 2 2\n", "1500 3 2\nx\n1600 4 3\n1700 5"].iter().cycle())
        {
            std::fs::write(path, lines).unwrap();
        }
        let gone = dir.path().join("gone");
        let files: Vec<(&Path, &str)> = paths
            .iter()
            .map(std::path::PathBuf::as_path)
            .zip(names.iter().map(String::as_str))
            .chain([(&*gone, "gone")])
            .collect();
        let mut rows = Vec::new();
        let mut each = |row: MetricRow| {
            rows.push((row.step().unwrap().1.to_string(), row.numbers().count(), row.logged()));
        };
        let skipped = merged(&files, &open_if_there, &mut each).unwrap();
        assert_eq!(skipped, Some(300));
        let expected = [("1", 300, 1.0), ("2", 600, 2.0), ("3", 300, 1.6)];
        assert_eq!(rows, expected.map(|(step, count, time)| (step.to_owned(), count, Some(time))));
    }

    #[test]
    fn a_step_that_is_logged_twice_is_two_rows() {
        let dir = tempfile::TempDir::new().unwrap();
        let [one, other] = [("a", "1 1 5\n1 2 5\n1 3 4\n"), ("b", "1 7 5\n1 8 6\n")].map(|(name, lines)| {
            let path = dir.path().join(name);
            std::fs::write(&path, lines).unwrap();
            path
        });
        let mut rows = Vec::new();
        let mut each = |row: MetricRow| {
            let values = row.numbers().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>();
            rows.push((row.step().unwrap().1.to_string(), values.join(" ")));
        };
        merged(&[(&one, "a"), (&other, "b")], &open_if_there, &mut each).unwrap();
        let expected = [("4", "a=3"), ("5", "a=1 b=7"), ("5", "a=2"), ("6", "b=8")];
        assert_eq!(rows, expected.map(|(step, values)| (step.to_owned(), values.to_owned())));
    }

    #[test]
    fn a_line_has_a_time_a_value_and_mostly_a_step() {
        let read = |line: &str| {
            let row = row(line.as_bytes(), "loss")?;
            let (_, step) = row.step()?;
            let (name, value) = row.numbers().next()?;
            Some((row.logged()?, step.to_string(), name.to_owned(), value.to_string()))
        };
        let found = |step: &str, value: &str| {
            Some((1_700_000_000.25, step.to_owned(), "loss".to_owned(), value.to_owned()))
        };
        assert_eq!(read("1700000000250 0.5 7\n"), found("7", "0.5"));
        assert_eq!(read("1700000000250 1e-05 7 name digest\n"), found("7", "0.00001"));
        assert_eq!(read("1700000000250 nan -1\n"), found("-1", "NaN"));
        assert_eq!(read("1700000000250 -inf 0\n"), found("0", "-inf"));
        assert_eq!(read("1700000000250 2.0\n"), found("0", "2"));
        for damaged in ["", "\n", "1700000000250", "x 0.5 7", "1700000000250 x 7", "1700000000250 0.5 x"] {
            assert_eq!(read(damaged), None, "{damaged}");
        }
    }
}
