//! A row for each run: what varied between them, and how each went; or a row for each group of runs.

use crate::cli::{Args, Format};
use crate::runs::{Fault, Figures, Run, Runs, is_measured, more_is_better};
use crate::sheet::{Cell, Row, Sheet};
use crate::{compare, consolidate, cost, evals, export, plot};
use run_common::cli::out::Out;
use run_common::cli::screen;
use run_common::cli::table::Tint;
use run_common::error::{Error, Exit};
use run_common::message::warn;
use run_common::pipeline::large_in_order;
use run_common::rundir::status::Status;
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::convert::Infallible;

/// Metrics that a table shows unless it is asked for others.
const METRICS_SHOWN: usize = 3;

/// Settings that a table shows, likewise.
const SETTINGS_SHOWN: usize = 8;

/// What sets the names of settings, and of provenance, apart from those of other columns.
const CONFIG: &str = "config.";
const RUN: &str = "run.";

/// What is said of a metric.
const FIGURES: [&str; 6] = ["last", "best", "mean", "std", "count", "nonfinite"];

/// Prints what was asked for.
pub(crate) fn run(args: &Args, out: &mut Out) -> Result<Exit, Error> {
    let runs = Runs::read(args)?;
    if args.metrics {
        return consolidate::print(&runs, out);
    }
    if args.evals {
        return evals::print(&runs, out);
    }
    if let Some(file) = &args.svg {
        return plot::svg::write(&runs, args, file, out);
    }
    if let Some(file) = &args.html {
        return export::html(&runs, args, file, out);
    }
    if let Some(file) = &args.export {
        return export::json(&runs, args, file, out);
    }
    if !args.plot.is_empty() {
        return plot::print(&runs, args, out);
    }
    if args.cost {
        return cost::print(&runs, args, out);
    }
    if args.compare {
        return compare::print(&runs, args, out);
    }
    print(&runs, args, out)
}

/// Prints the table.
fn print(found: &Runs, args: &Args, out: &mut Out) -> Result<Exit, Error> {
    let runs = found.all.as_slice();
    let best = args.best.as_deref().map(Best::parse);
    let (figures, faults) = all_figures(runs);
    let exit = faults.iter().map(Fault::say).fold(found.exit, Exit::max);
    let names = metric_names(figures.iter().map(|(figures, _)| figures));
    if let Some(best) = &best
        && !names.iter().any(|name| name == best.metric)
    {
        return Err(no_column(best.metric, runs));
    }
    let sort = args.sort_by();
    // The name of a metric means that, and no setting that all runs share.
    let is_metric = |wanted: &str| names.iter().any(|name| name == wanted);
    let shown = args.columns.iter().map(String::as_str).chain(sort.map(|(name, _)| name));
    let mut wanted: Vec<&str> = shown.filter(|name| !is_metric(name)).collect();
    wanted.extend(args.group_by.iter().map(String::as_str));
    let (mut sheet, mut more_settings) = of_runs(runs, &figures, &names, best.as_ref(), &wanted);
    if !args.group_by.is_empty() {
        sheet = grouped(&sheet, &args.group_by, &names, best.as_ref(), runs)?;
        more_settings = 0; // those that are no keys differ within a group
    }
    if let Some(best) = &best {
        let name = format!("{}.best", best.metric);
        let column = sheet.find(&name).or_else(|| sheet.find(&format!("{name}.mean")));
        sheet.sort(column.unwrap_or_default(), best.is_greatest);
    }
    if let Some((name, is_descending)) = sort {
        // A metric stands for its last value, and a value of groups for its mean.
        let found =
            ["", ".last", ".mean", ".last.mean"].iter().find_map(|end| sheet.find(&format!("{name}{end}")));
        sheet.sort(found.ok_or_else(|| no_column(name, runs))?, is_descending);
    }
    if args.columns.is_empty() {
        let width = screen::columns().filter(|_| args.format == Format::Table);
        let unfit = width.map_or(0, |width| sheet.fit(width));
        if matches!(args.format, Format::Table | Format::Md) {
            let is_hidden = |&(number, name): &(usize, &String)| !is_main(number, name, best.as_ref());
            say_hidden(names.iter().enumerate().filter(is_hidden).count(), more_settings, unfit);
        }
    } else {
        let columns = chosen(&sheet, args, runs)?;
        sheet.select(&columns);
    }
    sheet.print(args.format, out).map(|()| exit)
}

