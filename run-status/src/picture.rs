//! The picture that `--watch` draws on a terminal: the list, or the details of a run with a curve of its main
//! metric.

use crate::curve;
use crate::detail;
use crate::entry::{figure, shown_metrics};
use crate::facts::{Extent, facts};
use crate::rows::{RunRow, counts, table};
use crate::select::Scope;
use crate::watched::Watched;
use run_common::rundir::meta::Meta;
use run_common::rundir::observe::Observed;
use run_common::rundir::status::Status;
use run_common::text::{fit, printable};
use run_common::time::Timestamp;
use run_metrics::figures::Figures;
use run_metrics::fresh::Fresh;

/// What to draw.
pub(crate) struct Picture<'a> {
    pub(crate) scope: &'a Scope<'a>,
    /// The requested metrics.
    pub(crate) columns: &'a [String],
    /// Whether a single run was named.
    pub(crate) is_one: bool,
    pub(crate) colour: bool,
    /// The metrics of the run whose details were drawn last.
    pub(crate) fresh: Option<Fresh>,
}

/// The least and the greatest height of the picture of a curve.
const LEAST: usize = 5;
const GREATEST: usize = 24;

/// Lines of a log that are shown if there is room for more than a curve, and at most.
const LOG_LEAST: usize = 4;
const LOG_MOST: usize = 12;

impl Picture<'_> {
    /// Returns the lines that fit a terminal of this size.
    pub(crate) fn draw(&mut self, watched: &Watched, (columns, rows): (usize, usize)) -> Vec<String> {
        let mut lines = match watched.observed().next() {
            Some(run) if self.is_one => self.one(run, columns, rows),
            _ => self.several(watched, columns, rows),
        };
        lines.extend(watched.errors.iter().map(|error| run_common::text::fit(error, columns)));
        lines
    }

    fn several(&self, watched: &Watched, columns: usize, height: usize) -> Vec<String> {
        let row = |run: &Observed| {
            if self.scope.wants(run) {
                RunRow::shown(run, self.scope, self.columns)
            } else {
                RunRow::counted(run, self.scope)
            }
        };
        let all: Vec<RunRow> = watched.observed().map(row).collect();
        let head = format!("{}  {}", Timestamp::now().local(), counts(&all));
        let room = height.saturating_sub(watched.errors.len() + 2);
        let mut lines = vec![run_common::text::fit(&head, columns)];
        let wanted = all.iter().filter(|row| row.is_shown()).count();
        // Names of batches and reasons take lines, too: fewer runs are drawn until all of them fit.
        let mut hidden = wanted.saturating_sub(room);
        let drawn = loop {
            let mut kept = all.clone();
            leave_out(&mut kept, hidden);
            let drawn = table(kept).lines(self.colour, columns);
            let over = drawn.len().saturating_sub(room);
            if over == 0 || hidden == wanted {
                break drawn;
            }
            hidden = (hidden + over.div_ceil(2)).min(wanted);
        };
        if wanted > 0 {
            lines.extend(drawn);
        }
        lines.truncate(height.saturating_sub(watched.errors.len() + 1));
        if hidden > 0 {
            lines.push(run_common::text::fit(&format!("and {hidden} more"), columns));
        }
        lines
    }

    /// Returns the details of a run: what its files say now, all of the same rows.
    fn one(&mut self, run: &Observed, columns: usize, height: usize) -> Vec<String> {
        let mut run = run.clone();
        let layout = run.run.layout().clone();
        let fresh = self.fresh.get_or_insert_with(|| Fresh::of(layout));
        fresh.look(&run.recorded, run.status().has_ended());
        let names = |run: &Observed| shown_metrics(&run.recorded.metrics().figures(), self.columns, 1);
        fresh.put_into(&mut run.recorded);
        let main = names(&run).into_iter().next();
        if let Some(name) = &main {
            fresh.trace(name);
            fresh.put_into(&mut run.recorded);
        }
        let metrics = run.recorded.metrics().figures();
        let meta = Meta::shown(run.run.layout()).ok();
        let facts = facts(&run, meta.as_ref(), Extent::Short).lines(self.colour, columns);
        let rows = detail::rows(&run.recorded.recent().rows()).lines(self.colour, columns);
        let figures = detail::figures(&metrics).lines(self.colour, columns);
        let used: usize = [&facts, &rows, &figures].iter().map(|block| block.len() + 1).sum();
        let mut left = height.saturating_sub(used);
        let mut curve = Vec::new();
        if let (Some(name), Some(trace)) = (&main, fresh.figures().and_then(Figures::trace)) {
            let last = figure(&metrics[name]["last"]);
            let (name, points) = (printable(name), trace.points());
            let beside = if left > LEAST + LOG_LEAST + 5 { LOG_LEAST + 2 } else { 0 };
            // Beside its rows, a picture has a title, steps and a blank line.
            let room = left.saturating_sub(beside + 3).min(GREATEST);
            if room >= LEAST && points.len() > 1 {
                curve.push(fit(&format!("{name}  {last}"), columns));
                curve.extend(curve::picture(points, columns, room));
            } else {
                let line = curve::line(points, columns.min(100) / 2);
                curve.push(fit(&format!("{name}  {line}  {last}"), columns));
            }
            left = left.saturating_sub(curve.len() + 1);
        }
        let mut log = Vec::new();
        let room = left.saturating_sub(2).min(LOG_MOST);
        if room > 0
            && let Some((name, lines)) = detail::last_log(&run, room)
        {
            log.push(fit(&format!("{name}:"), columns));
            log.extend(lines.iter().map(|line| fit(line, columns)));
        }
        let blocks = [facts, curve, rows, figures, log];
        blocks.into_iter().filter(|block| !block.is_empty()).collect::<Vec<_>>().join(&String::new())
    }
}

/// Leaves out this number of rows: ended runs first, from the end of the list.
fn leave_out(rows: &mut [RunRow], mut count: usize) {
    for ended in [true, false] {
        for row in rows.iter_mut().rev().filter(|row| row.is_shown()) {
            if count > 0 && (!ended || row.status.has_ended() || row.status == Status::Created) {
                row.hide();
                count -= 1;
            }
        }
    }
}
