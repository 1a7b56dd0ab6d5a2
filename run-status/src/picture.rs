//! The picture that `--watch` draws on a terminal: the list, or the details of a run with a curve of its main
//! metric.

use crate::detail;
use crate::entry::{figure, shown_metrics};
use crate::facts::{Extent, facts};
use crate::rows::{RunRow, counts, table};
use crate::select::Scope;
use crate::sparkline::Sparkline;
use crate::watched::Watched;
use run_common::rundir::meta::Meta;
use run_common::rundir::observe::Observed;
use run_common::rundir::status::Status;
use run_common::time::Timestamp;

/// What to draw.
pub(crate) struct Picture<'a> {
    pub(crate) scope: &'a Scope<'a>,
    /// The requested metrics.
    pub(crate) columns: &'a [String],
    /// Whether a single run was named.
    pub(crate) is_one: bool,
    pub(crate) colour: bool,
    pub(crate) sparkline: Option<Sparkline>,
}

impl Picture<'_> {
    /// Returns the lines that fit a terminal of this size.
    pub(crate) fn draw(&mut self, watched: &Watched, (columns, rows): (usize, usize)) -> Vec<String> {
        let mut lines = match watched.observed().next() {
            Some(run) if self.is_one => self.one(run, columns),
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

    fn one(&mut self, run: &Observed, columns: usize) -> Vec<String> {
        let mut lines = Vec::new();
        let mut add = |block: Vec<String>| {
            if !block.is_empty() && !lines.is_empty() {
                lines.push(String::new());
            }
            lines.extend(block);
        };
        let meta = Meta::shown(run.run.layout()).ok();
        add(facts(run, meta.as_ref(), Extent::Short).lines(self.colour, columns));
        let metrics = run.recorded.metrics().figures();
        if let Some(name) = shown_metrics(&metrics, self.columns, 1).first() {
            let sparkline = self.sparkline.get_or_insert_with(|| Sparkline::of(run, name));
            sparkline.follow();
            let (drawn, last) = (sparkline.draw(columns.min(100) / 2), figure(&metrics[name]["last"]));
            add(vec![run_common::text::fit(&format!("{name}  {drawn}  {last}"), columns)]);
        }
        add(detail::rows(&run.recorded.recent().rows()).lines(self.colour, columns));
        add(detail::figures(&metrics).lines(self.colour, columns));
        lines
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
