//! The course of a metric: a line of block characters, or a picture of Braille dots.

use run_common::cli::braille::{Canvas, straight};
use run_common::figures::{decimals, figure, figure_alike};
use run_metrics::trace::mean;

/// Heights of a character.
const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Width beside a picture, in characters.
const MARGIN: usize = 12;

/// Draws points in at most `width` characters, each the mean of its part; `x` if no value is finite.
pub(crate) fn line(points: &[(f64, f64)], width: usize) -> String {
    let width = width.clamp(1, points.len().max(1));
    let part = |column: usize| column * points.len() / width;
    let means: Vec<f64> = (0..width).map(|column| mean(&points[part(column)..part(column + 1)]).1).collect();
    let (least, greatest) = range(means.iter().copied());
    let block = |value: &f64| {
        if !value.is_finite() {
            return 'x';
        }
        BLOCKS[place(share(*value, (least, greatest)), BLOCKS.len())]
    };
    if points.is_empty() { String::new() } else { means.iter().map(block).collect() }
}

/// Draws points in this many rows of at most `columns` characters, with values at the left, and a row of steps below.
pub(crate) fn picture(points: &[(f64, f64)], columns: usize, rows: usize) -> Vec<String> {
    let width = columns.saturating_sub(MARGIN).max(1);
    let values = range(points.iter().map(|(_, value)| *value));
    let (Some((first, _)), Some((last, _))) = (points.first(), points.last()) else { return Vec::new() };
    // Steps that restart in each epoch are drawn one after another.
    let has_order = points.is_sorted_by(|one, other| one.0 <= other.0);
    let column = |number: usize, step: f64| {
        let share = if has_order { share(step, (*first, *last)) } else { fraction(number, points.len()) };
        place(share, width * 2)
    };
    let mut canvas = Canvas::new(width, rows);
    let columns: Vec<usize> =
        points.iter().enumerate().map(|(number, (step, _))| column(number, *step)).collect();
    let mut before: Option<(usize, usize)> = None;
    let mut rest = points;
    for part in columns.chunk_by(|one, other| one == other) {
        let (here, after) = rest.split_at(part.len());
        rest = after;
        let (x, value) = (part[0], mean(here).1);
        if !value.is_finite() {
            canvas.mark(x);
            before = None;
            continue;
        }
        let y = rows * 4 - 1 - place(share(value, values), rows * 4);
        straight(before.unwrap_or((x, y)), (x, y), &mut |x, y| canvas.dot(x, y, 0));
        before = Some((x, y));
    }
    let most = [values.0, values.1].into_iter().filter_map(decimals).max().unwrap_or_default();
    let label = |number: usize| match number {
        0 => figure_alike(values.1, most),
        _ if number + 1 == rows => figure_alike(values.0, most),
        _ => String::new(),
    };
    let draw = |(number, row): (usize, String)| {
        let label = label(number);
        let sign = if label.is_empty() { '│' } else { '┤' };
        format!("{label:>10} {sign}{row}")
    };
    let mut lines: Vec<String> = canvas.rows(|_| None).into_iter().enumerate().map(draw).collect();
    let (first, last) = (figure(*first), figure(*last));
    let rest = width.saturating_sub(first.len() + last.len());
    lines.push(format!("{:>MARGIN$}{first}{:^rest$}{last}", "", "step"));
    lines
}

/// Returns the range of the finite values.
fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let finite = values.filter(|value| value.is_finite());
    finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(least, greatest), value| {
        (least.min(value), greatest.max(value))
    })
}

/// Returns where a number is in a range, from 0 to 1.
fn share(number: f64, (least, greatest): (f64, f64)) -> f64 {
    if greatest > least { (number - least) / (greatest - least) } else { 0.5 }
}

#[expect(clippy::cast_precision_loss, reason = "there are few points")]
fn fraction(number: usize, of: usize) -> f64 {
    number as f64 / of.max(2).saturating_sub(1) as f64
}

/// Returns the row or column at a share of their number.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a share of a small number"
)]
fn place(share: f64, of: usize) -> usize {
    ((share * (of - 1) as f64).round() as usize).min(of - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use run_metrics::row::MetricRow;
    use run_metrics::trace::Trace;

    fn trace(values: impl IntoIterator<Item = (f64, f64)>) -> Trace {
        let mut trace = Trace::of("loss");
        for (step, value) in values {
            let value = if value.is_nan() { "NaN".to_owned() } else { value.to_string() };
            let row = format!("{{\"step\": {step}, \"loss\": {value}}}");
            trace.add(&MetricRow::parse(row.as_bytes()).unwrap());
        }
        trace
    }

    fn drawn(values: impl IntoIterator<Item = (f64, f64)>, width: usize) -> String {
        line(trace(values).points(), width)
    }

    #[test]
    fn a_line_is_as_wide_as_it_may_and_has_no_zigzag() {
        assert_eq!(drawn([], 10), "");
        assert_eq!(drawn([(1.0, 5.0)], 10), "▅");
        assert_eq!(drawn((0..8).map(|step| (step.into(), step.into())), 80), "▁▂▃▄▅▆▇█");
        assert_eq!(drawn((0..800).map(|step| (step.into(), step.into())), 8), "▁▂▃▄▅▆▇█");
        assert_eq!(drawn([(1.0, 0.0), (2.0, f64::NAN), (3.0, 7.0)], 80), "▁x█");
        assert_eq!(drawn([(1.0, 0.0), (2.0, 9.0), (3.0, 9.0), (2.0, 7.0)], 80), "▁█");
        let mut epochs = trace([]);
        for (epoch, step) in [(0, 1), (0, 2), (1, 1), (1, 2)] {
            let row = format!("{{\"epoch\": {epoch}, \"step\": {step}, \"loss\": {}}}", 2 * epoch + step);
            epochs.add(&MetricRow::parse(row.as_bytes()).unwrap());
        }
        assert_eq!(line(epochs.points(), 80), "▁▃▆█");
        assert_eq!(drawn((0..20_000).map(|step| (step.into(), (step / 10_000).into())), 2), "▁█");
    }

    #[test]
    fn a_picture_has_values_at_the_left_and_steps_below() {
        let points: Vec<(f64, f64)> = (1..=9).map(|step| (step.into(), f64::from(step) / 2.0)).collect();
        assert_eq!(
            picture(&points, 22, 2),
            ["    4.5000 ┤     ⣀⣀⡤⠴⠚", "    0.5000 ┤⣀⡤⠴⠚⠉⠁", "            1  step  9"]
        );
        assert_eq!(picture(&[], 22, 2), Vec::<String>::new());
        assert!(picture(&[(1.0, f64::NAN)], 22, 2)[0].ends_with('x'));
    }
}
