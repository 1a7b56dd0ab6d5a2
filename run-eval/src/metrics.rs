//! Finds the metrics of an evaluation, as a table: `metrics.csv`, else the object in `summary.json`, else the
//! last JSON object that its command printed.

use crate::object::{Field, last_object_in, parse, table_of};
use run_common::fsio::open_regular;
use run_common::rundir::layout::Layout;
use run_metrics::csv::Damage;
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
