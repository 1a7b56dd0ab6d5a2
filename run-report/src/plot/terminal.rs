//! Curves in characters: Braille dots, for several runs in colours; without colours, a letter for each run.

use super::OfRun;
use super::axes::{Axes, ticks};
use crate::curve::Curve;
use run_common::cli::braille::{Canvas, straight};
use run_common::cli::screen;
use run_common::figures::{decimals, figure, figure_alike};
use run_common::palette::SGR;
use run_common::text::printable;

/// Height of a picture in characters, where there is no terminal.
const HEIGHT: usize = 16;

/// The least and the greatest height of a picture on a terminal.
const LEAST: usize = 6;
const GREATEST: usize = 60;

/// Lines of a picture beside its rows and its runs: the title, the axis, its labels, its name and a prompt.
const BESIDE: usize = 5;

/// Width beside the picture, in characters.
const MARGIN: usize = 12;

/// Returns the maximum width of a picture.
fn columns() -> usize {
    let from_environment = || std::env::var("COLUMNS").ok()?.parse().ok();
    screen::columns().or_else(from_environment).unwrap_or(80).clamp(40, 400)
}

/// Returns the height of each of some pictures, so that all of them fit a terminal if they can.
pub(super) fn height(pictures: usize, runs: usize) -> usize {
    let Some(rows) = screen::rows() else { return HEIGHT };
    (rows / pictures.max(1)).saturating_sub(BESIDE + runs).clamp(LEAST, GREATEST)
}

/// Draws curves of this height under a title, over `x`.
pub(super) fn draw(
    title: &str,
    x: &str,
    curves: &[OfRun],
    axes: &Axes,
    height: usize,
    colour: bool,
) -> Vec<String> {
    let width = columns() - MARGIN;
    let mut lines = vec![format!("{:>MARGIN$}{}", "", printable(title))];
    let picture = match curves {
        [one] => braille(&[OfRun { number: 0, ..*one }], axes, (width, height), false),
        several if colour => braille(several, axes, (width, height), true),
        several => letters(several, axes, (width, height)),
    };
    for (row, label) in picture.iter().zip(value_labels(axes, height)) {
        let sign = if label.is_empty() { '│' } else { '┤' };
        lines.push(format!("{label:>10} {sign}{}", row.trim_end()));
    }
    lines.push(format!("{:>10} └{}", "", "─".repeat(width)));
    lines.push(format!("{:>MARGIN$}{}", "", step_labels(axes, width)));
    lines.push(format!("{:>MARGIN$}{:^width$}", "", printable(x)).trim_end().to_owned());
    for OfRun { number, name, curve } in curves {
        let mark = match curves {
            [_] => String::new(),
            _ if colour => format!("\u{1b}[{}m━━\u{1b}[0m ", SGR[number % SGR.len()]),
            _ => format!("{} ", letter(*number)),
        };
        lines.push(format!("{:>MARGIN$}{mark}{} ({})", "", printable(name), curve.in_words()));
    }
    lines
}

/// Returns the label of every row: the values at the ends of the axis, and round ones between.
fn value_labels(axes: &Axes, height: usize) -> Vec<String> {
    let mut labels: Vec<Option<f64>> = vec![None; height];
    labels[0] = Some(axes.values.1);
    labels[height - 1] = Some(axes.values.0);
    for tick in ticks(axes.values, axes.log_values) {
        let Some(share) = axes.y(tick) else { continue };
        let row = height - 1 - place(share, height);
        let near = row.saturating_sub(1)..(row + 2).min(height);
        if near.into_iter().all(|row| labels[row].is_none()) {
            labels[row] = Some(tick);
        }
    }
    let most = labels.iter().flatten().filter_map(|value| decimals(*value)).max().unwrap_or_default();
    let alike = |value: f64| Some(figure_alike(value, most)).filter(|label| label.len() < MARGIN - 1);
    let label = |value: f64| alike(value).unwrap_or_else(|| figure(value));
    labels.into_iter().map(|value| value.map(label).unwrap_or_default()).collect()
}

