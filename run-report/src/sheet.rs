//! Rows under named columns, from which table, CSV, JSON and Markdown come.

use crate::cli::Format;
use run_common::cli::out::Out;
use run_common::cli::table::{Table, Tint};
use run_common::error::Error;
use run_common::figures::{figure, money};
use run_common::json::json_number;
use run_common::text::{cut, printable};
use run_common::time::human_seconds;
use run_metrics::csv::quote;
use serde_json::{Map, Value};
use std::cmp::Ordering;
use unicode_width::UnicodeWidthStr;

/// Characters of a cell in a table for people.
const WIDTH: usize = 48;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cell {
    /// There is none.
    Empty,
    /// A number; it may be NaN or infinite.
    Number(f64),
    /// A time in seconds.
    Seconds(f64),
    /// A sum of money.
    Dollars(f64),
    /// A number that somebody chose, shown in full.
    Exact(f64),
    /// A number that is the best of its row.
    Best(f64),
    /// Anything else.
    Text(String),
}

impl Cell {
    /// Makes a cell of what may not be there.
    pub(crate) fn text(text: Option<&str>) -> Self {
        text.map_or(Self::Empty, |text| Self::Text(text.to_owned()))
    }

    /// Makes a cell of what may not be there.
    pub(crate) fn number(number: Option<f64>) -> Self {
        number.map_or(Self::Empty, Self::Number)
    }

    /// Makes a cell of what somebody chose.
    pub(crate) fn setting(value: &Value) -> Self {
        match Self::json(value) {
            Self::Number(number) => Self::Exact(number),
            cell => cell,
        }
    }

    /// Makes a cell of a JSON value; null is none.
    pub(crate) fn json(value: &Value) -> Self {
        match value {
            Value::Null => Self::Empty,
            Value::Number(number) => number.as_f64().map_or(Self::Empty, Self::Number),
            Value::String(text) => Self::Text(text.clone()),
            other => Self::Text(other.to_string()),
        }
    }

    fn float(&self) -> Option<f64> {
        match self {
            Self::Number(number)
            | Self::Seconds(number)
            | Self::Dollars(number)
            | Self::Exact(number)
            | Self::Best(number) => Some(*number),
            Self::Empty | Self::Text(_) => None,
        }
    }

    /// Says whether it is another than that; NaN is the same as NaN.
    pub(crate) fn differs(&self, other: &Self) -> bool {
        let is_nan = |cell: &Self| cell.float().is_some_and(f64::is_nan);
        self != other && !(is_nan(self) && is_nan(other))
    }

    /// Returns it for people.
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Empty => String::new(),
            Self::Number(number) => figure(*number),
            Self::Seconds(seconds) => human_seconds(*seconds),
            Self::Dollars(usd) => money(*usd),
            Self::Exact(number) => csv_number(*number),
            Self::Best(number) => format!("{} *", figure(*number)),
            Self::Text(text) => text.clone(),
        }
    }

    /// Returns it for programs.
    fn to_json(&self) -> Value {
        match (self, self.float()) {
            (_, Some(number)) => json_number(number),
            (Self::Text(text), _) => Value::from(text.as_str()),
            _ => Value::Null,
        }
    }

    /// Appends it as a field of CSV.
    pub(crate) fn write_csv(&self, into: &mut Vec<u8>) {
        match (self, self.float()) {
            (_, Some(number)) => into.extend_from_slice(csv_number(number).as_bytes()),
            (Self::Text(text), _) => quote(text.as_bytes(), into),
            _ => {}
        }
    }

    /// Compares two: numbers before texts, NaN after numbers, what is missing last.
    pub(crate) fn order(&self, other: &Self) -> Ordering {
        let rank = |cell: &Self| match (cell, cell.float()) {
            (_, Some(number)) if number.is_nan() => 2,
            (_, Some(_)) => 0,
            (Self::Text(_), _) => 1,
            _ => 3,
        };
        rank(self).cmp(&rank(other)).then_with(|| match (self, other) {
            (Self::Text(one), Self::Text(other)) => one.cmp(other),
            _ => self.float().partial_cmp(&other.float()).unwrap_or(Ordering::Equal),
        })
    }

    /// Says whether there is something to put in order; the rest comes last whichever way.
    pub(crate) fn is_comparable(&self) -> bool {
        !matches!(self, Self::Empty) && !self.float().is_some_and(f64::is_nan)
    }
}

