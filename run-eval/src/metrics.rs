//! Finds the metrics of an evaluation, as a table: `metrics.csv`, else the object in `summary.json`, else the
//! last JSON object that its command printed.

use crate::object::{Field, last_object_in, parse, table_of};
use run_common::fsio::open_regular;
use run_common::rundir::layout::Layout;
use run_metrics::csv::{Damage, Record, apart};
use std::fs::File;
use std::io::{self, Cursor, Read, Seek, SeekFrom};

/// Maximum bytes to read of a summary, and of the end of stdout.
const LIMIT: u64 = 16 << 20;

/// The metrics of an evaluation.
#[derive(Debug)]
pub(crate) enum MetricsSource {
    /// A table.
    Table(File),
    /// A single row, made from an object.
    Row(Cursor<Vec<u8>>),
}

impl Read for MetricsSource {
    fn read(&mut self, block: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Table(file) => file.read(block),
            Self::Row(row) => row.read(block),
        }
    }
}

/// Finds the metrics of an evaluation, if there are any; the error says what is wrong with them.
pub(crate) fn find(layout: &Layout) -> Result<Option<MetricsSource>, String> {
    let open = |name: &str| {
        open_regular(&layout.root().join(name)).map_err(|error| format!("{name} {}", Damage::Io(error)))
    };
    if let Some(file) = open("metrics.csv")? {
        return Ok(Some(MetricsSource::Table(file)));
    }
    let one_row = |object: Vec<Field>| MetricsSource::Row(Cursor::new(table_of(&object)));
    if let Some(file) = open("summary.json")? {
        let mut text = Vec::new();
        file.take(LIMIT)
            .read_to_end(&mut text)
            .map_err(|error| format!("summary.json {}", Damage::Io(error)))?;
        let object = parse(&text).ok_or("summary.json is no JSON object")?;
        return Ok(Some(one_row(object)).filter(|_| !text.is_empty()));
    }
    let printed = last_object(layout).map_err(|error| format!("stdout.log {}", Damage::Io(error)))?;
    Ok(printed.filter(|object| !object.is_empty()).map(one_row))
}

/// Finds the last printed JSON object, on one line or several.
fn last_object(layout: &Layout) -> io::Result<Option<Vec<Field>>> {
    let Some(mut file) = open_regular(&layout.stdout())? else { return Ok(None) };
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LIMIT)))?;
    let mut text = Vec::new();
    file.take(LIMIT).read_to_end(&mut text)?;
    Ok(last_object_in(&text))
}

/// Refuses a row with more fields than columns; empty fields at the end do not count.
pub(crate) fn fits(fields: &[std::ops::Range<usize>], columns: usize, row: u64) -> Result<(), Damage> {
    if fields.iter().skip(columns).all(std::ops::Range::is_empty) {
        return Ok(());
    }
    let count = fields.len();
    Err(Damage::Form(format!("has {count} fields in row {row}, and {columns} columns")))
}

/// Returns the names of the columns, made unique.
pub(crate) fn columns(header: Record) -> Vec<Vec<u8>> {
    // `step` is the checkpoint's step.
    apart(header.cells().map(|cell| (if cell == b"step" { b"metrics.step".as_slice() } else { cell }, cell)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use run_metrics::csv::Parser;

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
