//! Tables for people: columns that line up, and colours that mean something.

use crate::rundir::status::Status;
use crate::text::{fit, printable};
use unicode_width::UnicodeWidthStr;

/// A colour that means something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tint {
    /// No colour.
    None,
    /// Good.
    Good,
    /// It needs attention.
    Doubt,
    /// Failed.
    Bad,
    /// Less important.
    Dim,
}

impl From<Status> for Tint {
    /// Returns the colour of a status.
    fn from(status: Status) -> Self {
        match status {
            Status::Running | Status::Completed => Self::Good,
            Status::Created | Status::Queued | Status::Stopped => Self::None,
            Status::Stale => Self::Doubt,
            Status::Failed | Status::Dead => Self::Bad,
        }
    }
}

/// Rows under heads, in columns as wide as they need to be.
#[derive(Debug, Default)]
pub struct Table {
    heads: Vec<String>,
    rows: Vec<Vec<(String, Tint)>>,
}

impl Table {
    /// Creates a table with these heads.
    pub fn new(heads: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { heads: heads.into_iter().map(Into::into).collect(), rows: Vec::new() }
    }

    /// Adds a row; a missing value is an empty cell. A row of a single cell spans all columns.
    pub fn row(&mut self, cells: Vec<(String, Tint)>) {
        self.rows.push(cells.into_iter().map(|(cell, tint)| (printable(&cell).into_owned(), tint)).collect());
    }

    /// Returns whether the table is empty.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Formats the table as lines of at most this width.
    pub fn lines(&self, colour: bool, columns: usize) -> Vec<String> {
        let heads: Vec<(String, Tint)> = self.heads.iter().map(|head| (head.clone(), Tint::Dim)).collect();
        let rows = || std::iter::once(&heads).filter(|heads| !heads.is_empty()).chain(&self.rows);
        let count = rows().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let rows = rows().filter(|row| row.len() > 1);
            rows.filter_map(|row| row.get(column)).map(|(cell, _)| cell.width()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..count).map(width).collect();
        rows()
            .map(|row| {
                let mut line = String::new();
                let mut owed = 0; // blanks before the next cell with text
                let mut left = columns;
                for ((cell, tint), width) in row.iter().zip(&widths) {
                    if !cell.is_empty() && left > owed {
                        left -= owed;
                        line.extend(std::iter::repeat_n(' ', owed));
                        let text = fit(cell, left);
                        left -= text.width().min(left);
                        line.push_str(&tinted(&text, if colour { *tint } else { Tint::None }));
                        owed = 0;
                    }
                    owed += width.saturating_sub(cell.width()) + 2;
                }
                line
            })
            .collect()
    }
}

fn tinted(text: &str, tint: Tint) -> String {
    let code = match tint {
        Tint::None => return text.to_owned(),
        Tint::Good => "32",
        Tint::Doubt => "33",
        Tint::Bad => "31",
        Tint::Dim => "2",
    };
    format!("\u{1b}[{code}m{text}\u{1b}[0m")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_lines_end_with_text() {
        let mut table = Table::new(["RUN", "STATUS", "NOTE"]);
        let row = |cells: [&str; 3]| cells.map(|cell| (cell.to_owned(), Tint::Good)).to_vec();
        table.row(row(["a", "created", ""]));
        table.row(row(["語\u{1b}", "", "x"]));
        assert_eq!(table.lines(false, 8), ["RUN  ST…", "a    cr…", "語?"]);
        assert_eq!(table.lines(false, 99), ["RUN  STATUS   NOTE", "a    created", "語?           x"]);
        assert_eq!(table.lines(true, 99)[1], "\u{1b}[32ma\u{1b}[0m    \u{1b}[32mcreated\u{1b}[0m");
    }
}
