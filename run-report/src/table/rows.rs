//! The row of every run: state, settings and provenance that differ, and the figures of its metrics.

use super::at_best::AtBest;
use crate::figures::Figures;
use crate::frame::Frame;
use crate::run::Run;
use crate::scalar::Scalar;
use crate::settings::{provenance, settings, varying};
use run_common::cost::{Rates, logged, spent};
use run_metrics::goal::Goal;
use run_metrics::names::Better;
use std::cmp::Reverse;

/// Number of settings that a table shows by default.
const SETTINGS_SHOWN: usize = 8;

/// A setting is rare if fewer than one in this many runs has another value than most runs.
const RARE: usize = 8;

/// Ranks of columns: what tells least about a run is dropped first where a terminal has no room. Among the settings
/// come the figures of the first metric first, and between the next settings those of the next metric.
const STATUS: u32 = 1;
const STEP: u32 = 5;
const DURATION: u32 = 99;
const fn of_metric(number: u32, figure: u32) -> u32 {
    2 + 4 * number + figure
}
const fn of_setting(number: u32) -> u32 {
    4 + 2 * number
}

/// Prefixes that disambiguate the column names of settings and of provenance.
pub(crate) const CONFIG: &str = "config.";
const RUN: &str = "run.";

/// The figures of a metric. The last two exist only with a metric to compare runs by.
pub(super) const FIGURES: [&str; 8] =
    ["last", "best", "mean", "std", "count", "nonfinite", BEST_STEP, AT_BEST];

/// The step of the best value, and the value of another metric at that step.
pub(super) const BEST_STEP: &str = "best_step";
pub(super) const AT_BEST: &str = "at_best";

/// Requested columns beside the default ones.
pub(super) struct Shown<'a> {
    /// The metric to compare runs by.
    pub(super) best: Option<&'a Goal<'a>>,
    /// Where this metric was best in each run.
    pub(super) at_best: &'a [AtBest],
    /// The metrics to show to people.
    pub(super) main: &'a [String],
    /// Names of columns.
    pub(super) wanted: &'a [&'a str],
}

/// Creates the row of every run. Settings and provenance become columns if they vary or are requested. The
/// first settings are shown to people; returns the number of the others.
pub(super) fn frame(runs: &[Run], figures: &[Figures], metrics: &[String], shown: &Shown) -> (Frame, usize) {
    let mut frame = Frame::default();
    let text = |text: String| Scalar::Text(text);
    let state = |of: fn(&Run) -> Scalar| runs.iter().map(of);
    frame.column("run", false, runs.iter().map(|run| text(run.name.clone())));
    let status = |run: &Run| (text(run.seen.status().to_string()), run.seen.status().into());
    frame.tinted_column("status", false, runs.iter().map(status));
    frame.rank_last(STATUS);
    frame.column("step", false, figures.iter().map(Figures::step));
    frame.rank_last(STEP);
    #[expect(clippy::cast_precision_loss, reason = "steps are far below 2^53")]
    frame.column(
        "total_steps",
        true,
        state(|run| run.seen.recorded.total_steps.map_or(Scalar::Empty, |total| Scalar::Exact(total as f64))),
    );
    frame.column(
        "duration_s",
        false,
        state(|run| run.seen.total_duration_s().map_or(Scalar::Empty, Scalar::Seconds)),
    );
    frame.rank_last(DURATION);
    let is_wanted = |key: &str, prefix: &str| {
        shown.wanted.iter().any(|name| *name == key || name.strip_prefix(prefix) == Some(key))
    };
    let settings = varying(&runs.iter().map(settings).collect::<Vec<_>>(), |key| is_wanted(key, CONFIG));
    let more_settings = settings.len().saturating_sub(SETTINGS_SHOWN);
    let places = places(&settings);
    for ((key, values), number) in settings.into_iter().zip(places) {
        let name = free(&frame, metrics, key, CONFIG, shown.wanted);
        frame.column(name, number >= SETTINGS_SHOWN, values.into_iter());
        frame.rank_last(u32::try_from(number).map_or(DURATION, of_setting));
    }
    let provenance = varying(&runs.iter().map(provenance).collect::<Vec<_>>(), |key| is_wanted(key, RUN));
    for (key, values) in provenance {
        frame.column(free(&frame, metrics, key, RUN, shown.wanted), true, values.into_iter());
    }
    let times = times(runs);
    for (key, values) in times {
        frame.column(free(&frame, metrics, key.to_owned(), RUN, shown.wanted), true, values.into_iter());
    }
    for name in metrics {
        let better = match shown.best {
            Some(best) if best.metric == name => best.better,
            _ => Better::of(name),
        };
        let is_best = shown.best.is_some_and(|best| best.metric == name);
        let is_other = shown.best.is_some() && !is_best;
        let place = shown.main.iter().position(|main| main == name).and_then(|at| u32::try_from(at).ok());
        let rank = |figure: u32| place.map_or(DURATION, |place| of_metric(place, figure));
        for figure in FIGURES[..6].iter().filter(|figure| **figure != "best" || better.is_some()) {
            let is_shown = place.is_some() && !is_other && matches!(*figure, "last" | "best");
            let values = figures.iter().map(|figures| figures.get(name, figure, better));
            frame.column(format!("{name}.{figure}"), !is_shown, values);
            frame.rank_last(rank(u32::from(*figure == "best")));
        }
        if shown.at_best.is_empty() {
            continue; // of groups
        }
        if is_best {
            frame.column(format!("{name}.{BEST_STEP}"), false, shown.at_best.iter().map(AtBest::step));
            frame.rank_last(rank(2));
        } else if is_other {
            let values = shown.at_best.iter().map(|at_best| at_best.value(name));
            frame.column(format!("{name}.{AT_BEST}"), place.is_none(), values);
            frame.rank_last(rank(0));
        }
    }
    frame.column("reason", true, state(|run| Scalar::text(run.seen.reason())));
    frame.column("path", true, runs.iter().map(|run| text(run.path())));
    (frame, more_settings)
}

