//! Tables for people: aligned columns, and colours with a meaning.

use super::fitting::{Cell, Column, fitted};
use crate::rundir::status::Status;
use crate::text::{fit, printable};
use std::borrow::Cow;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Minimum width to which values are folded, in columns of a terminal.
const VALUES: usize = 20;

/// A colour, by its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tint {
    /// No colour.
    None,
    /// Running.
    Live,
    /// Good.
    Good,
    /// It needs attention.
    Doubt,
    /// Failed.
    Bad,
    /// Less important.
    Dim,
    /// Chosen: in reverse, also where colours are off.
    Chosen,
}

impl From<Status> for Tint {
    /// Returns the colour of a status.
    fn from(status: Status) -> Self {
        match status {
            Status::Running => Self::Live,
            Status::Completed => Self::Good,
            Status::Created | Status::Queued | Status::Stopped => Self::None,
            Status::Stale => Self::Doubt,
            Status::Failed | Status::Dead => Self::Bad,
        }
    }
}

/// Rows under heads, in columns of the necessary width.
#[derive(Debug, Default)]
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// Creates a table with these columns; a text is the head of a column.
    pub fn new(columns: impl IntoIterator<Item = impl Into<Column>>) -> Self {
        Self { columns: columns.into_iter().map(Into::into).collect(), rows: Vec::new() }
    }

    /// Adds a row; a missing value is an empty cell. A row of a single cell spans all columns.
    pub fn row(&mut self, cells: Vec<Cell>) {
        self.rows.push(cells.into_iter().map(|(cell, tint)| (printable(&cell).into_owned(), tint)).collect());
    }

    /// Returns whether the table is empty.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Returns whether the columns have heads.
    pub fn has_heads(&self) -> bool {
        !self.columns.is_empty()
    }

    /// Formats the table as lines of at most this width. A table with heads is [fitted]; a width of
    /// `usize::MAX` leaves the table whole.
    pub fn lines(&self, colour: bool, columns: usize) -> Vec<String> {
        self.draw(colour, columns).0
    }

    /// Formats the table like [`Self::lines`]; also returns the number of columns that were dropped.
    pub(super) fn draw(&self, colour: bool, columns: usize) -> (Vec<String>, usize) {
        if self.has_heads() && columns != usize::MAX {
            return fitted(&self.columns, &self.rows, colour, columns);
        }
        let heads: Vec<Cell> = self.columns.iter().map(|column| (column.head.clone(), Tint::Dim)).collect();
        let rows: Vec<&[Cell]> = std::iter::once(heads.as_slice())
            .filter(|heads| !heads.is_empty())
            .chain(self.rows.iter().map(Vec::as_slice))
            .collect();
        (lines(&rows, &[], colour, columns), 0)
    }

    /// Formats a table of names and values without heads. Values wider than the terminal continue on further
    /// lines, broken between words. Rows of a single cell are not broken.
    pub(super) fn folded(&self, colour: bool, columns: usize) -> Vec<String> {
        let named =
            || self.rows.iter().filter_map(|row| row.split_first().filter(|(_, rest)| !rest.is_empty()));
        let names = named().map(|((name, _), _)| name.width()).max().unwrap_or(0);
        let room = columns.saturating_sub(names + 2);
        let mut rows: Vec<Vec<Cell>> = Vec::new();
        for row in &self.rows {
            let [name, (value, tint)] = row.as_slice() else {
                rows.push(row.clone());
                continue;
            };
            let parts = if room < VALUES { vec![value.clone()] } else { broken(value, room, false) };
            for (number, part) in parts.into_iter().enumerate() {
                let name = if number == 0 { name.clone() } else { (String::new(), Tint::None) };
                rows.push(vec![name, (part, *tint)]);
            }
        }
        let rows: Vec<&[Cell]> = rows.iter().map(Vec::as_slice).collect();
        lines(&rows, &[], colour, usize::MAX)
    }
}

