//! Pictures of curves: in the terminal, and as SVG.

mod axes;
pub(crate) mod svg;
mod terminal;

use crate::curve::Curve;
use crate::curves::{Options, read};
use crate::runs::Runs;
use axes::Axes;
use run_common::cli::out::Out;
use run_common::error::{Error, Exit};
use run_common::message::warn;
use std::collections::{HashMap, HashSet};

/// Maximum number of buckets of a curve in the terminal: twice the width of a wide terminal.
const BUCKETS: usize = 1024;

/// Draws the curves in the terminal, one picture a metric.
pub(crate) fn print(runs: &Runs, options: &Options, out: &mut Out) -> Result<Exit, Error> {
    let (curves, exit) = read(runs, options, BUCKETS, |_, curves| curves);
    let by_metric = by_metric(runs, &curves);
    let mut exit = exit.max(options.say_missing(runs, |metric| by_metric.contains_key(metric)));
    let mut is_first = true;
    let metrics = names(&curves, options, &by_metric);
    for metric in &metrics {
        let Some(of_metric) = by_metric.get(metric.as_str()) else { continue };
        match Axes::of(of_metric.iter().map(|of| of.curve), options) {
            Some(axes) => {
                if !std::mem::replace(&mut is_first, false) {
                    out.text("")?;
                }
                let (caption, x) = (caption(metric, options), options.x.unwrap_or("step"));
                let height = terminal::height(metrics.len(), of_metric.len());
                let lines = terminal::draw(&caption, x, of_metric, &axes, height, out.has_colour());
                lines.iter().try_for_each(|line| out.line(line))?;
            }
            None => exit = exit.max(say_nothing_to_draw(metric)),
        }
    }
    Ok(exit)
}

/// A curve of a run.
struct OfRun<'a> {
    /// The number of the run, so that it looks the same in all pictures.
    number: usize,
    name: &'a str,
    curve: &'a Curve,
}

/// Returns the curves of each metric.
fn by_metric<'a>(runs: &'a Runs, curves: &'a [Vec<Curve>]) -> HashMap<&'a str, Vec<OfRun<'a>>> {
    let mut found: HashMap<&str, Vec<OfRun>> = HashMap::new();
    for (number, (run, curves)) in runs.all.iter().zip(curves).enumerate() {
        for curve in curves {
            found.entry(&curve.metric).or_default().push(OfRun { number, name: &run.name, curve });
        }
    }
    found
}

/// Returns the metrics of the pictures, in the requested order, or in the order of the curves.
fn names(curves: &[Vec<Curve>], options: &Options, by_metric: &HashMap<&str, Vec<OfRun>>) -> Vec<String> {
    if !options.metrics.is_empty() {
        return options.metrics.names(|name| by_metric.contains_key(name));
    }
    let mut known = HashSet::new();
    let metrics = curves.iter().flatten().map(|curve| &curve.metric);
    metrics.filter(|metric| known.insert(*metric)).cloned().collect()
}

/// Returns the caption of a picture, with the options that change how curves are drawn.
fn caption(metric: &str, options: &Options) -> String {
    let mut words = Vec::new();
    if let Some(x) = options.x {
        words.push(format!("over {x}"));
    }
    if options.log {
        words.push("log scale".to_owned());
    }
    if options.log_x {
        words.push(format!("log {}", options.x.unwrap_or("steps")));
    }
    if let Some(weight) = options.smooth {
        words.push(format!("smoothed, weight {weight}"));
    }
    if words.is_empty() { metric.to_owned() } else { format!("{metric} ({})", words.join(", ")) }
}

fn say_nothing_to_draw(metric: &str) -> Exit {
    warn(&format!("'{metric}' has no value that can be drawn"));
    Exit::No
}

#[cfg(test)]
mod tests {
    use super::*;
    use run_metrics::name_list::NameList;

    #[test]
    fn each_of_many_metrics_has_one_name() {
        let curves = || (0..500_000).map(|number: u32| Curve::new(&number.to_string(), 1, None)).collect();
        let options =
            Options { metrics: NameList::default(), x: None, smooth: None, log: false, log_x: false };
        assert_eq!(names(&[curves(), curves()], &options, &HashMap::new()).len(), 500_000);
    }
}
