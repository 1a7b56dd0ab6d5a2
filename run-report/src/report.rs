//! Chooses the report that the arguments ask for.

use crate::cli::Args;
use crate::frame::{Sort, TableFormat};
use crate::runs::{Runs, Selection};
use crate::scraped::scrape;
use crate::{
    bridge, compare, consolidate, cost, curves, evals, export, goodput, page, plot, serve, sql, table,
};
use run_common::cli::out::Out;
use run_common::cost::Rates;
use run_common::error::{Error, Exit};
use run_metrics::goal::Goal;
use run_metrics::name_list::NameList;
use std::path::Path;

/// Prints or writes the requested report.
pub(crate) fn run(args: &Args, out: &mut Out) -> Result<Exit, Error> {
    let report = Report::of(args)?;
    let selection = Selection {
        runs_dir: args.runs_dir.path(),
        names: (!args.runs.is_empty()).then_some(args.runs.as_slice()),
        null: args.null,
        eval_dir: args.eval_dir.as_deref(),
        tags: &args.tag,
    };
    if let Report::Live(curves, rates, at) = &report {
        return serve::serve(at, &selection, curves, rates.as_ref(), out);
    }
    let mut runs = Runs::read(&selection)?;
    let _scratch = if args.scrape.is_empty() { None } else { Some(scrape(&mut runs.all, &args.scrape)?) };
    match report {
        Report::Table(options) => table::print(&runs, &options, out),
        Report::Compare(format) => compare::print(&runs, format, out),
        Report::Metrics(settings) => consolidate::print(&runs, &settings, out),
        Report::Evals => evals::print(&runs, out),
        Report::Plot(curves) => plot::print(&runs, &curves, out),
        Report::Svg(curves, file) => plot::svg::write(&runs, &curves, file, out),
        Report::Page(curves, rates, file) => page::write(&runs, &curves, rates.as_ref(), file, out),
        Report::Live(..) => Ok(runs.exit), // served above, where runs come and go
        Report::Document(curves, file) => export::write(&runs, &curves, file, out),
        Report::TensorBoard(curves, directory) => bridge::tensorboard::write(&runs, &curves, directory),
        Report::Mlflow(curves, directory) => bridge::mlflow::write(&runs, &curves, directory),
        Report::Sql(file) => sql::write(&runs, file, out),
        Report::Cost(options) => cost::print(&runs, &options, out),
        Report::Goodput(format, rates) => goodput::print(&runs, format, rates.as_ref(), out),
    }
}

/// The kinds of reports.
enum Report<'a> {
    /// A row for each run, or for each group of runs.
    Table(table::Options<'a>),
    /// The differences between runs.
    Compare(TableFormat),
    /// Every row of metrics, with these settings.
    Metrics(Vec<String>),
    /// Every row of evaluations.
    Evals,
    /// Curves in the terminal.
    Plot(curves::Options<'a>),
    /// Curves as SVG.
    Svg(curves::Options<'a>, &'a Path),
    /// The HTML page.
    Page(curves::Options<'a>, Option<Rates>, &'a Path),
    /// The live page, with the address to serve it at.
    Live(curves::Options<'a>, Option<Rates>, &'a str),
    /// The JSON document.
    Document(curves::Options<'a>, &'a Path),
    /// TensorBoard event files.
    TensorBoard(curves::Options<'a>, &'a Path),
    /// An MLflow file store.
    Mlflow(curves::Options<'a>, &'a Path),
    /// Views for SQL queries.
    Sql(&'a Path),
    /// The costs of runs.
    Cost(cost::Options<'a>),
    /// What time and money went to, with the prices of devices, if known.
    Goodput(TableFormat, Option<Rates>),
}

impl<'a> Report<'a> {
    fn of(args: &'a Args) -> Result<Self, Error> {
        let curves = curves::Options {
            metrics: NameList::of(&args.plot),
            x: args.x.as_deref().filter(|x| *x != "step"),
            smooth: args.smooth,
            log: args.log,
            log_x: args.log_x,
        };
        let sort = args.sort.as_deref().map(Sort::parse);
        Ok(if args.metrics {
            Self::Metrics(NameList::of(&args.columns).names(|_| false))
        } else if args.evals {
            Self::Evals
        } else if let Some(file) = &args.svg {
            Self::Svg(curves, file)
        } else if let Some(file) = &args.html {
            Self::Page(curves, rates(args)?, file)
        } else if let Some(at) = &args.serve {
            Self::Live(curves, rates(args)?, at)
        } else if let Some(file) = &args.export {
            Self::Document(curves, file)
        } else if let Some(directory) = &args.export_tensorboard {
            Self::TensorBoard(curves, directory)
        } else if let Some(directory) = &args.export_mlflow {
            Self::Mlflow(curves, directory)
        } else if let Some(file) = &args.sql {
            Self::Sql(file)
        } else if !args.plot.is_empty() {
            Self::Plot(curves)
        } else if args.cost {
            Self::Cost(cost::Options {
                format: args.format,
                columns: NameList::of(&args.columns).names(|_| false),
                sort,
                rates: rates(args)?,
                command: args.cost_command.as_deref().map(|command| (command, args.cost_timeout)),
            })
        } else if args.goodput {
            Self::Goodput(args.format, rates(args)?)
        } else if args.compare {
            Self::Compare(args.format)
        } else {
            Self::Table(table::Options {
                format: args.format,
                columns: NameList::of(&args.columns),
                sort,
                best: args.best.as_deref().map(Goal::parse),
                group_by: NameList::of(&args.group_by).names(|_| false),
            })
        })
    }
}

/// Returns the prices of devices, if there are any.
fn rates(args: &Args) -> Result<Option<Rates>, Error> {
    match (args.rate, &args.rates) {
        (Some(usd), _) => Ok(Some(Rates::one(usd))),
        (None, Some(path)) => Rates::read(path).map(Some),
        (None, None) => Rates::from_environment(),
    }
}
