//! The table: a row for each run, or for each group of runs, with the requested columns.

mod at_best;
mod groups;
mod rows;

use crate::fault::Fault;
use crate::figures::{Figures, METRICS_SHOWN, main_metrics, metrics_of};
use crate::frame::{ALL_COLUMNS, Frame, Sort, TableFormat, no_metrics};
use crate::run::Run;
use crate::runs::Runs;
use at_best::AtBest;
pub(crate) use rows::CONFIG;
use rows::{AT_BEST, BEST_STEP, FIGURES, Shown};
use run_common::cli::mistakes::meant;
use run_common::cli::out::Out;
use run_common::error::{Error, Exit};
use run_metrics::goal::Goal;
use run_metrics::name_list::NameList;
use run_metrics::names::Better;

/// The options of the table.
pub(crate) struct Options<'a> {
    pub(crate) format: TableFormat,
    /// The columns; empty for the default ones.
    pub(crate) columns: NameList,
    pub(crate) sort: Option<Sort<'a>>,
    pub(crate) best: Option<Goal<'a>>,
    /// The keys that the runs of a row share; empty for a row per run.
    pub(crate) group_by: Vec<String>,
}

/// Prints the table.
pub(crate) fn print(found: &Runs, options: &Options, out: &mut Out) -> Result<Exit, Error> {
    let runs = found.all.as_slice();
    let best = options.best.as_ref();
    let (figures, faults) = Figures::of_all(runs);
    let exit = Fault::say_all(&faults, found.exit);
    let metrics = metrics_of(&figures);
    if let Some(best) = best {
        check_best(best, &metrics, runs)?;
    }
    // A name that is a metric's does not mean a setting that all runs share.
    let is_metric = |wanted: &str| metrics.iter().any(|name| name == wanted);
    let is_figure = |wanted: &str| {
        let figure = |name: &String| wanted.strip_prefix(name.as_str())?.strip_prefix('.');
        let is_one = |figure: &str| figure.split('.').all(|part| FIGURES.contains(&part));
        metrics.iter().filter_map(figure).any(is_one)
    };
    let columns = options.columns.names(|name| is_metric(name) || is_figure(name));
    let asked = columns.iter().map(String::as_str).chain(options.sort.iter().map(|sort| sort.column));
    let mut wanted: Vec<&str> = asked.filter(|name| !is_metric(name)).collect();
    wanted.extend(options.group_by.iter().map(String::as_str));
    let mut main = main_metrics(&figures);
    let mut at_best = Vec::new();
    if let Some(best) = best {
        let is_group = !options.group_by.is_empty();
        main.retain(|name| name != best.metric && !is_group);
        main.insert(0, best.metric.to_owned());
        main.truncate(METRICS_SHOWN);
        if !is_group {
            at_best = AtBest::of_all(runs, best);
        }
    }
    // For groups, the best step of each run tells nothing.
    let shown = Shown { best, at_best: &at_best, main: &main, wanted: &wanted };
    let (mut frame, mut more_settings) = rows::frame(runs, &figures, &metrics, &shown);
    let no_column = |name: &str| no_column(name, runs, &metrics);
    if !options.group_by.is_empty() {
        frame = groups::frame(&frame, &options.group_by, &metrics, &main).map_err(no_column)?;
        more_settings = 0; // settings that are not keys differ within a group
    }
    sort(&mut frame, options, &no_column)?;
    let mut hidden = vec![(metrics.len() - main.len(), "more metric"), (more_settings, "more setting")];
    if !columns.is_empty() {
        let columns = chosen(&frame, &columns, options.group_by.len().max(1), &no_column)?;
        frame.select(&columns);
        hidden.clear();
    }
    frame.print_without(&hidden, "choose with --columns; ", options.format, out).map(|()| exit)
}

/// Refuses a metric that no run has, or for which it is not known whether higher or lower is better.
fn check_best(best: &Goal, metrics: &[String], runs: &[Run]) -> Result<(), Error> {
    let metric = best.metric;
    if !metrics.iter().any(|name| name == metric) {
        return Err(no_column(metric, runs, metrics));
    }
    if best.better.is_none() {
        let what = format!("the name of '{metric}' does not tell whether higher or lower is better");
        return Err(Error::usage(what).hint(format!("use --best '{metric}:min' or --best '{metric}:max'")));
    }
    Ok(())
}

