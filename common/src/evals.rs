//! What run-eval leaves in the directory of evaluations: `<run>_<label>/`, with `eval_config.yaml`,
//! which names the run, and `consolidated_metrics.csv`. Used by run-report to read them.

use crate::error::plain;
use crate::provenance::config;
use crate::rundir::layout::Layout;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

/// The file that says whose evaluation it is, and how it was made.
pub const CONFIG: &str = "eval_config.yaml";

/// The table of all steps.
pub const TABLE: &str = "consolidated_metrics.csv";

/// An evaluation of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evaluation {
    /// What tells it from others of the run.
    pub label: String,
    /// Its directory.
    pub path: PathBuf,
}

/// Rows under a header.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// The names of the columns.
    pub columns: Vec<String>,
    /// The cells of each row, as many as there are columns.
    pub rows: Vec<Vec<String>>,
    /// Rows with another number of cells: nobody knows what they mean.
    pub skipped: u64,
}

/// Returns the directory of evaluations: as given, else `$EVAL_RUNS_DIR`, else `eval_runs` beside
/// the runs directory.
pub fn directory(given: Option<&Path>, runs_dir: &Path) -> PathBuf {
    let from_environment = || env::var_os("EVAL_RUNS_DIR").filter(|dir| !dir.is_empty()).map(PathBuf::from);
    let beside = || std::path::absolute(runs_dir).unwrap_or_default().with_file_name("eval_runs");
    given.map(Path::to_owned).or_else(from_environment).unwrap_or_else(beside)
}

/// Finds the evaluations of a run, by label. Those of a run in a batch are in a directory of the
/// batch's name. One whose config names another run is left out.
pub fn find(directory: &Path, layout: &Layout, batch: Option<&str>, run_id: &str) -> Vec<Evaluation> {
    let prefix = format!("{}_", layout.name());
    let directory = batch.map_or_else(|| directory.to_owned(), |batch| directory.join(batch));
    let entries = fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok);
    let mut found: Vec<Evaluation> = entries
        .filter_map(|entry| {
            let label = entry.file_name().to_str()?.strip_prefix(&prefix)?.to_owned();
            let path = entry.path();
            let config = path.join(CONFIG);
            let values = config::parse(&config, &fs::read(&config).ok()?).ok()?;
            let owner = values.get("run_id").and_then(|id| id.as_str());
            owner.is_none_or(|owner| owner == run_id).then_some(Evaluation { label, path })
        })
        .collect();
    found.sort_by(|one, other| one.label.cmp(&other.label));
    found
}

/// Reads a table; texts in quotes may hold line ends.
///
/// Errors: why it cannot be read, in one line.
pub fn read_table(path: &Path) -> Result<Table, String> {
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_path(path).map_err(|error| match error
        .into_kind()
    {
        csv::ErrorKind::Io(error) => plain(&error),
        other => format!("{other:?}"),
    })?;
    let text = |cells: &csv::ByteRecord| -> Vec<String> {
        cells.iter().map(|cell| String::from_utf8_lossy(cell).into_owned()).collect()
    };
    let columns = text(reader.byte_headers().map_err(|error| error.to_string())?);
    let mut table = Table { columns, ..Table::default() };
    if let Some(first) = table.columns.first_mut() {
        *first = first.trim_start_matches('\u{feff}').to_owned();
    }
    for row in reader.byte_records() {
        let row = row.map_err(|error| error.to_string())?;
        if row.len() == table.columns.len() {
            table.rows.push(text(&row));
        } else {
            table.skipped += 1;
        }
    }
    Ok(table)
}
