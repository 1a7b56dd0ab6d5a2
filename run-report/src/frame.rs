//! Rows under named columns: sorted, fitted to a terminal, and printed as a table, CSV, JSON or Markdown.

use crate::scalar::Scalar;
use clap::ValueEnum;
use run_common::cli::out::Out;
use run_common::cli::table::{Table, Tint};
use run_common::error::Error;
use run_common::text::{cut, printable};
use run_metrics::csv::quote;
use serde_json::{Map, Value};
use unicode_width::UnicodeWidthStr;

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
}

/// The hint for an unknown column.
pub(crate) const ALL_COLUMNS: &str = "--format csv shows all columns";

/// Rows under columns.
#[derive(Debug, Default)]
pub(crate) struct Frame {
    pub(crate) columns: Vec<Column>,
    pub(crate) rows: Vec<Vec<Tinted>>,
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
        self.columns.push(Column { name: name.into(), is_extra });
        for (number, value) in values.enumerate() {
            if self.rows.len() <= number {
                self.rows.push(Vec::new());
            }
            self.rows[number].push(value);
        }
    }

    /// Finds a column.
    pub(crate) fn find(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
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

    /// Drops columns of a table for people, from the right, until the table fits the terminal; returns the
    /// number of dropped columns.
    pub(crate) fn fit(&mut self, width: usize) -> usize {
        let needs = |at: usize| {
            let values = self.rows.iter().map(|row| cut(&row[at].0.shown(), WIDTH).width());
            values.max().unwrap_or(0).max(self.columns[at].name.width()) + 2
        };
        let shown: Vec<usize> = self.shown().collect();
        let mut end = 0;
        let has_room = |at: &&usize| {
            end += needs(**at);
            end <= width + 2
        };
        let unfit: Vec<usize> =
            shown.iter().skip(shown.iter().take_while(has_room).count().max(1)).copied().collect();
        for &at in &unfit {
            self.columns[at].is_extra = true;
        }
        unfit.len()
    }

    /// Keeps these columns, in this order.
    pub(crate) fn select(&mut self, columns: &[usize]) {
        let is_extra = false;
        self.columns = columns.iter().map(|&at| Column { is_extra, ..self.columns[at].clone() }).collect();
        for row in &mut self.rows {
            *row = columns.iter().map(|&at| row[at].clone()).collect();
        }
    }

    /// Prints it.
    pub(crate) fn print(&self, format: TableFormat, out: &mut Out) -> Result<(), Error> {
        match format {
            TableFormat::Table => self.print_table(out),
            TableFormat::Csv => out.bytes(&self.csv()),
            TableFormat::Json => self.objects().try_for_each(|object| out.json(&object)),
            TableFormat::Md => self.markdown().iter().try_for_each(|line| out.text(line)),
        }
    }

    fn shown(&self) -> impl Iterator<Item = usize> {
        (0..self.columns.len()).filter(|&at| !self.columns[at].is_extra)
    }

    fn print_table(&self, out: &mut Out) -> Result<(), Error> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let heads = self.shown().map(|at| printable(&self.columns[at].name).into_owned());
        let mut table = Table::new(heads);
        for row in &self.rows {
            table.row(
                self.shown().map(|at| (cut(&row[at].0.shown(), WIDTH).into_owned(), row[at].1)).collect(),
            );
        }
        out.table(&table)
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
        let is_figure = |at: usize| self.rows.iter().all(|row| !matches!(row[at].0, Scalar::Text(_)));
        let rule = self.shown().map(|at| if is_figure(at) { "---:" } else { "---" }).collect::<Vec<_>>();
        let mut lines = vec![line(heads), format!("| {} |", rule.join(" | "))];
        lines.extend(self.rows.iter().map(|row| line(self.shown().map(|at| row[at].0.shown()).collect())));
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
    fn what_has_no_room_is_left_out_from_the_right() {
        let column = |text: &str| vec![Scalar::Text(text.to_owned())];
        let fitted = |width| {
            let mut frame = frame(vec![column("語語"), column("b"), column("c")]);
            (frame.fit(width), frame.shown().count())
        };
        assert_eq!([4 + 2 + 2 + 2 + 2, 11, 8, 7, 1].map(fitted), [(0, 3), (1, 2), (1, 2), (2, 1), (2, 1)]);
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
