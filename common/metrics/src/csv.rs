//! Metrics in CSV: metrics.csv as Lightning writes it (cells are blank where a row has no value;
//! rewritten when a column is new), progress.csv and monitor.csv of Stable Baselines 3 (the latter
//! after a line `#{…}`), and files to which a program appends a new header when columns are new.
//! RFC 4180 but for line ends in quotes, which no metric has.

use super::read::each_line;
use super::row::{Cell, Row, STEP_KEYS};
use serde_json::Value;
use std::fs::File;
use std::io;

/// Reads the rows of a file, each with where it begins; returns how many lines were skipped: those
/// whose cells are not as many as the columns, so that nobody knows what they mean.
pub(super) fn read(file: &File, act: &mut dyn FnMut(u64, Row)) -> io::Result<u64> {
    let mut table = Table::default();
    let mut skipped = 0;
    each_line(file, &mut |offset, line| match table.line(line) {
        Line::Row(row) => act(offset, row),
        Line::Nothing => {}
        Line::Bad => skipped += 1,
    })?;
    Ok(skipped)
}

#[derive(Debug, Default)]
struct Table {
    columns: Vec<String>,
}

enum Line {
    Row(Row),
    Nothing,
    Bad,
}

impl Table {
    fn line(&mut self, line: &[u8]) -> Line {
        let Ok(text) = std::str::from_utf8(line) else { return Line::Bad };
        let text = text.trim_start_matches('\u{feff}').trim_end_matches(['\r', '\n']);
        if text.trim().is_empty() || self.columns.is_empty() && text.starts_with('#') {
            return Line::Nothing;
        }
        let Some(cells) = split(text) else { return Line::Bad };
        if self.is_header(&cells) {
            self.columns = cells;
            return Line::Nothing;
        }
        if self.columns.is_empty() || cells.len() != self.columns.len() {
            return Line::Bad;
        }
        let named =
            self.columns.iter().zip(cells).filter(|(name, cell)| !name.is_empty() && !cell.is_empty());
        let row = Row::new(named.map(|(name, cell)| (name.clone(), value(cell))).collect());
        if row.cells().next().is_some() { Line::Row(row) } else { Line::Nothing }
    }

    /// Says whether cells are names: the first ones, or others that have a column in common.
    fn is_header(&self, cells: &[String]) -> bool {
        let is_name = |cell: &String| number(cell).is_none();
        let is_known = |cell: &String| STEP_KEYS.contains(&cell.as_str()) || self.columns.contains(cell);
        let is_filled = |cell: &String| !cell.is_empty();
        let may_be = if self.columns.is_empty() {
            cells.iter().any(is_filled)
        } else {
            cells.iter().all(is_filled) && cells.iter().any(is_known)
        };
        may_be && cells.iter().all(is_name)
    }
}

fn value(cell: String) -> Cell {
    number(&cell).map_or_else(|| Cell::Other(Value::String(cell)), Cell::Number)
}

/// Reads a number as Python's float and NumPy write it.
fn number(cell: &str) -> Option<f64> {
    cell.parse().ok()
}

/// Splits a line into its cells, without blanks around them; `None` when a quote is not closed.
fn split(line: &str) -> Option<Vec<String>> {
    let mut cells = Vec::new();
    let mut rest = line;
    loop {
        let Some(quoted) = rest.trim_start().strip_prefix('"') else {
            let (cell, next) = rest.split_once(',').map_or((rest, None), |(cell, next)| (cell, Some(next)));
            cells.push(cell.trim().to_owned());
            match next {
                Some(next) => rest = next,
                None => return Some(cells),
            }
            continue;
        };
        let mut cell = String::new();
        let mut left = quoted;
        loop {
            let (part, after) = left.split_once('"')?;
            cell.push_str(part);
            match after.strip_prefix('"') {
                Some(more) => {
                    cell.push('"');
                    left = more;
                }
                None => {
                    left = after.trim_start();
                    break;
                }
            }
        }
        cells.push(cell);
        match left.strip_prefix(',') {
            Some(next) => rest = next,
            None => return left.is_empty().then_some(cells),
        }
    }
}