/// Creates the row of every run, with all columns.
pub(crate) fn all_columns(runs: &[Run], figures: &[Figures]) -> Frame {
    let shown = Shown { best: None, at_best: &[], main: &main_metrics(figures), wanted: &[] };
    rows::frame(runs, figures, &metrics_of(figures), &shown).0
}

/// Returns these settings and other facts of every run, without metrics.
///
/// Errors: a name that no run has, or that of a metric.
pub(crate) fn facts(runs: &[Run], names: &[String]) -> Result<Frame, Error> {
    let figures: Vec<Figures> = runs.iter().map(|_| Figures::default()).collect();
    let wanted: Vec<&str> = names.iter().map(String::as_str).collect();
    let shown = Shown { best: None, at_best: &[], main: &[], wanted: &wanted };
    let (mut frame, _) = rows::frame(runs, &figures, &[], &shown);
    let find = |name: &&String| -> Result<usize, Error> {
        let is_metric = || runs.iter().any(|run| run.seen.recorded.metrics().figures().contains_key(*name));
        match frame.find(name) {
            Some(at) => Ok(at),
            None if is_metric() => Err(Error::usage(format!("'{name}' is a metric, and no setting"))
                .hint("--metrics prints all metrics; --columns adds settings")),
            None => Err(no_column(name, runs, &[])),
        }
    };
    // Run and step are there anyway.
    let named = names.iter().filter(|name| !["run", "step"].contains(&name.as_str()));
    let chosen: Vec<usize> = named.map(|name| find(&name)).collect::<Result<_, _>>()?;
    frame.select(&chosen);
    Ok(frame)
}

/// Sorts the rows as requested.
fn sort(frame: &mut Frame, options: &Options, no_column: &dyn Fn(&str) -> Error) -> Result<(), Error> {
    if let Some(best) = &options.best {
        let name = format!("{}.best", best.metric);
        let column = frame.find(&name).or_else(|| frame.find(&format!("{name}.mean")));
        frame.sort(column.unwrap_or_default(), best.better == Some(Better::More));
    }
    if let Some(Sort { column, is_descending }) = options.sort {
        // A metric stands for its last value, and a figure of groups for its mean.
        let found =
            ["", ".last", ".mean", ".last.mean"].iter().find_map(|end| frame.find(&format!("{column}{end}")));
        frame.sort(found.ok_or_else(|| no_column(column))?, is_descending);
    }
    Ok(())
}

/// Finds the requested columns, after the run or the `keys` of the groups.
fn chosen(
    frame: &Frame,
    names: &[String],
    keys: usize,
    no_column: &dyn Fn(&str) -> Error,
) -> Result<Vec<usize>, Error> {
    let mut chosen: Vec<usize> = (0..keys).collect();
    for name in names {
        let of_metric = |at: &usize| {
            let column = &frame.columns[*at].name;
            let figure = column.strip_prefix(name.as_str()).and_then(|rest| rest.strip_prefix('.'));
            figure.is_some_and(|figure| {
                FIGURES[..4].contains(&figure)
                    || [BEST_STEP, AT_BEST].contains(&figure)
                    || matches!(figure, "last.mean" | "last.std" | "best.mean" | "best.std")
            })
        };
        let found: Vec<usize> = match frame.find(name) {
            Some(at) => vec![at],
            None => (0..frame.columns.len()).filter(of_metric).collect(),
        };
        if found.is_empty() {
            return Err(no_column(name));
        }
        chosen.extend(found.into_iter().filter(|&at| at >= keys));
    }
    Ok(chosen)
}

fn no_column(name: &str, runs: &[Run], metrics: &[String]) -> Error {
    if let Some(metric) =
        name.strip_suffix(".best").filter(|name| metrics.iter().any(|metric| metric == name))
    {
        let what =
            format!("'{metric}' has no best value: its name does not tell whether higher or lower is better");
        return Error::usage(what).hint(format!("use --best '{metric}:min' or --best '{metric}:max'"));
    }
    let meant = meant(name, metrics.iter().map(String::as_str));
    let meant = meant.map(|meant| format!("; {meant}")).unwrap_or_default();
    let error = Error::usage(format!("no run has '{name}'{meant}"));
    match runs.is_empty() {
        true => error,
        false if metrics.is_empty() => error.hint(no_metrics()),
        false => error.hint(ALL_COLUMNS),
    }
}
