//! Curves: in the terminal, and as SVG.

pub(crate) mod svg;
mod terminal;

use crate::cli::Args;
use crate::curve::{Curve, Frame, Wish, caption, names, read};
use crate::runs::Runs;
use run_common::cli::out::Out;
use run_common::error::{Error, Exit};
use run_common::message::warn;
use std::collections::HashMap;

/// Buckets of a curve in the terminal: twice what is likely to be as wide.
const BUCKETS: usize = 1024;

/// Draws the curves in the terminal, one picture a metric.
pub(crate) fn print(runs: &Runs, args: &Args, out: &mut Out) -> Result<Exit, Error> {
    let wish = Wish { metrics: &args.plot, buckets: BUCKETS, smooth: args.smooth };
    let (curves, mut exit) = read(runs, &wish, |_, curves| curves)?;
    let by_metric = by_metric(runs, &curves);
    for (number, metric) in names(&curves, &args.plot).iter().enumerate() {
        if number > 0 {
            out.text("")?;
        }
        let of_metric = by_metric.get(metric.as_str()).map(Vec::as_slice).unwrap_or_default();
        match Frame::of(of_metric.iter().map(|of| of.curve), args.log_x, args.log) {
            Some(frame) => {
                let title = caption(metric, args.log_x, args.log, args.smooth);
                for line in terminal::draw(&title, of_metric, &frame, out.has_colour()) {
                    out.line(&line)?;
                }
            }
            None => {
                warn(&nothing(metric, of_metric));
                exit = exit.max(Exit::No);
            }
        }
    }
    Ok(exit)
}

/// Says which of the metrics that were asked for no run has, and whether that is so of any.
pub(crate) fn missing(args: &Args, is_known: impl Fn(&str) -> bool) -> Exit {
    let missing: Vec<&String> = args.plot.iter().filter(|metric| !is_known(metric)).collect();
    for metric in &missing {
        warn(&nothing(metric, &[]));
    }
    if missing.is_empty() { Exit::Ok } else { Exit::No }
}

/// A curve of a run.
struct OfRun<'a> {
    /// Which of the runs it is, so that it looks the same in all pictures.
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

fn nothing(metric: &str, curves: &[OfRun]) -> String {
    if curves.is_empty() {
        format!("no run has '{metric}'")
    } else {
        format!("'{metric}' has no value that can be drawn")
    }
}
