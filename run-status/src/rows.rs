//! The table of a list, with the runs of a batch below its name. Used by the list and by `--watch`.

use crate::entry::{Entry, HEADS};
use crate::select::Scope;
use run_common::cli::fitting::Column;
use run_common::cli::table::{Table, Tint};
use run_common::rundir::observe::Observed;
use run_common::rundir::status::Status;
use std::path::PathBuf;

/// A run in the table, shown or only counted.
#[derive(Clone)]
pub(crate) struct RunRow {
    /// Its batch.
    batch: Option<PathBuf>,
    pub(crate) status: Status,
    cells: Option<Vec<(String, Tint)>>,
}

impl RunRow {
    /// Creates the row of a shown run.
    pub(crate) fn shown(run: &Observed, scope: &Scope, columns: &[String]) -> Self {
        let batch = scope.batch_of(&run.run);
        let mut cells = Entry::of(run).cells(columns);
        if batch.is_some() {
            cells[0].0.insert_str(0, "  ");
        }
        Self { batch, status: run.status(), cells: Some(cells) }
    }

    /// Creates the row of a run that is only counted.
    pub(crate) fn counted(run: &Observed, scope: &Scope) -> Self {
        Self { batch: scope.batch_of(&run.run), status: run.status(), cells: None }
    }

    /// Returns whether the run is shown.
    pub(crate) fn is_shown(&self) -> bool {
        self.cells.is_some()
    }

    /// Marks the run as the chosen one.
    pub(crate) fn choose(&mut self) {
        if let Some((_, tint)) = self.cells.as_mut().and_then(|cells| cells.first_mut()) {
            *tint = Tint::Chosen;
        }
    }

    /// Hides the run, which is then only counted.
    pub(crate) fn hide(&mut self) {
        self.cells = None;
    }
}

/// Creates the table: runs of a batch below its name and the number of its runs in each status.
pub(crate) fn table(rows: Vec<RunRow>) -> Table {
    let mut table = Table::new(HEADS.map(column));
    let mut rows = rows.into_iter().peekable();
    while let Some(first) = rows.next() {
        let batch = first.batch.clone();
        let mut together = vec![first];
        while let Some(row) = rows.next_if(|row| batch.is_some() && row.batch == batch) {
            together.push(row);
        }
        if let Some(batch) = batch.filter(|_| together.iter().any(RunRow::is_shown)) {
            table.row(vec![(format!("{}/  {}", batch.display(), counts(&together)), Tint::None)]);
        }
        together.into_iter().filter_map(|row| row.cells).for_each(|cells| table.row(cells));
    }
    table
}

/// Returns the column with this head; what tells least about a run has the highest rank.
pub(crate) fn column(head: &str) -> Column {
    let rank = match head {
        "RUN" | "EVALUATION" | "CHECKPOINT" => return Column::names(head),
        "REASON" => return Column::reasons(head),
        "ATTEMPT" | "STATUS" | "STATE" => 0,
        "STEP" => 1,
        "METRICS" => return Column::from(head).ranked(2).of_words(),
        "DURATION" => 3,
        "ETA" | "AGE" => 4,
        "STARTED" => 5,
        _ => 6,
    };
    Column::from(head).ranked(rank)
}

/// Returns the number of runs in each status.
pub(crate) fn counts(rows: &[RunRow]) -> String {
    let count = |status| rows.iter().filter(|row| row.status == status).count();
    let counts = Status::ALL.map(|status| (count(status), status));
    let shown =
        counts.iter().filter(|(count, _)| *count > 0).map(|(count, status)| format!("{count} {status}"));
    shown.collect::<Vec<_>>().join(", ")
}