/// Returns the place of each setting by what it tells about the runs: settings that hardly any run has, or has otherwise
/// than the others, come last, and before them those that few runs have.
fn places(settings: &[(String, Vec<Scalar>)]) -> Vec<usize> {
    let weight = |(_, values): &(String, Vec<Scalar>)| {
        let mut sorted: Vec<&Scalar> = values.iter().collect();
        sorted.sort_unstable_by(|one, other| one.order(other));
        let usual = sorted.chunk_by(|one, other| one.order(other).is_eq()).map(<[_]>::len).max();
        let unusual = values.len() - usual.unwrap_or_default();
        let has = values.iter().filter(|value| **value != Scalar::Empty).count();
        (unusual * RARE < values.len(), Reverse(has))
    };
    let mut order: Vec<(_, usize)> = settings.iter().map(weight).zip(0..).collect();
    order.sort_unstable();
    let mut places = vec![0; order.len()];
    for (place, (_, at)) in order.into_iter().enumerate() {
        places[at] = place;
    }
    places
}

/// Returns times, number of attempts and cost of every run, which are shown on request.
fn times(runs: &[Run]) -> [(&'static str, Vec<Scalar>); 4] {
    let rates = Rates::from_environment().ok().flatten(); // --cost reports errors in it
    let started = |run: &Run| {
        let first = run.attempts.iter().next().map(|first| first.start.start_time);
        Scalar::time(first.or_else(|| run.seen.started()))
    };
    let cost = |run: &Run| {
        let compute = spent(&run.seen, &run.attempts, rates.as_ref(), Vec::new).usd;
        let logged = logged(&run.seen.recorded.metrics().figures());
        let both = [compute, logged].into_iter().flatten().reduce(|one, other| one + other);
        both.map_or(Scalar::Empty, Scalar::Dollars)
    };
    let of_each = |of: &dyn Fn(&Run) -> Scalar| runs.iter().map(of).collect();
    [
        ("started", of_each(&started)),
        ("ended", of_each(&|run| Scalar::time(run.seen.end_time()))),
        ("attempts", of_each(&|run| Scalar::Exact(run.seen.recorded.attempts().into()))),
        ("cost", of_each(&cost)),
    ]
}

/// Adds a prefix to a name that another column has, or will have beside these metrics, or that is requested
/// with the prefix.
fn free(frame: &Frame, metrics: &[String], key: String, prefix: &str, wanted: &[&str]) -> String {
    let is_figure = |(name, figure): (&str, &str)| {
        FIGURES.contains(&figure) && metrics.iter().any(|metric| metric == name)
    };
    let will_have = ["reason", "path"].contains(&key.as_str()) || key.rsplit_once('.').is_some_and(is_figure);
    let long = format!("{prefix}{key}");
    if will_have || frame.find(&key).is_some() || wanted.contains(&long.as_str()) {
        free(frame, metrics, long, prefix, wanted)
    } else {
        key
    }
}