/// The metric that runs are compared by.
struct Best<'a> {
    metric: &'a str,
    is_greatest: bool,
}

impl<'a> Best<'a> {
    fn parse(text: &'a str) -> Self {
        if let Some(metric) = text.strip_suffix(":max") {
            return Self { metric, is_greatest: true };
        }
        let metric = text.strip_suffix(":min");
        Self { metric: metric.unwrap_or(text), is_greatest: metric.is_none() && more_is_better(text) }
    }
}

/// Says whether a table shows a metric unless it is asked for others: one of the first, or that by which runs
/// are compared.
fn is_main(number: usize, name: &str, best: Option<&Best>) -> bool {
    best.map_or(number < METRICS_SHOWN, |best| best.metric == name)
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

/// Returns the names of all metrics, in the order in which the runs first logged them.
pub(crate) fn metric_names<'a>(figures: impl Iterator<Item = &'a Map<String, Value>>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let mut known = std::collections::HashSet::new();
    for name in figures.flat_map(Map::keys).filter(|name| is_measured(name)) {
        if known.insert(name) {
            names.push(name.clone());
        }
    }
    names
}

/// Returns the colour of a status as a word.
pub(crate) fn tint_word(status: Status) -> &'static str {
    match status.into() {
        Tint::Good => "good",
        Tint::Doubt => "doubt",
        Tint::Bad => "bad",
        Tint::None | Tint::Dim => "",
    }
}

/// Makes the row of every run, with all that is known.
pub(crate) fn sheet(runs: &[Run], figures: &[Figures]) -> Sheet {
    let names = metric_names(figures.iter().map(|(figures, _)| figures));
    of_runs(runs, figures, &names, None, &[]).0
}

/// Returns the figures of every run, and what is wrong with metrics that were read for them.
pub(crate) fn all_figures(runs: &[Run]) -> (Vec<Figures>, Vec<Fault>) {
    let mut all = (Vec::with_capacity(runs.len()), Vec::new());
    let take = |(figures, fault): (Figures, Option<Fault>)| -> Result<(), Infallible> {
        all.0.push(figures);
        all.1.extend(fault);
        Ok(())
    };
    let Ok(()) = large_in_order(runs, Run::figures, take);
    all
}

/// Makes the row of every run. Of settings and provenance it has what varies, and what is wanted; of the
/// settings, the first are shown, and the number of the others is returned.
fn of_runs(
    runs: &[Run],
    figures: &[Figures],
    names: &[String],
    best: Option<&Best>,
    wanted: &[&str],
) -> (Sheet, usize) {
    let mut sheet = Sheet::default();
    let text = |text: String| Cell::Text(text);
    let state = |of: fn(&Run) -> Cell| runs.iter().map(of);
    sheet.column("run", false, runs.iter().map(|run| text(run.name.clone())));
    let status = |run: &Run| (text(run.seen.status().to_string()), run.seen.status().into());
    sheet.tinted_column("status", false, runs.iter().map(status));
    sheet.column("step", false, figures.iter().map(|(_, step)| Cell::number(*step)));
    #[expect(clippy::cast_precision_loss, reason = "steps are far below 2^53")]
    sheet.column(
        "total_steps",
        true,
        state(|run| Cell::number(run.seen.recorded.total_steps.map(|total| total as f64))),
    );
    sheet.column("duration_s", false, state(|run| run.seen.duration_s().map_or(Cell::Empty, Cell::Seconds)));
    let settings: Vec<_> = runs.iter().map(Run::settings).collect();
    let provenance: Vec<_> = runs.iter().map(Run::provenance).collect();
    let is_wanted = |key: &str, prefix: &str| {
        wanted.iter().any(|name| *name == key || name.strip_prefix(prefix) == Some(key))
    };
    let settings = varying(&settings, |key| is_wanted(key, CONFIG));
    let more_settings = settings.len().saturating_sub(SETTINGS_SHOWN);
    for (number, (key, values)) in settings.into_iter().enumerate() {
        sheet.column(free(&sheet, names, key, CONFIG, wanted), number >= SETTINGS_SHOWN, values.into_iter());
    }
    for (key, values) in varying(&provenance, |key| is_wanted(key, RUN)) {
        sheet.column(free(&sheet, names, key, RUN, wanted), true, values.into_iter());
    }
    for (number, name) in names.iter().enumerate() {
        let is_greatest = match best {
            Some(best) if best.metric == name => best.is_greatest,
            _ => more_is_better(name),
        };
        for figure in FIGURES {
            let of = |(figures, _): &Figures| match figures.get(name) {
                None => Cell::Empty,
                Some(of) => figure_cell(of, figure, is_greatest),
            };
            let is_extra = !is_main(number, name, best) || matches!(figure, "count" | "nonfinite");
            sheet.column(format!("{name}.{figure}"), is_extra, figures.iter().map(of));
        }
    }
    sheet.column("reason", true, state(|run| Cell::text(run.seen.reason())));
    sheet.column("path", true, runs.iter().map(|run| text(run.path())));
    (sheet, more_settings)
}

