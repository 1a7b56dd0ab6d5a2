//! Figures of an evaluation: counts its rows and averages its columns after its command has succeeded.

use crate::metrics::{MetricsSource, columns, find, fits};
use run_common::error::Error;
use run_common::fsio::atomic::{Durability, replace};
use run_common::rundir::SCHEMA;
use run_common::rundir::evaluation::{Evaluation, Measured};
use run_common::rundir::layout::Layout;
use run_common::rundir::record::document;
use run_metrics::aggregate::{Aggregate, Room};
use run_metrics::csv::{Damage, Records};
use serde_json::{Map, Value};
use std::iter::repeat;

/// Returns what is wrong with the metrics of an evaluation, or else records their figures. Called after the
/// command has succeeded.
pub(crate) fn check(layout: &Layout) -> Option<String> {
    match find(layout) {
        Ok(Some(source)) => {
            let name = match source {
                MetricsSource::Table(_) => "metrics.csv",
                MetricsSource::Row(_) => "summary.json",
            };
            match measure(source) {
                Ok((0, _)) => Some(format!("no metrics: {name} has no rows")),
                Ok((rows, metrics)) => {
                    let step = Evaluation::read(layout).ok().and_then(|evaluation| evaluation.step);
                    let measured = Measured { schema: SCHEMA, step, rows, metrics };
                    let path = layout.measured();
                    let written =
                        document(&measured).and_then(|bytes| replace(&path, &bytes, Durability::Process));
                    written.err().map(|error| Error::io("write", &path, error).to_string())
                }
                Err(damage) => Some(format!("{name} {damage}")),
            }
        }
        Ok(None) => Some("no metrics: neither metrics.csv nor summary.json, nor JSON on stdout".to_owned()),
        Err(wrong) => Some(wrong),
    }
}

/// Running totals of a column.
#[derive(Clone, Debug)]
struct Column {
    /// The sum, while all fields are numbers.
    figures: Option<Aggregate>,
    /// Whether the fields number the rows, counting from 0 and from 1.
    counts_from: [bool; 2],
}

/// With fewer rows, no column counts as numbering them: 0 and 1 are results, too.
const COUNTED: u64 = 3;

/// Counts and checks the rows of a table, and sums up each column that holds only numbers and does not number
/// the rows.
fn measure(source: MetricsSource) -> Result<(u64, Map<String, Value>), Damage> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    #[test]
    fn a_column_with_the_numbers_of_the_rows_in_their_order_measures_nothing() {
        let measured = |table: &str| {
            let table = MetricsSource::Row(Cursor::new(table.as_bytes().to_vec()));
            measure(table).unwrap().1.keys().cloned().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(measured("i,n,m\n0,1,5\n1.0,2,5\n\"2\",3,5\n"), "m");
        assert_eq!(measured("order,rating\n2,1\n0,1\n1,3\n"), "order rating");
        assert_eq!(measured("rating\n1\n1\n3\n5\n5\n"), "rating");
        assert_eq!(measured("x,gap,short\n0,0,0\n1,,1\n3,2\n"), "x gap short");
        assert_eq!(measured("acc\n0\n1\n"), "acc");
        assert_eq!(measured("from_2\n2\n3\n4\n"), "from_2");
    }
}