/// Returns the line of labels below the axis: the steps at its ends, and round ones between, where there is room.
fn step_labels(axes: &Axes, width: usize) -> String {
    let mut line = vec![' '; width];
    let mut put = |label: &str, at: usize| {
        let label: Vec<char> = label.chars().collect();
        let around = at.saturating_sub(2)..(at + label.len() + 2).min(width);
        if at + label.len() <= width && line[around].iter().all(|sign| *sign == ' ') {
            line[at..at + label.len()].copy_from_slice(&label);
        }
    };
    let (first, last) = (axes.step_label(axes.steps.0), axes.step_label(axes.steps.1));
    put(&first, 0);
    put(&last, width.saturating_sub(last.chars().count()));
    if !axes.is_time {
        for tick in ticks(axes.steps, axes.log_steps) {
            let label = axes.step_label(tick);
            let Some(share) = axes.x(tick) else { continue };
            put(&label, place(share, width).saturating_sub(label.len() / 2));
        }
    }
    line.into_iter().collect::<String>().trim_end().to_owned()
}

fn letter(number: usize) -> char {
    char::from(b"abcdefghijklmnopqrstuvwyzABCDEFGHIJKLMNOPQRSTUVWXYZ"[number % 51])
}

/// Returns the row or column at a fraction of their number.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a share of a small number"
)]
fn place(share: f64, of: usize) -> usize {
    ((share * (of - 1) as f64).round() as usize).min(of - 1)
}

/// Calls `dot` with column and row for every point of a curve on a grid, including the lines between its buckets, and
/// without a row for columns with values that are not finite.
fn trace(curve: &Curve, axes: &Axes, width: usize, height: usize, dot: &mut dyn FnMut(usize, Option<usize>)) {
    let mut before: Option<(usize, usize)> = None;
    for bucket in &curve.buckets {
        let Some(from) = axes.x(bucket.from) else { continue };
        let (from, to) = (place(from, width), place(axes.x(bucket.to).unwrap_or(from), width));
        let (Some(high), Some(low)) = (axes.y(bucket.greatest), axes.y(bucket.least).or(Some(0.0))) else {
            dot(from, None);
            before = None;
            continue;
        };
        if bucket.nonfinite > 0 {
            dot(to, None);
        }
        let (top, bottom) = (height - 1 - place(high, height), height - 1 - place(low, height));
        if let Some(before) = before {
            straight(before, (from, usize::midpoint(top, bottom)), &mut |x, y| dot(x, Some(y)));
        }
        for x in from..=to.max(from) {
            (top..=bottom).for_each(|y| dot(x, Some(y)));
        }
        before = Some((to.max(from), usize::midpoint(top, bottom)));
    }
}

fn braille(curves: &[OfRun], axes: &Axes, (width, height): (usize, usize), has_colours: bool) -> Vec<String> {
    let mut canvas = Canvas::new(width, height);
    for OfRun { number, curve, .. } in curves {
        trace(curve, axes, width * 2, height * 4, &mut |x, y| match y {
            Some(y) => canvas.dot(x, y, *number),
            None => canvas.mark(x),
        });
    }
    canvas.rows(|pen| has_colours.then(|| SGR[pen % SGR.len()]))
}

fn letters(curves: &[OfRun], axes: &Axes, (width, height): (usize, usize)) -> Vec<String> {
    let mut grid = vec![vec![' '; width]; height];
    let mut missing = vec![false; width];
    for OfRun { number, curve, .. } in curves {
        let mark = letter(*number);
        trace(curve, axes, width, height, &mut |x, y| match y {
            Some(y) => grid[y][x] = mark,
            None => missing[x] = true,
        });
    }
    for (x, _) in missing.iter().enumerate().filter(|(_, is)| **is) {
        grid[0][x] = 'x';
    }
    grid.into_iter().map(|row| row.into_iter().collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_have_values_between_their_ends_and_none_over_another() {
        let axes = Axes {
            steps: (1.0, 100.0),
            values: (0.1, 2.5),
            log_steps: false,
            log_values: false,
            is_time: false,
        };
        let labels = value_labels(&axes, 9);
        assert_eq!(labels, ["2.5000", "", "", "1.5000", "", "1.0000", "", "", "0.1000"]);
        assert_eq!(step_labels(&axes, 40), "1     20      40      60      80     100");
        assert_eq!(step_labels(&axes, 9), "1     100");
    }
}
