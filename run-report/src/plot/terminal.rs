//! Curves in characters: Braille dots for a single run; for several runs, a letter each, and a colour if
//! possible.

use super::OfRun;
use super::axes::Axes;
use crate::curve::Curve;
use run_common::cli::screen;
use run_common::figures::figure;
use run_common::palette::SGR;
use run_common::text::printable;

/// Height of a picture, in characters.
const HEIGHT: usize = 16;

/// Width beside the picture, in characters.
const MARGIN: usize = 12;

/// Returns the maximum width of a picture.
fn columns() -> usize {
    let from_environment = || std::env::var("COLUMNS").ok()?.parse().ok();
    screen::columns().or_else(from_environment).unwrap_or(80).clamp(40, 400)
}

/// Draws curves under a title.
pub(super) fn draw(title: &str, curves: &[OfRun], axes: &Axes, colour: bool) -> Vec<String> {
    let width = columns() - MARGIN;
    let mut lines = vec![format!("{:>MARGIN$}{}", "", printable(title))];
    let picture = match curves {
        [one] => braille(one.curve, axes, width),
        several => letters(several, axes, width, colour),
    };
    for (number, row) in picture.iter().enumerate() {
        let label = match number {
            0 => figure(axes.values.1),
            _ if number == HEIGHT - 1 => figure(axes.values.0),
            _ => String::new(),
        };
        lines.push(format!("{label:>10} │{}", row.trim_end()));
    }
    let (first, last) = (axes.step_label(axes.steps.0), axes.step_label(axes.steps.1));
    let rest = width.saturating_sub(first.len());
    lines.push(format!("{:>10} └{}", "", "─".repeat(width)));
    lines.push(format!("{:>MARGIN$}{first}{last:>rest$}", ""));
    for OfRun { number, name, curve } in curves {
        let mark = if curves.len() == 1 {
            String::new()
        } else {
            format!("{} ", tinted(letter(*number), *number, colour))
        };
        lines.push(format!("{:>MARGIN$}{mark}{} ({})", "", printable(name), curve.in_words()));
    }
    lines
}

fn letter(number: usize) -> char {
    char::from(b"abcdefghijklmnopqrstuvwyzABCDEFGHIJKLMNOPQRSTUVWXYZ"[number % 51])
}

fn tinted(letter: char, number: usize, colour: bool) -> String {
    if colour { format!("\u{1b}[{}m{letter}\u{1b}[0m", SGR[number % SGR.len()]) } else { letter.to_string() }
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

/// Calls `dot` for every point of a curve on a grid, including the lines between its buckets, and `miss` for
/// columns without finite values.
fn trace(
    curve: &Curve,
    axes: &Axes,
    width: usize,
    height: usize,
    dot: &mut dyn FnMut(usize, usize),
    miss: &mut dyn FnMut(usize),
) {
    let mut before: Option<(usize, usize)> = None;
    for bucket in &curve.buckets {
        let Some(from) = axes.x(bucket.from) else { continue };
        let (from, to) = (place(from, width), place(axes.x(bucket.to).unwrap_or(from), width));
        let (Some(high), Some(low)) = (axes.y(bucket.greatest), axes.y(bucket.least).or(Some(0.0))) else {
            miss(from);
            before = None;
            continue;
        };
        if bucket.nonfinite > 0 {
            miss(to);
        }
        let (top, bottom) = (height - 1 - place(high, height), height - 1 - place(low, height));
        if let Some((x, y)) = before {
            let steps = (from.saturating_sub(x)).max(1);
            for step in 1..steps {
                let middle = usize::midpoint(top, bottom);
                let y = if middle >= y {
                    y + (middle - y) * step / steps
                } else {
                    y - (y - middle) * step / steps
                };
                dot(x + step, y);
            }
        }
        for x in from..=to.max(from) {
            (top..=bottom).for_each(|y| dot(x, y));
        }
        before = Some((to.max(from), usize::midpoint(top, bottom)));
    }
}

fn braille(curve: &Curve, axes: &Axes, width: usize) -> Vec<String> {
    const DOTS: [[u32; 2]; 4] = [[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]];
    let mut grid = vec![vec![0_u32; width]; HEIGHT];
    let mut missing = vec![false; width];
    trace(
        curve,
        axes,
        width * 2,
        HEIGHT * 4,
        &mut |x, y| grid[y / 4][x / 2] |= DOTS[y % 4][x % 2],
        &mut |x| missing[x / 2] = true,
    );
    let character = |dots: &u32| if *dots == 0 { ' ' } else { char::from_u32(0x2800 + dots).unwrap_or(' ') };
    let mut rows: Vec<Vec<char>> = grid.iter().map(|row| row.iter().map(character).collect()).collect();
    mark_missing(&missing, &mut |x| rows[0][x] = 'x');
    rows.into_iter().map(|row| row.into_iter().collect()).collect()
}

fn letters(curves: &[OfRun], axes: &Axes, width: usize, colour: bool) -> Vec<String> {
    let mut grid = vec![vec![String::from(" "); width]; HEIGHT];
    let mut missing = vec![false; width];
    for OfRun { number, curve, .. } in curves {
        let mark = tinted(letter(*number), *number, colour);
        trace(curve, axes, width, HEIGHT, &mut |x, y| grid[y][x].clone_from(&mark), &mut |x| {
            missing[x] = true;
        });
    }
    mark_missing(&missing, &mut |x| "x".clone_into(&mut grid[0][x]));
    grid.into_iter().map(|row| row.concat()).collect()
}

fn mark_missing(missing: &[bool], mark: &mut dyn FnMut(usize)) {
    missing.iter().enumerate().filter(|(_, is)| **is).for_each(|(x, _)| mark(x));
}