/// Returns a figure of a metric. What was not finite is null in the record, and NaN here.
pub(crate) fn figure_cell(of: &Value, figure: &str, is_greatest: bool) -> Cell {
    match figure {
        "best" => Cell::json(&of[if is_greatest { "max" } else { "min" }]),
        "last" => Cell::Number(of["last"].as_f64().unwrap_or(f64::NAN)),
        _ => Cell::json(&of[figure]),
    }
}

/// Puts a prefix before a name that another column has, or will have beside these metrics, or that is
/// wanted with it.
fn free(sheet: &Sheet, metrics: &[String], key: String, prefix: &str, wanted: &[&str]) -> String {
    let is_figure = |(name, figure): (&str, &str)| {
        FIGURES.contains(&figure) && metrics.iter().any(|metric| metric == name)
    };
    let will_have = ["reason", "path"].contains(&key.as_str()) || key.rsplit_once('.').is_some_and(is_figure);
    let long = format!("{prefix}{key}");
    if will_have || sheet.find(&key).is_some() || wanted.contains(&long.as_str()) {
        free(sheet, metrics, long, prefix, wanted)
    } else {
        key
    }
}

/// Returns the keys whose values are not the same in all runs, and those that are wanted all the
/// same, with the value of each run.
pub(crate) fn varying(
    settings: &[Vec<(String, Value)>],
    is_wanted: impl Fn(&str) -> bool,
) -> Vec<(String, Vec<Cell>)> {
    let mut keys: Vec<&String> = Vec::new();
    let mut known = std::collections::HashSet::new();
    for (key, _) in settings.iter().flatten() {
        if known.insert(key) {
            keys.push(key);
        }
    }
    let maps: Vec<HashMap<&String, &Value>> =
        settings.iter().map(|settings| settings.iter().map(|(key, value)| (key, value)).collect()).collect();
    let values = |key: &String| -> Vec<Cell> {
        maps.iter().map(|map| map.get(key).map_or(Cell::Empty, |value| Cell::setting(value))).collect()
    };
    let with_values = keys.into_iter().map(|key| (key.clone(), values(key)));
    let varies = |values: &[Cell]| values.windows(2).any(|pair| pair[0] != pair[1]);
    with_values.filter(|(key, values)| varies(values) || is_wanted(key)).collect()
}

/// Finds the columns that were asked for, after the run or the keys of the groups.
fn chosen(sheet: &Sheet, args: &Args, runs: &[Run]) -> Result<Vec<usize>, Error> {
    let keys = args.group_by.len().max(1);
    let mut chosen: Vec<usize> = (0..keys).collect();
    for name in &args.columns {
        let of_metric = |at: &usize| {
            let column = &sheet.columns[*at].name;
            let figure = column.strip_prefix(name.as_str()).and_then(|rest| rest.strip_prefix('.'));
            figure.is_some_and(|figure| {
                FIGURES[..4].contains(&figure)
                    || matches!(figure, "last.mean" | "last.std" | "best.mean" | "best.std")
            })
        };
        let found: Vec<usize> = match sheet.find(name) {
            Some(at) => vec![at],
            None => (0..sheet.columns.len()).filter(of_metric).collect(),
        };
        if found.is_empty() {
            return Err(no_column(name, runs));
        }
        chosen.extend(found.into_iter().filter(|&at| at >= keys));
    }
    Ok(chosen)
}

