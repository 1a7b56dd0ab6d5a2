//! Metrics in CSV files of trainers: metrics.csv of Lightning (with blank cells, and rewritten for each new
//! column), progress.csv and monitor.csv of Stable Baselines 3 (the latter begins with a line `#{…}`), and
//! files to which a program appends another header for new columns. The separator may be a comma, a semicolon
//! or a tab. Each line is a record: metrics contain no quoted newlines, and an unclosed quote must not hide the
//! following rows.

use super::csv::{Parser, apart};
use super::row::{MetricRow, MetricValue};
use super::step_key::is_step;
use serde_json::Value;
use std::collections::HashSet;

/// Reads the lines of a table one by one.
#[derive(Debug, Default)]
pub(super) struct TableReader {
    parser: Parser,
    columns: Columns,
}

impl TableReader {
    /// Reads a line; a line with another number of cells than columns is damaged, because its meaning is
    /// unknown.
    pub(super) fn line(&mut self, line: Option<&[u8]>) -> Meaning {
        line.map_or(Meaning::Damaged, |line| self.columns.read(line, &mut self.parser))
    }
}

/// The kind of a line.
pub(super) enum Meaning {
    Row(MetricRow),
    /// A header, or a row without values.
    Nothing,
    Damaged,
}

/// The columns of the last header.
#[derive(Debug, Default)]
struct Columns {
    names: Vec<String>,
    known: HashSet<String>,
}

impl Columns {
    fn read(&mut self, line: &[u8], parser: &mut Parser) -> Meaning {
        let Ok(text) = std::str::from_utf8(line) else { return Meaning::Damaged };
        let text = text.trim_start_matches('\u{feff}').trim_end_matches(['\r', '\n']);
        if text.trim().is_empty() || self.names.is_empty() && text.starts_with('#') {
            return Meaning::Nothing;
        }
        if self.names.is_empty() {
            *parser = Parser::separated_by(separator(text));
        }
        let Some(record) = parser.line(text.as_bytes()) else { return Meaning::Damaged };
        let text = |cell| std::str::from_utf8(cell).unwrap_or_default().trim();
        let cells: Vec<&str> = record.cells().map(text).collect();
        if self.is_header(&cells) {
            self.known = cells.iter().map(|cell| (*cell).to_owned()).collect();
            self.names = names(&cells, self.known.len() == cells.len());
            return Meaning::Nothing;
        }
        if self.names.is_empty() || cells.len() != self.names.len() {
            return Meaning::Damaged;
        }
        let named = self.names.iter().zip(cells).filter(|(name, cell)| !name.is_empty() && !cell.is_empty());
        let row = MetricRow::new(named.map(|(name, cell)| (name.clone(), value(cell))).collect());
        if row.fields().next().is_some() { Meaning::Row(row) } else { Meaning::Nothing }
    }

    /// Returns whether cells are names: the first line, or a line that shares a column with the header.
    fn is_header(&self, cells: &[&str]) -> bool {
        let is_known = |cell: &&str| is_step(cell) || self.known.contains(*cell);
        let is_filled = |cell: &&str| !cell.is_empty();
        let may_be = if self.names.is_empty() {
            cells.iter().any(is_filled)
        } else {
            cells.iter().all(is_filled) && cells.iter().any(is_known)
        };
        may_be && cells.iter().all(|cell| number(cell).is_none())
    }
}

/// Returns the separator of a header: the most frequent one of those in use.
fn separator(header: &str) -> u8 {
    let count = |separator: u8| header.bytes().filter(|&byte| byte == separator).count();
    [b';', b'\t', b','].into_iter().max_by_key(|&separator| count(separator)).unwrap_or(b',')
}

/// Returns the names of columns, made unique except for empty names.
fn names(cells: &[&str], are_distinct: bool) -> Vec<String> {
    if are_distinct {
        return cells.iter().map(|&cell| cell.to_owned()).collect();
    }
    let names = apart(cells.iter().map(|cell| (cell.as_bytes(), cell.as_bytes())));
    let name = |(name, cell): (Vec<u8>, &&str)| match *cell {
        "" => String::new(),
        _ => String::from_utf8_lossy(&name).into_owned(),
    };
    names.into_iter().zip(cells).map(name).collect()
}

fn value(cell: &str) -> MetricValue {
    number(cell).map_or_else(|| MetricValue::Other(Value::from(cell)), MetricValue::Number)
}

/// Reads a number as written by Python's float and NumPy.
fn number(cell: &str) -> Option<f64> {
    cell.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_million_columns_are_no_harder_to_find_than_one() {
        let line = |cell: &dyn Fn(u32) -> String| (0..1_000_000).map(cell).collect::<Vec<_>>().join(",");
        let (mut columns, mut parser) = (Columns::default(), Parser::default());
        let header = line(&|number| format!("c{number}"));
        assert!(matches!(columns.read(header.as_bytes(), &mut parser), Meaning::Nothing));
        // Cells that could be names in a new header, but are not.
        for cell in ["x", "\"x\"", "1"] {
            let meaning = columns.read(line(&|_| cell.to_owned()).as_bytes(), &mut parser);
            assert!(matches!(meaning, Meaning::Row(row) if row.fields().count() == 1_000_000));
        }
        let header = header.replace("c999999", "d");
        assert!(matches!(columns.read(header.as_bytes(), &mut parser), Meaning::Nothing));
    }
}
