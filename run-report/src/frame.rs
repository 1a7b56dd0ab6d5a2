//! Rows under named columns: sorted, fitted to a terminal, and printed as a table, CSV, JSON or Markdown.

use crate::scalar::{Alike, Scalar};
use clap::ValueEnum;
use run_common::cli::fitting;
use run_common::cli::out::Out;
use run_common::cli::table::{Table, Tint};
use run_common::error::Error;
use run_common::figures::counted;
use run_common::message::warn;
use run_common::text::cut;
use run_metrics::csv::quote;
use run_metrics::scrape::WAYS_TO_METRICS;
use serde_json::{Map, Value, json};

/// Maximum length of a value in a table for people, in characters.
const WIDTH: usize = 48;

/// The format of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TableFormat {
    /// Columns for people, numbers in few digits.
    Table,
    /// RFC 4180, numbers in full.
    Csv,
    /// A JSON object a line.
    Json,
    /// Markdown.
    Md,
}

/// The column to sort rows by.
pub(crate) struct Sort<'a> {
    pub(crate) column: &'a str,
    pub(crate) is_descending: bool,
}

impl<'a> Sort<'a> {
    /// Reads a name, which may end in `:desc`.
    pub(crate) fn parse(text: &'a str) -> Self {
        match text.strip_suffix(":desc") {
            Some(column) => Self { column, is_descending: true },
            None => Self { column: text, is_descending: false },
        }
    }
}

/// A value and its colour.
pub(crate) type Tinted = (Scalar, Tint);

/// A named column.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Column {
    pub(crate) name: String,
    /// Whether the column is for programs, and shown to people only on request.
    pub(crate) is_extra: bool,
    /// Where a terminal has no room, columns of a higher rank are dropped first; `None` for the rank by place.
    rank: Option<u32>,
}

/// The hint for an unknown column.
pub(crate) const ALL_COLUMNS: &str = "--format csv shows all columns";

/// Returns the hint where no run has any metric.
pub(crate) fn no_metrics() -> String {
    format!("no metric was seen in these runs: {WAYS_TO_METRICS}")
}

/// Rows under columns.
#[derive(Debug, Default)]
pub(crate) struct Frame {
    pub(crate) columns: Vec<Column>,
    pub(crate) rows: Vec<Vec<Tinted>>,
    /// Whether a row, and not a column, holds values of one kind, which have one precision.
    pub(crate) has_kinds_in_rows: bool,
}

impl Frame {
    /// Adds a column with a value for every row.
    pub(crate) fn column(
        &mut self,
        name: impl Into<String>,
        is_extra: bool,
        values: impl Iterator<Item = Scalar>,
    ) {
        self.tinted_column(name, is_extra, values.map(|value| (value, Tint::None)));
    }

    /// Adds a column in colours.
    pub(crate) fn tinted_column(
        &mut self,
        name: impl Into<String>,
        is_extra: bool,
        values: impl Iterator<Item = Tinted>,
    ) {
        self.columns.push(Column { name: name.into(), is_extra, rank: None });
        for (number, value) in values.enumerate() {
            if self.rows.len() <= number {
                self.rows.push(Vec::new());
            }
            self.rows[number].push(value);
        }
    }

    /// Ranks the column that was added last: where a terminal has no room, columns of a higher rank are dropped
    /// first.
    pub(crate) fn rank_last(&mut self, rank: u32) {
        if let Some(column) = self.columns.last_mut() {
            column.rank = Some(rank);
        }
    }

    /// Ranks columns by their place among these names: where a terminal has no room, the last are dropped first.
    pub(crate) fn rank_by(&mut self, names: &[&str]) {
        for column in &mut self.columns {
            let place = names.iter().position(|name| *name == column.name);
            column.rank = place.and_then(|place| u32::try_from(place + 1).ok()).or(column.rank);
        }
    }

    /// Finds a column; `duration` is short for `duration_s`.
    pub(crate) fn find(&self, name: &str) -> Option<usize> {
        let find = |name: &str| self.columns.iter().position(|column| column.name == name);
        find(name).or_else(|| if name == "duration" { find("duration_s") } else { None })
    }

    /// Sorts the rows by a column.
    pub(crate) fn sort(&mut self, column: usize, is_descending: bool) {
        self.rows.sort_by(|one, other| {
            let (one, other) = (&one[column].0, &other[column].0);
            let order = one.order(other);
            if is_descending && one.is_comparable() && other.is_comparable() {
                order.reverse()
            } else {
                order
            }
        });
    }

    /// Keeps these columns, in this order.
    pub(crate) fn select(&mut self, columns: &[usize]) {
        let chosen =
            |&at: &usize| Column { name: self.columns[at].name.clone(), is_extra: false, rank: None };
        self.columns = columns.iter().map(chosen).collect();
        for row in &mut self.rows {
            *row = columns.iter().map(|&at| row[at].clone()).collect();
        }
    }