/// Makes a row of all runs that agree in some columns: how many they are, and mean and standard
/// deviation over them of the last and best values that are finite.
fn grouped(
    runs: &Sheet,
    keys: &[String],
    names: &[String],
    best: Option<&Best>,
    all: &[Run],
) -> Result<Sheet, Error> {
    let column = |key: &String| runs.find(key).ok_or_else(|| no_column(key, all));
    let at: Vec<usize> = keys.iter().map(column).collect::<Result<_, _>>()?;
    let key_of = |row: &Row| -> Vec<Cell> { at.iter().map(|&at| row[at].0.clone()).collect() };
    let mut groups: Vec<(Vec<Cell>, Vec<&Row>)> = Vec::new();
    for row in &runs.rows {
        let key = key_of(row);
        match groups.iter_mut().find(|(known, _)| *known == key) {
            Some((_, rows)) => rows.push(row),
            None => groups.push((key, vec![row])),
        }
    }
    groups.sort_by(|(one, _), (other, _)| {
        let orders = one.iter().zip(other).map(|(one, other)| one.order(other));
        orders.fold(std::cmp::Ordering::Equal, std::cmp::Ordering::then)
    });
    let mut sheet = Sheet::default();
    for (number, key) in keys.iter().enumerate() {
        sheet.column(key, false, groups.iter().map(|(key, _)| key[number].clone()));
    }
    #[expect(clippy::cast_precision_loss, reason = "there are few runs")]
    let count = |count: usize| Cell::Number(count as f64);
    sheet.column("runs", false, groups.iter().map(|(_, rows)| count(rows.len())));
    let status = runs.find("status").unwrap_or_default();
    let completed = |rows: &[&Row]| {
        rows.iter().filter(|row| row[status].0 == Cell::Text(Status::Completed.to_string())).count()
    };
    sheet.column("completed", false, groups.iter().map(|(_, rows)| count(completed(rows))));
    let places: HashMap<&str, usize> =
        runs.columns.iter().enumerate().rev().map(|(at, column)| (column.name.as_str(), at)).collect();
    for (number, name) in names.iter().enumerate() {
        for figure in ["last", "best"] {
            let Some(&at) = places.get(format!("{name}.{figure}").as_str()) else { continue };
            let finite: Vec<Vec<f64>> = groups
                .iter()
                .map(|(_, rows)| {
                    let numbers = rows.iter().filter_map(|row| match row[at].0 {
                        Cell::Number(number) if number.is_finite() => Some(number),
                        _ => None,
                    });
                    numbers.collect()
                })
                .collect();
            let is_extra = !is_main(number, name, best);
            let column = format!("{name}.{figure}");
            sheet.column(
                format!("{column}.mean"),
                is_extra,
                finite.iter().map(|values| Cell::number(mean(values))),
            );
            sheet.column(
                format!("{column}.std"),
                is_extra,
                finite.iter().map(|values| Cell::number(std(values))),
            );
            sheet.column(format!("{column}.count"), true, finite.iter().map(|values| count(values.len())));
        }
    }
    Ok(sheet)
}

#[expect(clippy::cast_precision_loss, reason = "there are few runs")]
fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// Returns the sample standard deviation.
#[expect(clippy::cast_precision_loss, reason = "there are few runs")]
fn std(values: &[f64]) -> Option<f64> {
    let mean = mean(values).filter(|_| values.len() > 1)?;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    Some((squares / (values.len() - 1) as f64).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_varies_is_a_column() {
        let run = |pairs: &[(&str, Value)]| -> Vec<(String, Value)> {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect()
        };
        let settings =
            [run(&[("lr", 0.1.into()), ("seed", 1.into())]), run(&[("lr", 0.1.into()), ("bs", 8.into())])];
        let found = varying(&settings, |_| false);
        let keys: Vec<&str> = found.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, ["seed", "bs"]);
        assert_eq!(found[0].1, [Cell::Exact(1.0), Cell::Empty]);
        assert!(varying(&settings[..1], |_| false).is_empty());
        assert_eq!(varying(&settings[..1], |key| key == "lr")[0].1, [Cell::Exact(0.1)]);
    }

    #[test]
    fn spread_is_that_of_a_sample() {
        assert_eq!(mean(&[]), None);
        assert_eq!(std(&[1.0]), None);
        assert_eq!(std(&[1.0, 3.0]), Some(2.0_f64.sqrt()));
    }
}
