//! The row of every run: state, settings and provenance that differ, and the figures of its metrics.

use crate::figures::Figures;
use crate::frame::Frame;
use crate::run::Run;
use crate::scalar::Scalar;
use crate::settings::{provenance, settings, varying};
use run_metrics::goal::Goal;
use run_metrics::names::Better;

/// Number of settings that a table shows by default.
const SETTINGS_SHOWN: usize = 8;

/// Prefixes that disambiguate the column names of settings and of provenance.
const CONFIG: &str = "config.";
const RUN: &str = "run.";

/// The figures of a metric.
pub(super) const FIGURES: [&str; 6] = ["last", "best", "mean", "std", "count", "nonfinite"];

/// Requested columns beside the default ones.
pub(super) struct Shown<'a> {
    /// The metric to compare runs by.
    pub(super) best: Option<&'a Goal<'a>>,
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
    frame.column("step", false, figures.iter().map(|figures| Scalar::number(figures.step)));
    #[expect(clippy::cast_precision_loss, reason = "steps are far below 2^53")]
    frame.column(
        "total_steps",
        true,
        state(|run| Scalar::number(run.seen.recorded.total_steps.map(|total| total as f64))),
    );
    frame.column(
        "duration_s",
        false,
        state(|run| run.seen.duration_s().map_or(Scalar::Empty, Scalar::Seconds)),
    );
    let is_wanted = |key: &str, prefix: &str| {
        shown.wanted.iter().any(|name| *name == key || name.strip_prefix(prefix) == Some(key))
    };
    let settings = varying(&runs.iter().map(settings).collect::<Vec<_>>(), |key| is_wanted(key, CONFIG));
    let more_settings = settings.len().saturating_sub(SETTINGS_SHOWN);
    for (number, (key, values)) in settings.into_iter().enumerate() {
        let name = free(&frame, metrics, key, CONFIG, shown.wanted);
        frame.column(name, number >= SETTINGS_SHOWN, values.into_iter());
    }
    let provenance = varying(&runs.iter().map(provenance).collect::<Vec<_>>(), |key| is_wanted(key, RUN));
    for (key, values) in provenance {
        frame.column(free(&frame, metrics, key, RUN, shown.wanted), true, values.into_iter());
    }
    for name in metrics {
        let better = match shown.best {
            Some(best) if best.metric == name => best.better,
            _ => Better::of(name),
        };
        for figure in FIGURES.into_iter().filter(|figure| *figure != "best" || better.is_some()) {
            let is_extra = !shown.main.contains(name) || matches!(figure, "count" | "nonfinite");
            let values = figures.iter().map(|figures| figures.get(name, figure, better));
            frame.column(format!("{name}.{figure}"), is_extra, values);
        }
    }
    frame.column("reason", true, state(|run| Scalar::text(run.seen.reason())));
    frame.column("path", true, runs.iter().map(|run| text(run.path())));
    (frame, more_settings)
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