/// Breaks a text between words into parts of at most this width. A longer word is broken, too, if `breaks_words`; else
/// it stays whole.
pub(super) fn broken(text: &str, width: usize, breaks_words: bool) -> Vec<String> {
    let mut parts = vec![String::new()];
    for word in text.split_inclusive(' ') {
        if breaks_words && word.trim_end().width() > width {
            for sign in word.chars() {
                match parts.last_mut() {
                    Some(part) if part.width() + sign.width().unwrap_or(0) <= width => part.push(sign),
                    _ => parts.push(sign.to_string()),
                }
            }
            continue;
        }
        match parts.last_mut() {
            Some(part) if part.is_empty() || part.width() + word.trim_end().width() <= width => {
                part.push_str(word);
            }
            _ => parts.push(word.to_owned()),
        }
    }
    parts.into_iter().map(|part| part.trim_end().to_owned()).collect()
}

/// Formats rows as lines of at most this width; the columns with numbers in `right` are aligned right.
pub(super) fn lines<T: AsRef<str>>(
    rows: &[&[(T, Tint)]],
    right: &[bool],
    colour: bool,
    columns: usize,
) -> Vec<String> {
    let mut widths: Vec<usize> = Vec::new();
    for row in rows.iter().filter(|row| row.len() > 1) {
        widths.resize(widths.len().max(row.len()), 0);
        for ((cell, _), width) in row.iter().zip(&mut widths) {
            *width = width_of(cell.as_ref()).max(*width);
        }
    }
    let of_row = |row: &&[(T, Tint)]| {
        let mut line = String::new();
        let mut owed = 0; // blanks before the next cell with text
        let mut left = columns;
        for (number, (cell, tint)) in row.iter().enumerate() {
            let cell = cell.as_ref();
            let needs = width_of(cell);
            let blanks = widths.get(number).map_or(0, |width| width.saturating_sub(needs));
            let (before, after) = if right.get(number) == Some(&true) { (blanks, 0) } else { (0, blanks) };
            owed += before;
            if !cell.is_empty() && left > owed {
                left -= owed;
                line.extend(std::iter::repeat_n(' ', owed));
                let text = if needs <= left { Cow::Borrowed(cell) } else { Cow::Owned(fit(cell, left)) };
                left -= needs.min(left);
                let is_tinted = colour || *tint == Tint::Chosen;
                push_tinted(&text, if is_tinted { *tint } else { Tint::None }, &mut line);
                owed = 0;
            }
            owed += after + 2;
        }
        line
    };
    rows.iter().map(of_row).collect()
}

/// Returns the width of a printable text in columns of a terminal.
pub(super) fn width_of(text: &str) -> usize {
    if text.is_ascii() { text.len() } else { text.width() }
}

/// Returns a text in a colour.
pub fn tinted(text: &str, tint: Tint) -> String {
    let mut line = String::new();
    push_tinted(text, tint, &mut line);
    line
}

fn push_tinted(text: &str, tint: Tint, into: &mut String) {
    let code = match tint {
        Tint::None => return into.push_str(text),
        Tint::Live => "36",
        Tint::Good => "32",
        Tint::Doubt => "33",
        Tint::Bad => "31",
        Tint::Dim => "2",
        Tint::Chosen => "7",
    };
    for part in ["\u{1b}[", code, "m", text, "\u{1b}[0m"] {
        into.push_str(part);
    }
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
        let whole = usize::MAX;
        assert_eq!(table.lines(false, whole), ["RUN  STATUS   NOTE", "a    created", "語?           x"]);
        assert_eq!(table.lines(true, whole)[1], "\u{1b}[32ma\u{1b}[0m    \u{1b}[32mcreated\u{1b}[0m");
    }

    #[test]
    fn long_values_continue_below_between_words() {
        let mut table = Table::default();
        let row = |cells: &[&str]| cells.iter().map(|cell| ((*cell).to_owned(), Tint::None)).collect();
        table.row(row(&[
            "command:",
            "python3 train.py --learning-rate 0.1 --a-word-of-more-than-twenty-letters x",
        ]));
        table.row(row(&["note:", ""]));
        table.row(row(&["a line of a log, which is left as it is"]));
        let folded = [
            "command:  python3 train.py",
            "          --learning-rate 0.1",
            "          --a-word-of-more-than-twenty-letters",
            "          x",
            "note:",
            "a line of a log, which is left as it is",
        ];
        assert_eq!(table.folded(false, 30), folded);
        assert_eq!(table.folded(false, 29)[0], table.lines(false, usize::MAX)[0], "no room");
    }
}