/// Returns a number as CSV holds it.
pub(crate) fn csv_number(number: f64) -> String {
    if number.is_finite() { json_number(number).to_string() } else { number.to_string() }
}

/// Cells and their colours.
pub(crate) type Row = Vec<(Cell, Tint)>;

/// A named column.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Column {
    pub(crate) name: String,
    /// It is for programs, and shown to people only when they ask for it.
    pub(crate) is_extra: bool,
}

/// Rows under columns.
#[derive(Debug, Default)]
pub(crate) struct Sheet {
    pub(crate) columns: Vec<Column>,
    pub(crate) rows: Vec<Row>,
}

impl Sheet {
    /// Adds a column with a cell for every row.
    pub(crate) fn column(
        &mut self,
        name: impl Into<String>,
        is_extra: bool,
        cells: impl Iterator<Item = Cell>,
    ) {
        self.tinted_column(name, is_extra, cells.map(|cell| (cell, Tint::None)));
    }

    /// Adds a column in colours.
    pub(crate) fn tinted_column(
        &mut self,
        name: impl Into<String>,
        is_extra: bool,
        cells: impl Iterator<Item = (Cell, Tint)>,
    ) {
        self.columns.push(Column { name: name.into(), is_extra });
        for (number, cell) in cells.enumerate() {
            if self.rows.len() <= number {
                self.rows.push(Vec::new());
            }
            self.rows[number].push(cell);
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

    /// Leaves out of a table for people what has no room in so many columns of a terminal, from the
    /// right; returns how many it left out.
    pub(crate) fn fit(&mut self, width: usize) -> usize {
        let needs = |at: usize| {
            let cells = self.rows.iter().map(|row| cut(&row[at].0.shown(), WIDTH).width());
            cells.max().unwrap_or(0).max(self.columns[at].name.width()) + 2
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
    pub(crate) fn print(&self, format: Format, out: &mut Out) -> Result<(), Error> {
        match format {
            Format::Table => self.print_table(out),
            Format::Csv => out.bytes(&self.csv()),
            Format::Json => self.objects().try_for_each(|object| out.json(&object)),
            Format::Md => self.markdown().iter().try_for_each(|line| out.text(line)),
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
            for (number, (cell, _)) in row.iter().enumerate() {
                if number > 0 {
                    csv.push(b',');
                }
                cell.write_csv(&mut csv);
            }
            csv.push(b'\n');
        }
        csv
    }

    /// Returns each row as an object, with all columns.
    pub(crate) fn objects(&self) -> impl Iterator<Item = Map<String, Value>> {
        self.rows.iter().map(|row| {
            let names = self.columns.iter().map(|column| column.name.clone());
            names.zip(row.iter().map(|(cell, _)| cell.to_json())).collect()
        })
    }

    fn markdown(&self) -> Vec<String> {
        let line = |cells: Vec<String>| {
            let cell =
                |cell: String| cell.replace('\\', r"\\").replace('|', r"\|").replace(['\n', '\r'], " ");
            format!("| {} |", cells.into_iter().map(cell).collect::<Vec<_>>().join(" | "))
        };
        let heads = self.shown().map(|at| self.columns[at].name.clone()).collect();
        let is_figure = |at: usize| self.rows.iter().all(|row| !matches!(row[at].0, Cell::Text(_)));
        let rule = self.shown().map(|at| if is_figure(at) { "---:" } else { "---" }).collect::<Vec<_>>();
        let mut lines = vec![line(heads), format!("| {} |", rule.join(" | "))];
        lines.extend(self.rows.iter().map(|row| line(self.shown().map(|at| row[at].0.shown()).collect())));
        lines
    }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "the numbers are exact")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sheet(cells: Vec<Vec<Cell>>) -> Sheet {
        let mut sheet = Sheet::default();
        for (number, column) in cells.into_iter().enumerate() {
            sheet.column(format!("k{number}"), false, column.into_iter());
        }
        sheet
    }

    #[test]
    fn the_best_comes_first_and_what_is_missing_last_whichever_way() {
        let cells = vec![Cell::Number(f64::NAN), Cell::Empty, Cell::Number(2.0), Cell::Number(1.0)];
        let mut sheet = sheet(vec![cells]);
        let order = |sheet: &Sheet| sheet.rows.iter().map(|row| row[0].0.shown()).collect::<Vec<_>>();
        sheet.sort(0, false);
        assert_eq!(order(&sheet), ["1", "2", "NaN", ""]);
        sheet.sort(0, true);
        assert_eq!(order(&sheet), ["2", "1", "NaN", ""]);
    }

    #[test]
    fn what_is_not_finite_is_null_in_json_and_named_in_csv() {
        let cells = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.5, 3.0].map(Cell::Number).to_vec();
        let sheet = sheet(vec![cells]);
        assert_eq!(String::from_utf8(sheet.csv()).unwrap(), "k0\nNaN\ninf\n-inf\n0.5\n3\n");
        let json: Vec<String> =
            sheet.objects().map(|object| serde_json::to_string(&object).unwrap()).collect();
        assert_eq!(
            json,
            [r#"{"k0":null}"#, r#"{"k0":null}"#, r#"{"k0":null}"#, r#"{"k0":0.5}"#, r#"{"k0":3}"#]
        );
    }

    #[test]
    fn what_has_no_room_is_left_out_from_the_right() {
        let column = |text: &str| vec![Cell::Text(text.to_owned())];
        let fitted = |width| {
            let mut sheet = sheet(vec![column("語語"), column("b"), column("c")]);
            (sheet.fit(width), sheet.shown().count())
        };
        assert_eq!([4 + 2 + 2 + 2 + 2, 11, 8, 7, 1].map(fitted), [(0, 3), (1, 2), (1, 2), (2, 1), (2, 1)]);
    }

    #[test]
    fn markdown_stays_a_table() {
        let sheet = sheet(vec![vec![Cell::Text("a|b\nc".to_owned())], vec![Cell::Number(0.25)]]);
        assert_eq!(sheet.markdown(), ["| k0 | k1 |", "| --- | ---: |", r"| a\|b c | 0.2500 |"]);
    }

    proptest! {
        #[test]
        fn csv_is_read_back_as_it_was(texts in prop::collection::vec(prop::collection::vec(any::<String>(), 3), 1..5)) {
            let sheet = sheet(texts.iter().map(|column| column.iter().cloned().map(Cell::Text).collect()).collect());
            let csv = sheet.csv();
            let mut reader = csv::Reader::from_reader(csv.as_slice());
            let rows: Vec<Vec<String>> =
                reader.records().map(|row| row.unwrap().iter().map(str::to_owned).collect()).collect();
            prop_assert_eq!(rows.len(), 3);
            for (number, row) in rows.iter().enumerate() {
                let expected: Vec<String> = texts.iter().map(|column| column[number].clone()).collect();
                prop_assert_eq!(row, &expected);
            }
        }

        #[test]
        fn numbers_are_read_back_as_they_were(number in prop::num::f64::ANY) {
            let back: f64 = csv_number(number).parse().unwrap();
            prop_assert!(back.total_cmp(&number).is_eq() || back.is_nan() && number.is_nan() || back == number);
        }
    }
}
