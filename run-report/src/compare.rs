//! Runs side by side: a row for each thing in which they differ.

use crate::cli::Args;
use crate::runs::{Fault, Figures, Run, Runs, more_is_better};
use crate::sheet::{Cell, Row, Sheet};
use crate::summary::{all_figures, figure_cell, metric_names, varying};
use run_common::cli::out::Out;
use run_common::cli::table::Tint;
use run_common::error::{Error, Exit};
use run_common::message::warn;

/// Prints the comparison.
pub(crate) fn print(runs: &Runs, args: &Args, out: &mut Out) -> Result<Exit, Error> {
    if runs.all.len() < 2 {
        // Where one could not be read, that was said, and weighs more.
        return Err(Error::new(runs.exit.max(Exit::Usage), "--compare takes two runs or more"));
    }
    let (figures, faults) = all_figures(&runs.all);
    let exit = faults.iter().map(Fault::say).fold(runs.exit, Exit::max);
    let sheet = of_runs(&runs.all, &figures);
    if sheet.rows.is_empty() {
        warn("these runs do not differ");
    }
    sheet.print(args.format, out).map(|()| exit)
}

/// Makes a column of each run, and a row of each thing in which they differ; the best values are
/// marked.
fn of_runs(runs: &[Run], figures: &[Figures]) -> Sheet {
    let mut rows: Vec<(&str, String, Row)> = Vec::new();
    let plain = |cells: Vec<Cell>| cells.into_iter().map(|cell| (cell, Tint::None)).collect::<Row>();
    let settings: Vec<_> = runs.iter().map(Run::settings).collect();
    rows.extend(varying(&settings, |_| false).into_iter().map(|(key, cells)| ("config", key, plain(cells))));
    let provenance: Vec<_> = runs.iter().map(Run::provenance).collect();
    rows.extend(varying(&provenance, |_| false).into_iter().map(|(key, cells)| ("code", key, plain(cells))));
    let state = |run: &Run| (Cell::Text(run.seen.status().to_string()), run.seen.status().into());
    let mut result = |key: &str, cells: Row| {
        if cells.windows(2).any(|pair| pair[0].0.differs(&pair[1].0)) {
            rows.push(("result", key.to_owned(), cells));
        }
    };
    result("status", runs.iter().map(state).collect());
    result("reason", plain(runs.iter().map(|run| Cell::text(run.seen.reason())).collect()));
    result("step", plain(figures.iter().map(|(_, step)| Cell::number(*step)).collect()));
    let seconds = |run: &Run| run.seen.duration_s().map_or(Cell::Empty, Cell::Seconds);
    result("duration_s", plain(runs.iter().map(seconds).collect()));
    for name in &metric_names(figures.iter().map(|(figures, _)| figures)) {
        for figure in ["last", "best"] {
            let cells = figures.iter().map(|(figures, _)| {
                figures.get(name).map_or(Cell::Empty, |of| figure_cell(of, figure, more_is_better(name)))
            });
            result(&format!("{name}.{figure}"), marked(cells.collect(), more_is_better(name)));
        }
    }
    let mut sheet = Sheet::default();
    sheet.column("what", false, rows.iter().map(|(what, ..)| Cell::Text((*what).to_owned())));
    sheet.column("key", false, rows.iter().map(|(_, key, _)| Cell::Text(key.clone())));
    for (number, run) in runs.iter().enumerate() {
        sheet.tinted_column(&run.name, false, rows.iter().map(|(.., cells)| cells[number].clone()));
    }
    sheet
}

/// Marks the best of some values.
fn marked(cells: Vec<Cell>, is_greatest: bool) -> Row {
    let numbers = cells.iter().filter_map(|cell| match cell {
        Cell::Number(number) if number.is_finite() => Some(*number),
        _ => None,
    });
    let best = numbers.reduce(if is_greatest { f64::max } else { f64::min });
    let mark = |cell| match (cell, best) {
        (Cell::Number(number), Some(best)) if number.total_cmp(&best).is_eq() => {
            (Cell::Best(number), Tint::Good)
        }
        (cell, _) => (cell, Tint::None),
    };
    cells.into_iter().map(mark).collect()
}
