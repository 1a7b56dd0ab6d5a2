//! Results of an evaluation: a table that a command wrote, usually with a row per question.

use super::aggregate::{Aggregate, Room};
use super::csv::{Damage, Record, Records, apart};
use run_common::fsio::read::open_file;
use serde_json::{Map, Value};
use std::io::{self, ErrorKind, Read};
use std::iter::repeat;
use std::path::Path;

/// The rows of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EvaluationTable {
    /// The names of the columns.
    pub columns: Vec<String>,
    /// The cells of each row, one for each column.
    pub rows: Vec<Vec<String>>,
    /// Number of damaged rows: with another number of cells, or an unclosed quote.
    pub skipped: u64,
}

impl EvaluationTable {
    /// Reads a table; `None` if the file does not exist.
    pub fn read(path: &Path) -> io::Result<Option<Self>> {
        let file = match open_file(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        let mut table = Self::default();
        match table.add(file) {
            Ok(()) => {}
            Err(Damage::Form(_)) => table.skipped += 1, // an unclosed quote; earlier rows count
            Err(Damage::Io(error)) => return Err(error),
        }
        Ok(Some(table))
    }

    /// Reads the header and the rows of a table.
    fn add(&mut self, source: impl Read) -> Result<(), Damage> {
        let mut records = Records::new(source, Vec::new())?;
        let text = |record: Record| -> Vec<String> {
            record.cells().map(|cell| String::from_utf8_lossy(cell).into_owned()).collect()
        };
        self.columns = records.next_record()?.map(text).unwrap_or_default();
        while let Some(record) = records.next_record()? {
            if record.count() == self.columns.len() {
                self.rows.push(text(record));
            } else {
                self.skipped += 1;
            }
        }
        Ok(())
    }

    /// Appends the rows of one step's table. The first column of the whole is the step; the columns of all
    /// tables are merged by name.
    pub fn add_step(&mut self, step: &str, table: Self) {
        if self.columns.is_empty() {
            self.columns.push("step".to_owned());
        }
        let mut places = Vec::with_capacity(table.columns.len());
        for column in table.columns {
            let column = if column == "step" { "metrics.step".to_owned() } else { column };
            let place = self.columns.iter().position(|known| *known == column).unwrap_or_else(|| {
                self.columns.push(column);
                self.columns.len() - 1
            });
            places.push(place);
        }
        self.rows.iter_mut().for_each(|row| row.resize(self.columns.len(), String::new()));
        for cells in table.rows {
            let mut row = vec![String::new(); self.columns.len()];
            step.clone_into(&mut row[0]);
            for (place, cell) in places.iter().zip(cells) {
                row[*place] = cell;
            }
            self.rows.push(row);
        }
        self.skipped += table.skipped;
    }
}

/// What is known about a column while rows are added.
#[derive(Clone, Debug)]
struct Column {
    /// The sum; `None` once a field is not a number.
    figures: Option<Aggregate>,
    /// Whether the fields number the rows, counting from 0 and from 1.
    counts_from: [bool; 2],
}

/// With fewer rows than this, no column counts as row numbers: 0 and 1 may be results.
const COUNTED: u64 = 3;

/// Counts and checks the rows of a table, and sums up each column that holds only numbers and does not number
/// the rows.
pub fn measure(source: impl Read) -> Result<(u64, Map<String, Value>), Damage> {
    let mut rows = Records::new(source, Vec::new())?;
    let Some(header) = rows.next_record()? else { return Ok((0, Map::new())) };
    let names = columns(header);
    let column = Column { figures: Some(Aggregate::default()), counts_from: [true; 2] };
    let mut measured = vec![column; names.len()];
    let (mut count, mut fields) = (0, Vec::new());
    while let Some(row) = rows.next_record()? {
        count += 1;
        row.split(&mut fields);
        fits(&fields, names.len(), count)?;
        for (column, cell) in measured.iter_mut().zip(row.cells().chain(repeat(&b""[..]))) {
            column.add(cell.trim_ascii(), count);
        }
    }
    let named = names.iter().map(|name| String::from_utf8_lossy(name).into_owned()).zip(measured);
    let measures = named.filter(|(_, column)| count < COUNTED || column.counts_from == [false; 2]);
    let known = measures.filter_map(|(name, column)| Some((name, column.figures?.to_json())));
    let is_empty = |figures: &Value| figures["count"] == 0 && figures["nonfinite"] == 0;
    let mut room = Room::default();
    Ok((count, known.filter(|(name, figures)| !is_empty(figures) && room.take(name)).collect()))
}

impl Column {
    /// Adds the field of the next row; rows are counted from 1.
    fn add(&mut self, said: &[u8], row: u64) {
        let number = std::str::from_utf8(said).ok().and_then(|said| said.parse::<f64>().ok());
        for (counts, row) in self.counts_from.iter_mut().zip([row - 1, row]) {
            #[expect(clippy::cast_precision_loss, reason = "rows are far fewer than 2^53")]
            let row = row as f64;
            *counts &= number == Some(row);
        }
        match (number, self.figures.as_mut()) {
            (Some(number), Some(figures)) => figures.add(number),
            (None, Some(_)) if !said.is_empty() => self.figures = None,
            _ => {}
        }
    }
}

/// Refuses a row with more fields than columns; empty fields at the end do not count.
pub fn fits(fields: &[std::ops::Range<usize>], columns: usize, row: u64) -> Result<(), Damage> {
    if fields.iter().skip(columns).all(std::ops::Range::is_empty) {
        return Ok(());
    }
    let count = fields.len();
    Err(Damage::Form(format!("has {count} fields in row {row}, and {columns} columns")))
}

/// Returns the names of the columns, made unique.
pub fn columns(header: Record) -> Vec<Vec<u8>> {
    // The name `step` is reserved for the step of the checkpoint.
    apart(header.cells().map(|cell| (if cell == b"step" { b"metrics.step".as_slice() } else { cell }, cell)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::csv::Parser;

    #[test]
    fn a_column_with_the_numbers_of_the_rows_in_their_order_measures_nothing() {
        let measured =
            |table: &str| measure(table.as_bytes()).unwrap().1.keys().cloned().collect::<Vec<_>>().join(" ");
        assert_eq!(measured("i,n,m\n0,1,5\n1.0,2,5\n\"2\",3,5\n"), "m");
        assert_eq!(measured("order,rating\n2,1\n0,1\n1,3\n"), "order rating");
        assert_eq!(measured("rating\n1\n1\n3\n5\n5\n"), "rating");
        assert_eq!(measured("x,gap,short\n0,0,0\n1,,1\n3,2\n"), "x gap short");
        assert_eq!(measured("acc\n0\n1\n"), "acc");
        assert_eq!(measured("from_2\n2\n3\n4\n"), "from_2");
    }

    #[test]
    fn columns_with_one_name_are_numbered_however_many_they_are() {
        let names = |header: &str| {
            let mut parser = Parser::default();
            let names = columns(parser.line(header.as_bytes()).unwrap());
            names.into_iter().map(|name| String::from_utf8(name).unwrap()).collect::<Vec<_>>()
        };
        let expected = ["a", "a.2", "a.1", "a.3", "metrics.step", "step.1", "", ".1"];
        assert_eq!(names("a,a.2,a,a,step,step,,"), expected);
        assert_eq!(names(&vec!["a"; 500_000].join(",")).last().unwrap(), "a.499999");
    }
}
