//! A metric as a line of block characters.

use run_common::fsio::open_regular;
use run_common::fsio::read::LIMIT;
use run_common::rundir::layout::Layout;
use run_common::rundir::observe::Observed;
use run_metrics::lines::LineReader;
use run_metrics::of_run;
use run_metrics::row::{MetricRow, MetricValue};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Number of heights of a character.
const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Maximum number of points; beyond this, pairs are averaged.
const POINTS: usize = 8192;

/// How long a look at a file of lines may take; the next look continues.
const LOOK: Duration = Duration::from_millis(500);

/// Other files are read as a whole; before the next read, wait this many times the duration of the last.
const RARENESS: u32 = 50;

/// The values of a metric over the steps, read as the file grows.
#[derive(Debug)]
pub(crate) struct Sparkline {
    name: String,
    layout: Layout,
    path: PathBuf,
    lines: LineReader,
    next: Option<Instant>,
    rows: u64,
    points: Vec<(f64, f64)>,
    /// The epoch (or similar count) of the last row, within which steps may restart.
    outer: Option<f64>,
}

impl Sparkline {
    /// Creates the sparkline of a metric of a run.
    pub(crate) fn of(run: &Observed, name: &str) -> Self {
        Self::new(name, run.run.layout().clone())
    }

    fn new(name: &str, layout: Layout) -> Self {
        Self {
            name: name.to_owned(),
            layout,
            path: PathBuf::new(),
            lines: LineReader::default(),
            next: None,
            rows: 0,
            points: Vec::new(),
            outer: None,
        }
    }

    /// Reads new rows of the metrics. Unreadable metrics add nothing.
    pub(crate) fn follow(&mut self) {
        if self.next.is_some_and(|time| Instant::now() < time) {
            return;
        }
        let Some(source) = of_run::source(&self.layout) else { return };
        match source.plain_lines() {
            Some(path) => self.follow_lines(path),
            None => self.read_all(),
        }
    }

    /// Starts over.
    fn forget(&mut self) {
        (self.lines, self.rows) = (LineReader::default(), 0);
        self.points.clear();
    }

    fn follow_lines(&mut self, path: &Path) {
        if *path != *self.path {
            path.clone_into(&mut self.path);
            self.forget();
        }
        let Ok(Some(file)) = open_regular(path) else { return };
        if file.metadata().is_ok_and(|file| file.len() < self.lines.position()) {
            self.forget();
        }
        let mut lines = self.lines;
        let mut act = |_, line: Option<&[u8]>| {
            if let Some(row) = line.and_then(MetricRow::parse) {
                self.add(&row);
            }
            Ok(())
        };
        let start = Instant::now();
        while lines.read(&file, LIMIT, &mut act).unwrap_or(false) && start.elapsed() < LOOK {}
        self.lines = lines;
    }

    fn read_all(&mut self) {
        let start = Instant::now();
        self.forget();
        let layout = self.layout.clone();
        let read = of_run::rows(&layout, &mut |row, _| self.add(&row));
        if read.is_err() {
            self.points.clear();
        }
        self.next = Some(Instant::now() + start.elapsed().saturating_mul(RARENESS));
    }

    /// Adds a row. After a resume, a row at an earlier step replaces the rows from that step on, unless the
    /// epoch has advanced.
    fn add(&mut self, row: &MetricRow) {
        self.rows += 1;
        #[expect(clippy::cast_precision_loss, reason = "more than 2^53 rows are not to be had")]
        let number = self.rows as f64;
        let (step, outer) = row.standing().map_or((number, None), |standing| standing.position());
        let Some(MetricValue::Number(value)) = row.get(&self.name) else { return };
        let before = std::mem::replace(&mut self.outer, outer);
        let goes_on = before.zip(outer).is_some_and(|(before, outer)| outer > before);
        while !goes_on && self.points.last().is_some_and(|(last, _)| *last >= step) {
            self.points.pop();
        }
        self.points.push((step, *value));
        if self.points.len() > POINTS {
            self.points = self.points.chunks(2).map(mean).collect();
        }
    }

    /// Draws the curve in at most `width` characters, each the mean of its part; `x` if no value is finite.
    pub(crate) fn draw(&self, width: usize) -> String {
        let width = width.clamp(1, self.points.len().max(1));
        let part = |column: usize| column * self.points.len() / width;
        let means: Vec<f64> =
            (0..width).map(|column| mean(&self.points[part(column)..part(column + 1)]).1).collect();
        let finite = || means.iter().copied().filter(|value| value.is_finite());
        let (least, greatest) =
            (finite().fold(f64::INFINITY, f64::min), finite().fold(f64::NEG_INFINITY, f64::max));
        let block = |value: &f64| {
            if !value.is_finite() {
                return 'x';
            }
            let height = if greatest > least { (value - least) / (greatest - least) } else { 0.5 };
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 7")]
            let height = (height * 7.0).round().clamp(0.0, 7.0) as usize;
            BLOCKS[height]
        };
        if self.points.is_empty() { String::new() } else { means.iter().map(block).collect() }
    }
}

/// Returns the first step and the mean of the finite values; NaN if there are none.
fn mean(points: &[(f64, f64)]) -> (f64, f64) {
    let finite: Vec<f64> = points.iter().map(|(_, value)| *value).filter(|value| value.is_finite()).collect();
    #[expect(clippy::cast_precision_loss, reason = "there are few")]
    let mean = finite.iter().sum::<f64>() / finite.len() as f64;
    (points.first().map_or(0.0, |(step, _)| *step), mean)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sparkline(values: impl IntoIterator<Item = (f64, f64)>) -> Sparkline {
        let mut sparkline = Sparkline::new("loss", Layout::new(""));
        for (step, value) in values {
            let value = if value.is_nan() { "NaN".to_owned() } else { value.to_string() };
            sparkline.add(
                &MetricRow::parse(format!("{{\"step\": {step}, \"loss\": {value}}}").as_bytes()).unwrap(),
            );
        }
        sparkline
    }

    #[test]
    fn a_sparkline_is_as_wide_as_it_may_and_has_no_zigzag() {
        assert_eq!(sparkline([]).draw(10), "");
        assert_eq!(sparkline([(1.0, 5.0)]).draw(10), "▅");
        assert_eq!(sparkline((0..8).map(|step| (step.into(), step.into()))).draw(80), "▁▂▃▄▅▆▇█");
        assert_eq!(sparkline((0..800).map(|step| (step.into(), step.into()))).draw(8), "▁▂▃▄▅▆▇█");
        assert_eq!(sparkline([(1.0, 0.0), (2.0, f64::NAN), (3.0, 7.0)]).draw(80), "▁x█");
        assert_eq!(sparkline([(1.0, 0.0), (2.0, 9.0), (3.0, 9.0), (2.0, 7.0)]).draw(80), "▁█");
        let mut epochs = sparkline([]);
        for (epoch, step) in [(0, 1), (0, 2), (1, 1), (1, 2)] {
            let row = format!("{{\"epoch\": {epoch}, \"step\": {step}, \"loss\": {}}}", 2 * epoch + step);
            epochs.add(&MetricRow::parse(row.as_bytes()).unwrap());
        }
        assert_eq!(epochs.draw(80), "▁▃▆█");
        assert_eq!(sparkline((0..20_000).map(|step| (step.into(), (step / 10_000).into()))).draw(2), "▁█");
    }
}
