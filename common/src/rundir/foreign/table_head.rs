//! The beginning of a table (CSV), which tells whether a common name such as `progress.csv` is that of a trainer's
//! table.

use crate::fsio::read::read_start;
use std::path::Path;

/// Maximum length of a header and of the row below it.
const HEAD: u64 = 16 << 10;

/// The beginning of a table.
#[derive(Debug)]
pub(super) struct TableHead {
    /// The names of its columns.
    columns: Vec<String>,
    /// The fields of its first row, if there is one.
    row: Vec<String>,
}

impl TableHead {
    /// Reads the beginning of a table whose fields are separated by one of these characters; `None` if it cannot
    /// be read, or is empty.
    pub(super) fn read(path: &Path, separators: &[char]) -> Option<Self> {
        let start = read_start(path, HEAD).ok()?;
        let text = String::from_utf8_lossy(&start);
        let mut lines = text.trim_start_matches('\u{feff}').lines();
        let fields = |line: &str| -> Vec<String> {
            line.split(separators).map(|field| field.trim().trim_matches('"').to_owned()).collect()
        };
        let columns = lines.next().filter(|header| !header.trim().is_empty()).map(fields)?;
        Some(Self { columns, row: lines.next().map(fields).unwrap_or_default() })
    }

    /// Returns whether the first column has this name.
    pub(super) fn begins_with(&self, name: &str) -> bool {
        self.columns.first().is_some_and(|first| first == name)
    }

    /// Returns whether a column has such a name, and no text in the first row.
    pub(super) fn any_number(&self, is_such: impl Fn(&str) -> bool) -> bool {
        let is_number = |field: &String| field.is_empty() || field.parse::<f64>().is_ok();
        let columns = self.columns.iter().enumerate().filter(|(_, column)| is_such(column));
        columns.into_iter().any(|(at, _)| self.row.get(at).is_none_or(is_number))
    }
}