    /// Prints it.
    pub(crate) fn print(&self, format: TableFormat, out: &mut Out) -> Result<(), Error> {
        self.print_without(&[], "", format, out)
    }

    /// Prints it, and reports what it leaves out in a format for people: these numbers of things, and the columns
    /// that a terminal has no room for. `advice` says how to see them, beside other formats.
    pub(crate) fn print_without(
        &self,
        hidden: &[(usize, &str)],
        advice: &str,
        format: TableFormat,
        out: &mut Out,
    ) -> Result<(), Error> {
        let unfit = match format {
            TableFormat::Table => self.print_table(out)?,
            TableFormat::Md => {
                self.markdown().iter().try_for_each(|line| out.text(line))?;
                0
            }
            TableFormat::Csv => return out.bytes(&self.csv()),
            TableFormat::Json => return self.objects().try_for_each(|object| out.json(&object)),
        };
        let mut words: Vec<String> = hidden
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| counted(*count, what))
            .collect();
        words.extend((unfit > 0).then(|| format!("{} (terminal too narrow)", counted(unfit, "column"))));
        if !words.is_empty() {
            out.flush()?;
            warn(&format!("not shown: {}; {advice}--format csv and json show all", words.join(", ")));
        }
        Ok(())
    }

    fn shown(&self) -> impl Iterator<Item = usize> {
        (0..self.columns.len()).filter(|&at| !self.columns[at].is_extra)
    }

    fn print_table(&self, out: &mut Out) -> Result<usize, Error> {
        if self.rows.is_empty() {
            return Ok(0);
        }
        let mut table = Table::new(self.shown().map(|at| self.fitting(at)));
        for row in self.texts() {
            table.row(row.into_iter().map(|(at, text, tint)| (self.cut(at, text), tint)).collect());
        }
        out.table(&table)
    }

    /// Returns how a column is fitted to a terminal.
    fn fitting(&self, at: usize) -> fitting::Column {
        let Column { name, rank, .. } = &self.columns[at];
        let is_text = || self.rows.iter().any(|row| matches!(row[at].0, Scalar::Text(_)));
        let column = match name.as_str() {
            "run" => return fitting::Column::names(name),
            "reason" => return fitting::Column::reasons(name),
            "status" | "what" => fitting::Column::from(name),
            _ if self.has_kinds_in_rows || is_text() => fitting::Column::from(name).of_text(),
            _ => fitting::Column::from(name).with_long_head(),
        };
        match rank {
            Some(rank) => column.ranked(*rank),
            None => column,
        }
    }

    /// Cuts a long text of a table; names and reasons stay whole.
    fn cut(&self, at: usize, text: String) -> String {
        match self.columns[at].name.as_str() {
            "run" | "reason" => text,
            _ => cut(&text, WIDTH).into_owned(),
        }
    }

    /// Returns the shown cells for people, with the numbers of their columns; numbers of one kind have one
    /// precision.
    fn texts(&self) -> Vec<Vec<(usize, String, Tint)>> {
        let of_column = |at: usize| Alike::of(self.rows.iter().map(|row| &row[at].0));
        let columns: Vec<(usize, Alike)> = self.shown().map(|at| (at, of_column(at))).collect();
        let of_row = |row: &Vec<Tinted>| {
            let of_kind = self.has_kinds_in_rows.then(|| Alike::of(row.iter().map(|(value, _)| value)));
            let text = |(at, alike): &(usize, Alike)| {
                (*at, row[*at].0.shown_alike(of_kind.unwrap_or(*alike)), row[*at].1)
            };
            columns.iter().map(text).collect()
        };
        self.rows.iter().map(of_row).collect()
    }

    /// Returns it as CSV, with all columns.
    pub(crate) fn csv(&self) -> Vec<u8> {
        let mut csv = Vec::new();
        for (number, column) in self.columns.iter().enumerate() {
            if number > 0 {
                csv.push(b',');
            }
            quote(column.name.as_bytes(), &mut csv);
        }
        csv.push(b'\n');
        for row in &self.rows {
            for (number, (value, _)) in row.iter().enumerate() {
                if number > 0 {
                    csv.push(b',');
                }
                value.write_csv(&mut csv);
            }
            csv.push(b'\n');
        }
        csv
    }

    /// Returns the columns and the rows as members of a JSON object: as text, because there may be hundreds of
    /// thousands of columns, which take ten times the memory as values.
    pub(crate) fn members(&self) -> String {
        let column = |column: &Column| json!({"name": column.name, "extra": column.is_extra}).to_string();
        let columns: Vec<String> = self.columns.iter().map(column).collect();
        let rows: Vec<String> = self.objects().map(|row| Value::from(row).to_string()).collect();
        format!("\"columns\":[{}],\"rows\":[{}]", columns.join(","), rows.join(","))
    }

    /// Returns each row as an object, with all columns.
    pub(crate) fn objects(&self) -> impl Iterator<Item = Map<String, Value>> {
        self.rows.iter().map(|row| {
            let names = self.columns.iter().map(|column| column.name.clone());
            names.zip(row.iter().map(|(value, _)| value.to_json())).collect()
        })
    }

    fn markdown(&self) -> Vec<String> {
        let line = |cells: Vec<String>| {
            let cell =
                |cell: String| cell.replace('\\', r"\\").replace('|', r"\|").replace(['\n', '\r'], " ");
            format!("| {} |", cells.into_iter().map(cell).collect::<Vec<_>>().join(" | "))
        };
        let heads = self.shown().map(|at| self.columns[at].name.clone()).collect();
        let is_text = |value: &Scalar| matches!(value, Scalar::Text(_) | Scalar::Time(_));
        let is_figure = |at: usize| !self.rows.iter().any(|row| is_text(&row[at].0));
        let rule = self.shown().map(|at| if is_figure(at) { "---:" } else { "---" }).collect::<Vec<_>>();
        let mut lines = vec![line(heads), format!("| {} |", rule.join(" | "))];
        let cells = |row: Vec<(usize, String, Tint)>| row.into_iter().map(|(_, text, _)| text).collect();
        lines.extend(self.texts().into_iter().map(|row| line(cells(row))));
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(cells: Vec<Vec<Scalar>>) -> Frame {
        let mut frame = Frame::default();
        for (number, column) in cells.into_iter().enumerate() {
            frame.column(format!("k{number}"), false, column.into_iter());
        }
        frame
    }

    #[test]
    fn the_best_comes_first_and_what_is_missing_last_whichever_way() {
        let cells = vec![Scalar::Number(f64::NAN), Scalar::Empty, Scalar::Number(2.0), Scalar::Number(1.0)];
        let mut frame = frame(vec![cells]);
        let order = |frame: &Frame| frame.rows.iter().map(|row| row[0].0.shown()).collect::<Vec<_>>();
        frame.sort(0, false);
        assert_eq!(order(&frame), ["1", "2", "NaN", ""]);
        frame.sort(0, true);
        assert_eq!(order(&frame), ["2", "1", "NaN", ""]);
    }

    #[test]
    fn what_is_not_finite_is_null_in_json_and_named_in_csv() {
        let cells = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.5, 3.0].map(Scalar::Number).to_vec();
        let frame = frame(vec![cells]);
        assert_eq!(String::from_utf8(frame.csv()).unwrap(), "k0\nNaN\ninf\n-inf\n0.5\n3\n");
        let json: Vec<String> =
            frame.objects().map(|object| serde_json::to_string(&object).unwrap()).collect();
        assert_eq!(
            json,
            [r#"{"k0":null}"#, r#"{"k0":null}"#, r#"{"k0":null}"#, r#"{"k0":0.5}"#, r#"{"k0":3}"#]
        );
    }

    #[test]
    fn numbers_of_one_kind_have_one_precision() {
        let numbers = |numbers: &[f64]| numbers.iter().copied().map(Scalar::Number).collect::<Vec<_>>();
        let mut frame = frame(vec![numbers(&[0.5, 12.25]), numbers(&[3.0, 7.0])]);
        frame.columns[1].is_extra = true;
        assert_eq!(frame.markdown()[2..], ["| 0.5000 |", "| 12.2500 |"]);
        frame.columns[1].is_extra = false;
        frame.has_kinds_in_rows = true;
        assert_eq!(frame.markdown()[2..], ["| 0.5000 | 3.0000 |", "| 12.250 | 7.000 |"]);
    }

    #[test]
    fn markdown_stays_a_table() {
        let frame = frame(vec![vec![Scalar::Text("a|b\nc".to_owned())], vec![Scalar::Number(0.25)]]);
        assert_eq!(frame.markdown(), ["| k0 | k1 |", "| --- | ---: |", r"| a\|b c | 0.2500 |"]);
    }

    proptest! {
        #[test]
        fn csv_is_read_back_as_it_was(texts in prop::collection::vec(prop::collection::vec(any::<String>(), 3), 1..5)) {
            let frame = frame(texts.iter().map(|column| column.iter().cloned().map(Scalar::Text).collect()).collect());
            let csv = frame.csv();
            let mut reader = csv::Reader::from_reader(csv.as_slice());
            let rows: Vec<Vec<String>> =
                reader.records().map(|row| row.unwrap().iter().map(str::to_owned).collect()).collect();
            prop_assert_eq!(rows.len(), 3);
            for (number, row) in rows.iter().enumerate() {
                let expected: Vec<String> = texts.iter().map(|column| column[number].clone()).collect();
                prop_assert_eq!(row, &expected);
            }
        }
    }
}
