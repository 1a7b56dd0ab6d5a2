//! Runs side by side: a row for each difference.

use crate::fault::Fault;
use crate::figures::{Figures, metrics_of};
use crate::frame::{Frame, TableFormat, Tinted};
use crate::run::Run;
use crate::runs::Runs;
use crate::scalar::Scalar;
use crate::settings::{Environment, environment, provenance, settings, varying};
use run_common::cli::out::Out;
use run_common::cli::table::Tint;
use run_common::error::{Error, Exit};
use run_common::message::warn;
use run_metrics::names::Better;

/// Prints the comparison.
pub(crate) fn print(runs: &Runs, format: TableFormat, out: &mut Out) -> Result<Exit, Error> {
    if runs.all.len() < 2 {
        // An unreadable run was reported, and its status takes precedence.
        return Err(Error::new(runs.exit.max(Exit::Usage), "--compare takes two runs or more"));
    }
    let (figures, faults) = Figures::of_all(&runs.all);
    let exit = Fault::say_all(&faults, runs.exit);
    let frame = differences(&runs.all, &figures);
    if frame.rows.is_empty() {
        warn("these runs do not differ");
    }
    frame.print(format, out).map(|()| exit)
}

/// Creates a column for each run and a row for each difference, with the best values marked.
fn differences(runs: &[Run], figures: &[Figures]) -> Frame {
    let mut rows: Vec<(&str, String, Vec<Tinted>)> = Vec::new();
    let plain = |values: Vec<Scalar>| values.into_iter().map(|value| (value, Tint::None)).collect::<Vec<_>>();
    let (mut code, mut packages) = (Vec::new(), Vec::new());
    for run in runs {
        let Environment { facts, packages: of_run } = environment(run);
        code.push(provenance(run).into_iter().chain(facts).collect());
        packages.push(of_run);
    }
    let config = runs.iter().map(settings).collect::<Vec<_>>();
    for (what, of_runs) in [("config", config), ("code", code), ("package", packages)] {
        rows.extend(varying(&of_runs, |_| false).into_iter().map(|(key, values)| (what, key, plain(values))));
    }
    let mut result = |key: &str, values: Vec<Tinted>| {
        if values.windows(2).any(|pair| pair[0].0.differs(&pair[1].0)) {
            rows.push(("result", key.to_owned(), values));
        }
    };
    let status = |run: &Run| (Scalar::Text(run.seen.status().to_string()), run.seen.status().into());
    result("status", runs.iter().map(status).collect());
    result("reason", plain(runs.iter().map(|run| Scalar::text(run.seen.reason())).collect()));
    result("step", plain(figures.iter().map(Figures::step).collect()));
    let seconds = |run: &Run| run.seen.total_duration_s().map_or(Scalar::Empty, Scalar::Seconds);
    result("duration_s", plain(runs.iter().map(seconds).collect()));
    for name in &metrics_of(figures) {
        let better = Better::of(name);
        for figure in ["last", "best"] {
            let values = figures.iter().map(|figures| figures.get(name, figure, better)).collect();
            result(&format!("{name}.{figure}"), marked(values, better));
        }
    }
    let mut frame = Frame { has_kinds_in_rows: true, ..Frame::default() };
    frame.column("what", false, rows.iter().map(|(what, ..)| Scalar::Text((*what).to_owned())));
    frame.column("key", false, rows.iter().map(|(_, key, _)| Scalar::Text(key.clone())));
    for (number, run) in runs.iter().enumerate() {
        frame.tinted_column(&run.name, false, rows.iter().map(|(.., values)| values[number].clone()));
    }
    frame
}

/// Marks the best of some values, if they differ, and it is known whether higher or lower is better.
fn marked(values: Vec<Scalar>, better: Option<Better>) -> Vec<Tinted> {
    let number = |value: &Scalar| match value {
        Scalar::Number(number) if number.is_finite() => Some(*number),
        _ => None,
    };
    let numbers: Vec<f64> = values.iter().filter_map(number).collect();
    let differ = numbers.iter().any(|number| number.total_cmp(&numbers[0]).is_ne());
    let best = better
        .filter(|_| differ)
        .and_then(|better| numbers.into_iter().reduce(if better.is_more() { f64::max } else { f64::min }));
    let mark = |value| match (value, best) {
        (Scalar::Number(number), Some(best)) if number.total_cmp(&best).is_eq() => {
            (Scalar::Best(number), Tint::Good)
        }
        (value, _) => (value, Tint::None),
    };
    values.into_iter().map(mark).collect()
}
