//! The table: a row for each run, or for each group of runs, with the columns that were asked for.

mod groups;
mod rows;

use crate::fault::Fault;
use crate::figures::{Figures, metrics_of};
use crate::frame::{Frame, Sort, TableFormat};
use crate::metric::more_is_better;
use crate::run::Run;
use crate::runs::Runs;
use rows::{FIGURES, Shown};
use run_common::cli::out::Out;
use run_common::cli::screen;
use run_common::error::{Error, Exit};
use run_common::message::warn;

/// What the table is to show.
pub(crate) struct Options<'a> {
    pub(crate) format: TableFormat,
    /// The columns; those that are usual, if none is named.
    pub(crate) columns: &'a [String],
    pub(crate) sort: Option<Sort<'a>>,
    pub(crate) best: Option<Best<'a>>,
    /// What the runs of a row agree in; each run has its own row, if nothing is named.
    pub(crate) group_by: &'a [String],
}

/// The metric that runs are compared by.
pub(crate) struct Best<'a> {
    metric: &'a str,
    is_greatest: bool,
}

impl<'a> Best<'a> {
    /// Reads the name of a metric, which may end in `:min` or `:max`.
    pub(crate) fn parse(text: &'a str) -> Self {
        if let Some(metric) = text.strip_suffix(":max") {
            return Self { metric, is_greatest: true };
        }
        let metric = text.strip_suffix(":min");
        Self { metric: metric.unwrap_or(text), is_greatest: metric.is_none() && more_is_better(text) }
    }
}

/// Prints the table.
pub(crate) fn print(found: &Runs, options: &Options, out: &mut Out) -> Result<Exit, Error> {
    let runs = found.all.as_slice();
    let best = options.best.as_ref();
    let (figures, faults) = Figures::of_all(runs);
    let exit = Fault::say_all(&faults, found.exit);
    let metrics = metrics_of(&figures);
    if let Some(best) = best
        && !metrics.iter().any(|name| name == best.metric)
    {
        return Err(no_column(best.metric, runs));
    }
    // The name of a metric means that, and no setting that all runs share.
    let is_metric = |wanted: &str| metrics.iter().any(|name| name == wanted);
    let asked = options.columns.iter().map(String::as_str).chain(options.sort.iter().map(|sort| sort.column));
    let mut wanted: Vec<&str> = asked.filter(|name| !is_metric(name)).collect();
    wanted.extend(options.group_by.iter().map(String::as_str));
    let (mut frame, mut more_settings) =
        rows::frame(runs, &figures, &metrics, &Shown { best, wanted: &wanted });
    if !options.group_by.is_empty() {
        frame = groups::frame(&frame, options.group_by, &metrics, best)
            .map_err(|missing| no_column(missing, runs))?;
        more_settings = 0; // settings that are no keys differ within a group
    }
    sort(&mut frame, options, runs)?;
    if options.columns.is_empty() {
        let width = screen::columns().filter(|_| options.format == TableFormat::Table);
        let unfit = width.map_or(0, |width| frame.fit(width));
        if matches!(options.format, TableFormat::Table | TableFormat::Md) {
            let is_hidden = |&(number, name): &(usize, &String)| !rows::is_main(number, name, best);
            say_hidden(metrics.iter().enumerate().filter(is_hidden).count(), more_settings, unfit);
        }
    } else {
        let columns = chosen(&frame, options, runs)?;
        frame.select(&columns);
    }
    frame.print(options.format, out).map(|()| exit)
}

/// Makes the row of every run, with all that is known.
pub(crate) fn all_columns(runs: &[Run], figures: &[Figures]) -> Frame {
    rows::frame(runs, figures, &metrics_of(figures), &Shown { best: None, wanted: &[] }).0
}

/// Sorts the rows as it was asked for.
fn sort(frame: &mut Frame, options: &Options, runs: &[Run]) -> Result<(), Error> {
    if let Some(best) = &options.best {
        let name = format!("{}.best", best.metric);
        let column = frame.find(&name).or_else(|| frame.find(&format!("{name}.mean")));
        frame.sort(column.unwrap_or_default(), best.is_greatest);
    }
    if let Some(Sort { column, is_descending }) = options.sort {
        // A metric stands for its last value, and a value of groups for its mean.
        let found =
            ["", ".last", ".mean", ".last.mean"].iter().find_map(|end| frame.find(&format!("{column}{end}")));
        frame.sort(found.ok_or_else(|| no_column(column, runs))?, is_descending);
    }
    Ok(())
}

/// Finds the columns that were asked for, after the run or the keys of the groups.
fn chosen(frame: &Frame, options: &Options, runs: &[Run]) -> Result<Vec<usize>, Error> {
    let keys = options.group_by.len().max(1);
    let mut chosen: Vec<usize> = (0..keys).collect();
    for name in options.columns {
        let of_metric = |at: &usize| {
            let column = &frame.columns[*at].name;
            let figure = column.strip_prefix(name.as_str()).and_then(|rest| rest.strip_prefix('.'));
            figure.is_some_and(|figure| {
                FIGURES[..4].contains(&figure)
                    || matches!(figure, "last.mean" | "last.std" | "best.mean" | "best.std")
            })
        };
        let found: Vec<usize> = match frame.find(name) {
            Some(at) => vec![at],
            None => (0..frame.columns.len()).filter(of_metric).collect(),
        };
        if found.is_empty() {
            return Err(no_column(name, runs));
        }
        chosen.extend(found.into_iter().filter(|&at| at >= keys));
    }
    Ok(chosen)
}

/// Says how much a table leaves out.
fn say_hidden(metrics: usize, settings: usize, unfit: usize) {
    let counts =
        [(metrics, "more metrics"), (settings, "more settings"), (unfit, "columns that have no room here")];
    let counts: Vec<String> = counts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    if !counts.is_empty() {
        let what = counts.join(", ");
        warn(&format!("not shown: {what}; --columns chooses, csv and json have all of them"));
    }
}

fn no_column(name: &str, runs: &[Run]) -> Error {
    let error = Error::usage(format!("no run has '{name}'"));
    if runs.is_empty() { error } else { error.hint("--format csv shows all columns there are") }
}
