//! SQL text for DuckDB.

/// Returns a text as a literal.
pub(super) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Returns a column name.
pub(super) fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Returns a list of paths, each escaped so that it is not a pattern.
pub(super) fn paths(files: &[String]) -> String {
    let path = |file: &String| {
        let escaped: String =
            file.chars().map(|c| if "*?[".contains(c) { format!("[{c}]") } else { c.to_string() }).collect();
        literal(&escaped)
    };
    files.iter().map(path).collect::<Vec<_>>().join(",\n    ")
}

/// Returns a table of rows, with columns and their types.
pub(super) fn values(rows: impl Iterator<Item = String>, columns: &str) -> String {
    let rows: Vec<String> = rows.map(|row| format!("({row})")).collect();
    let columns: Vec<(&str, &str)> =
        columns.split(", ").map(|column| column.split_once(' ').unwrap_or((column, "VARCHAR"))).collect();
    if rows.is_empty() {
        let none = columns.iter().map(|(name, kind)| format!("NULL::{kind} AS {name}"));
        return format!("SELECT {} WHERE false", none.collect::<Vec<_>>().join(", "));
    }
    let names = columns.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    format!("SELECT * FROM (VALUES\n  {}) AS t({names})", rows.join(",\n  "))
}
