//! The picture that `--watch` draws on a terminal: the list, or the details of a run with a curve of its main
//! metric.

use crate::curve;
use crate::detail;
use crate::entry::{figure_of, shown_metrics};
use crate::facts::{Extent, facts};
use crate::keys::Keys;
use crate::rows::{RunRow, counts, table};
use crate::select::Scope;
use crate::watched::Watched;
use run_common::cli::table::{Tint, tinted};
use run_common::rundir::observe::Observed;
use run_common::rundir::status::Status;
use run_common::text::{fit, printable};
use run_common::time::Timestamp;
use run_metrics::figures::Figures;
use run_metrics::fresh::{Fresh, LOOK};
use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Instant;

/// What to draw.
pub(crate) struct Picture<'a> {
    pub(crate) scope: &'a Scope<'a>,
    /// The requested metrics.
    pub(crate) columns: &'a [String],
    pub(crate) colour: bool,
    /// What the keys have chosen.
    pub(crate) keys: Keys,
    /// The metrics of the runs that were drawn last.
    pub(crate) fresh: HashMap<PathBuf, Fresh>,
}

/// The least height of a terminal that shows the keys.
const KEYS: usize = 10;

/// The least and the greatest height of the picture of a curve.
const LEAST: usize = 5;
const GREATEST: usize = 24;

/// Lines of a log that are shown if there is room for more than a curve, and at most.
const LOG_LEAST: usize = 4;
const LOG_MOST: usize = 12;

/// Maximum number of runs of a list whose metrics are followed.
const FRESH: usize = 200;

impl Picture<'_> {
    /// Returns the lines that fit a terminal of this size, the last of which tells of the keys.
    pub(crate) fn with_keys(&mut self, watched: &Watched, (columns, rows): (usize, usize)) -> Vec<String> {
        if rows < KEYS && !self.keys.asks {
            return self.draw(watched, (columns, rows));
        }
        let mut lines = self.draw(watched, (columns, rows - 1));
        lines.resize(rows - 1, String::new());
        let keys = self.keys.line(&self.shown(watched));
        lines.push(tinted(&fit(&keys, columns), if self.colour { Tint::Dim } else { Tint::None }));
        lines
    }

    /// Returns the lines that fit a terminal of this size.
    pub(crate) fn draw(&mut self, watched: &Watched, (columns, rows): (usize, usize)) -> Vec<String> {
        let is_it = |run: &&Observed| self.keys.run.as_deref() == Some(run.run.layout().root());
        let run = watched.observed().find(is_it);
        if run.is_none() {
            self.keys.leave();
        }
        let mut lines = match run {
            Some(run) if self.keys.shows_log => log(run, columns, rows),
            Some(run) => self.one(run, columns, rows),
            None => self.several(watched, columns, rows),
        };
        lines.extend(watched.errors.iter().map(|error| fit(error, columns)));
        lines
    }

    /// Returns the shown runs, in the order of the list.
    pub(crate) fn shown<'a>(&self, watched: &'a Watched) -> Vec<&'a Observed> {
        watched.observed().filter(|run| self.wants(run)).collect()
    }

    fn wants(&self, run: &Observed) -> bool {
        if self.keys.all { self.scope.may_show(run) } else { self.scope.wants(run) }
    }

    fn several(&mut self, watched: &Watched, columns: usize, height: usize) -> Vec<String> {
        let room = height.saturating_sub(watched.errors.len() + 2);
        let mut known = std::mem::take(&mut self.fresh);
        let (until, among) = (Instant::now() + LOOK, u32::try_from(known.len()).unwrap_or(u32::MAX));
        let is_chosen = |run: &Observed| self.keys.chosen.as_deref() == Some(run.run.layout().root());
        // Places count among the shown runs.
        let chosen = watched.observed().filter(|run| self.wants(run)).position(is_chosen);
        let most = if chosen.is_some() { 2 * room } else { room };
        let mut place = 0;
        let mut row = |run: &Observed| {
            if !self.wants(run) {
                return RunRow::counted(run, self.scope);
            }
            // Running runs are the last that there is no room for; those around the chosen one are drawn.
            let is_near = chosen.is_none_or(|chosen| chosen.abs_diff(place) <= room);
            place += 1;
            if run.status() != Status::Running || !is_near || self.fresh.len() >= most.min(FRESH) {
                return RunRow::shown(run, self.scope, self.columns);
            }
            let root = run.run.layout().root();
            let mut run = run.clone();
            let mut fresh = known.remove(root).unwrap_or_else(|| Fresh::of(run.run.layout().clone()));
            fresh.look(&run.recorded, false, until, among);
            put(&fresh, &mut run);
            self.fresh.insert(root.to_owned(), fresh);
            RunRow::shown(&run, self.scope, self.columns)
        };
        let mut all: Vec<RunRow> = watched.observed().map(&mut row).collect();
        if let Some(row) = chosen.and_then(|place| all.iter_mut().filter(|row| row.is_shown()).nth(place)) {
            row.choose();
        }
        let head = format!("{}  {}", Timestamp::now().local(), counts(&all));
        let mut lines = vec![fit(&head, columns)];
        let count = |rows: &[RunRow]| rows.iter().filter(|row| row.is_shown()).count();
        let wanted = count(&all);
        // Names of batches and reasons take lines, too: fewer runs are drawn until all of them fit.
        let mut hidden = wanted.saturating_sub(room);
        let (drawn, left) = loop {
            let mut kept = all.clone();
            match chosen {
                Some(place) => leave_out_around(&mut kept, hidden, place),
                None => leave_out(&mut kept, hidden),
            }
            let left = wanted - count(&kept);
            let drawn = table(kept).lines(self.colour, columns);
            let over = drawn.len().saturating_sub(room);
            if over == 0 || hidden == wanted {
                break (drawn, left);
            }
            hidden = (hidden + over.div_ceil(2)).min(wanted);
        };
        if wanted > 0 {
            lines.extend(drawn);
        }
        lines.truncate(height.saturating_sub(watched.errors.len() + 1));
        if left > 0 {
            lines.push(fit(&format!("and {left} more"), columns));
        }
        lines
    }

    /// Returns the details of a run: what its files say now, all of the same rows.
    fn one(&mut self, run: &Observed, columns: usize, height: usize) -> Vec<String> {
        let mut run = run.clone();
        let layout = run.run.layout().clone();
        self.fresh.retain(|root, _| root == layout.root());
        let fresh = self.fresh.entry(layout.root().to_owned()).or_insert_with(|| Fresh::of(layout));
        let main = |run: &Observed| {
            shown_metrics(&run.recorded.metrics().figures(), self.columns, 1).into_iter().next()
        };
        // If the metric is known before a long file is read, the file is read once.
        if let Some(name) = main(&run) {
            fresh.trace(&name);
        }
        fresh.look(&run.recorded, run.status().has_ended(), Instant::now() + LOOK, 1);
        put(fresh, &mut run);
        let main = main(&run);
        if let Some(name) = &main {
            fresh.trace(name);
            put(fresh, &mut run);
        }
        let metrics = run.recorded.metrics().figures();
        let meta = run.meta().ok();
        let facts = facts(&run, meta.as_ref(), Extent::Short).lines(self.colour, columns);
        let rows = detail::rows(&run.recorded.recent().rows()).lines(self.colour, columns);
        let figures = detail::figures(&metrics).lines(self.colour, columns);
        let used: usize = [&facts, &rows, &figures].iter().map(|block| block.len() + 1).sum();
        let mut left = height.saturating_sub(used);
        let mut curve = Vec::new();
        if let (Some(name), Some(trace)) = (&main, fresh.figures().and_then(Figures::trace)) {
            let last = figure_of(name, &metrics[name]["last"]);
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
        let room = left.saturating_sub(1).min(LOG_MOST + 1);
        let log = if room > 1 { log(&run, columns, room) } else { Vec::new() };
        let blocks = [facts, curve, rows, figures, log];
        blocks.into_iter().filter(|block| !block.is_empty()).collect::<Vec<_>>().join(&String::new())
    }
}

