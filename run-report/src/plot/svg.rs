//! Curves as an SVG document, one panel per metric.

use super::axes::{Axes, ticks};
use super::{OfRun, by_metric, caption, names, say_nothing_to_draw};
use crate::curve::Curve;
use crate::curves::{Options, read};
use crate::output::write_file;
use crate::runs::Runs;
use run_common::cli::out::Out;
use run_common::error::{Error, Exit};
use run_common::figures::figure;
use run_common::palette::{self, css};
use std::fmt::Write;
use std::path::Path;

/// Maximum number of buckets of a curve: two per point of the panel.
const BUCKETS: usize = 1200;

/// Size of a panel, and of its area for curves.
const WIDTH: f64 = 760.0;
const LEFT: f64 = 72.0;
const INNER: (f64, f64) = (664.0, 220.0);
const TOP: f64 = 36.0;

/// Returns the colour and the dashes of a run.
fn pen(number: usize) -> (String, String) {
    let dashes: Vec<String> = palette::dashes(number).iter().map(u8::to_string).collect();
    (css(palette::hue(number)), if dashes.is_empty() { "none".to_owned() } else { dashes.join(" ") })
}

/// Writes the curves to a file.
pub(crate) fn write(runs: &Runs, options: &Options, file: &Path, out: &mut Out) -> Result<Exit, Error> {
    let (curves, exit) = read(runs, options, BUCKETS, |_, curves| curves);
    let by_metric = by_metric(runs, &curves);
    let mut exit = exit.max(options.say_missing(runs, |metric| by_metric.contains_key(metric)));
    let mut panels = String::new();
    let mut top = 0.0;
    for metric in names(&curves, options, &by_metric) {
        let of_metric = by_metric.get(metric.as_str()).map(Vec::as_slice).unwrap_or_default();
        let axes = Axes::of(of_metric.iter().map(|of| of.curve), options);
        if axes.is_none() && !of_metric.is_empty() && !options.metrics.is_empty() {
            exit = exit.max(say_nothing_to_draw(&metric));
        }
        top += panel(&mut panels, &caption(&metric, options), of_metric, axes.as_ref(), top);
    }
    let document = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{top}\" viewBox=\"0 0 {WIDTH} {top}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n{panels}</svg>\n"
    );
    write_file(file, document.as_bytes(), out).map(|()| exit)
}

/// Appends a panel; returns its height.
fn panel(into: &mut String, title: &str, curves: &[OfRun], axes: Option<&Axes>, top: f64) -> f64 {
    let (width, height) = INNER;
    let _ = writeln!(into, "<g transform=\"translate({LEFT} {})\">", top + TOP); // writing to a String cannot fail
    let _ = writeln!(into, "<text x=\"0\" y=\"-12\" font-weight=\"bold\">{}</text>", escaped(title));
    let _ = writeln!(into, "<rect width=\"{width}\" height=\"{height}\" fill=\"none\" stroke=\"#ccc\"/>");
    if let Some(axes) = axes {
        let grid = |into: &mut String, line: String, x: f64, y: f64, anchor: &str, label: String| {
            let _ = writeln!(
                into,
                "<path d=\"{line}\" stroke=\"#ddd\"/><text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{label}</text>"
            );
        };
        for tick in ticks(axes.values, axes.log_values) {
            let y = (1.0 - axes.y(tick).unwrap_or(0.0)) * height;
            grid(into, format!("M0 {y:.1}h{width}"), -6.0, y + 4.0, "end", figure(tick));
        }
        for tick in ticks(axes.steps, axes.log_steps) {
            let x = axes.x(tick).unwrap_or(0.0) * width;
            grid(into, format!("M{x:.1} 0v{height}"), x, height + 16.0, "middle", axes.step_label(tick));
        }
        for OfRun { number, name, curve } in curves {
            let (colour, dashes) = pen(*number);
            let _ =
                writeln!(into, "<g stroke=\"{colour}\" fill=\"{colour}\"><title>{}</title>", escaped(name));
            into.push_str(&shapes(curve, axes, &dashes));
            into.push_str("</g>\n");
        }
    } else {
        let _ = writeln!(
            into,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">nothing to draw</text>",
            width / 2.0,
            height / 2.0
        );
    }
    let mut y = height + 36.0;
    for OfRun { number, name, curve } in curves {
        let (colour, dashes) = pen(*number);
        let _ = writeln!(
            into,
            "<path d=\"M0 {}h24\" stroke=\"{colour}\" stroke-width=\"3\" stroke-dasharray=\"{dashes}\"/><text x=\"30\" y=\"{y}\">{} ({})</text>",
            y - 4.0,
            escaped(name),
            curve.in_words()
        );
        y += 16.0;
    }
    into.push_str("</g>\n");
    y + TOP
}

/// Returns the bands and lines of a curve, with a cross for each bucket without finite values.
fn shapes(curve: &Curve, axes: &Axes, dashes: &str) -> String {
    let (width, height) = INNER;
    let mut text = String::new();
    let mut part: Vec<[f64; 4]> = Vec::new(); // x, top, bottom, mean
    let end = |part: &mut Vec<[f64; 4]>, text: &mut String| {
        if part.is_empty() {
            return;
        }
        if part.iter().any(|[_, top, bottom, _]| bottom - top > 0.5) {
            let there = part.iter().map(|[x, top, ..]| format!("{x:.1},{top:.1}"));
            let back = part.iter().rev().map(|[x, _, bottom, _]| format!("{x:.1},{bottom:.1}"));
            let points = there.chain(back).collect::<Vec<_>>().join(" ");
            let _ = writeln!(
                text,
                "<polygon points=\"{points}\" fill-opacity=\"0.25\" stroke-opacity=\"0.5\" stroke-width=\"0.7\"/>"
            );
        }
        let middle = part.iter().map(|[x, _, _, mean]| format!("{x:.1},{mean:.1}"));
        let points = middle.collect::<Vec<_>>().join(" ");
        let _ = writeln!(
            text,
            "<polyline points=\"{points}\" fill=\"none\" stroke-width=\"1.5\" stroke-dasharray=\"{dashes}\"/>"
        );
        if let [[x, top, ..]] = part.as_slice() {
            let _ = writeln!(text, "<circle cx=\"{x:.1}\" cy=\"{top:.1}\" r=\"2\"/>");
        }
        part.clear();
    };
    for bucket in &curve.buckets {
        let Some(x) = axes.x(f64::midpoint(bucket.from, bucket.to)).map(|x| x * width) else { continue };
        if bucket.nonfinite > 0 {
            let _ = writeln!(text, "<path d=\"M{:.1} 2l6 6m-6 0l6 -6\" stroke-width=\"1.5\"/>", x - 3.0);
        }
        let low = axes.y(bucket.least).unwrap_or(0.0);
        match (axes.y(bucket.greatest), axes.y(bucket.mean()).unwrap_or(low)) {
            (Some(high), mean) => {
                part.push([x, (1.0 - high) * height, (1.0 - low) * height, (1.0 - mean) * height]);
            }
            _ => end(&mut part, &mut text),
        }
    }
    end(&mut part, &mut text);
    text
}

/// Escapes a text for XML.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            c if c.is_control() => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}