/// Puts what the files of a run say now into its record. The remaining time of a running one is counted from a step
/// that the record lacks.
fn put(fresh: &Fresh, run: &mut Observed) {
    let step = |run: &Observed| run.recorded.attempt().and_then(|attempt| attempt.step);
    let recorded = step(run);
    fresh.put_into(&mut run.recorded);
    if run.status() == Status::Running
        && step(run) != recorded
        && let Some(attempt) = run.recorded.attempt_mut()
    {
        attempt.last_heartbeat = attempt.last_heartbeat.max(fresh.stepped());
    }
}

/// Returns the name and the last lines of the log that a run wrote to last.
fn log(run: &Observed, columns: usize, height: usize) -> Vec<String> {
    let Some((name, lines)) = detail::last_log(run, height.saturating_sub(1)) else { return Vec::new() };
    let head = fit(&format!("{name}:"), columns);
    std::iter::once(head).chain(lines.iter().map(|line| fit(line, columns))).collect()
}

/// Leaves out this number of rows: those before and after the ones around the chosen one, whose place counts among the
/// shown ones.
fn leave_out_around(rows: &mut [RunRow], count: usize, chosen: usize) {
    let shown = rows.iter().filter(|row| row.is_shown()).count();
    let kept = shown.saturating_sub(count).max(1).min(shown);
    let first = chosen.saturating_sub(kept / 2).min(shown - kept);
    let outside = rows.iter_mut().filter(|row| row.is_shown()).enumerate();
    outside.filter(|(place, _)| !(first..first + kept).contains(place)).for_each(|(_, row)| row.hide());
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
