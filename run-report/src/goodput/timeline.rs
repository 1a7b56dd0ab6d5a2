//! What a run did when: spans of time without gaps, from the facts that the records tell.

use std::ops::Range;

/// A time in milliseconds since 1970.
pub(crate) type Millis = i64;

/// What a run did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// A launcher had the run, and no attempt had started.
    Queued,
    /// From the start of an attempt to its first metric row.
    Starting,
    /// Training whose rows count.
    Training,
    /// Writing a checkpoint.
    Saving,
    /// Before a row that has only metrics of validation data.
    Evaluating,
    /// No sign of life for long.
    Stalled,
    /// Training that a later start repeated: its rows are superseded.
    Lost,
    /// Between attempts.
    Idle,
}

impl Kind {
    /// All kinds.
    pub(crate) const ALL: [Self; 8] = [
        Self::Queued,
        Self::Starting,
        Self::Training,
        Self::Saving,
        Self::Evaluating,
        Self::Stalled,
        Self::Lost,
        Self::Idle,
    ];

    /// Returns its name in reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Starting => "starting",
            Self::Training => "training",
            Self::Saving => "saving",
            Self::Evaluating => "evaluating",
            Self::Stalled => "stalled",
            Self::Lost => "lost",
            Self::Idle => "idle",
        }
    }
}

/// A part of a run's time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    /// From when until when, in milliseconds since 1970.
    pub(crate) time: Range<Millis>,
    pub(crate) kind: Kind,
    /// The attempt that it is part of, as its place among the attempts; none before and between them.
    pub(crate) attempt: Option<usize>,
}

/// A metric row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// Whether no later row supersedes it.
    pub(crate) counts: bool,
    /// Whether all its metrics are of validation data.
    pub(crate) is_validation: bool,
}

/// How far an attempt was at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Progress {
    pub(super) time: Millis,
    /// Number of rows of this attempt so far, if known.
    pub(super) rows: Option<usize>,
    /// The last sign of life, if there was one.
    pub(super) last_output: Option<Millis>,
}

/// What the records tell of an attempt.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    pub(super) time: Range<Millis>,
    /// When a launcher was given the run for this attempt, if known.
    pub(super) queued: Option<Millis>,
    /// Its rows, in the order in which they were written.
    pub(super) rows: Vec<Row>,
    /// The samples, in the order of time.
    pub(super) progress: Vec<Progress>,
    /// When checkpoints were written.
    pub(super) saves: Vec<Range<Millis>>,
    /// Silence from this length on is a stall, in milliseconds.
    pub(super) stall: Millis,
    /// The attempt was ended because it had stalled.
    pub(super) has_stalled: bool,
}

/// Returns the spans of a run, in the order of time and without gaps. They begin when the first attempt was
/// submitted or started, and end with the last attempt or, for a run that waits in a queue, with `waiting`.
/// Attempts that overlap are cut, as after a change of the clock.
pub(super) fn timeline(attempts: &[Facts], waiting: Option<Range<Millis>>) -> Vec<Span> {
    let has_rows = attempts.iter().any(|attempt| !attempt.rows.is_empty());
    let validates_only = attempts.iter().flat_map(|attempt| &attempt.rows).all(|row| row.is_validation);
    let mut spans = Spans::default();
    for (number, attempt) in attempts.iter().enumerate() {
        let start = attempt.time.start;
        if let Some(queued) = attempt.queued.filter(|&queued| queued <= start) {
            spans.until(queued, Kind::Idle, None);
            spans.until(start, Kind::Queued, None);
        }
        spans.until(start, Kind::Idle, None);
        let mut parts = base(attempt, has_rows, validates_only);
        parts = painted(&parts, &attempt.saves, Kind::Saving, |kind| kind == Kind::Training);
        parts = painted(&parts, &silences(attempt), Kind::Stalled, |kind| kind != Kind::Lost);
        for (end, kind) in parts {
            spans.until(end, kind, Some(number));
        }
    }
    if let Some(waiting) = waiting {
        spans.until(waiting.start, Kind::Idle, None);
        spans.until(waiting.end, Kind::Queued, None);
    }
    spans.all
}

/// Spans that are built one after another.
#[derive(Default)]
struct Spans {
    all: Vec<Span>,
    end: Option<Millis>,
}

impl Spans {
    /// Adds a span up to a time. The first call with a time begins the first span.
    fn until(&mut self, time: Millis, kind: Kind, attempt: Option<usize>) {
        let start = *self.end.get_or_insert(time);
        if time <= start {
            return;
        }
        self.end = Some(time);
        match self.all.last_mut() {
            Some(last) if (last.kind, last.attempt) == (kind, attempt) => last.time.end = time,
            _ => self.all.push(Span { time: start..time, kind, attempt }),
        }
    }
}

/// The parts of an attempt: the end of each, and its kind. The first begins with the attempt.
type Parts = Vec<(Millis, Kind)>;

/// Returns the parts of an attempt by its rows: the time before a row led to it.
fn base(attempt: &Facts, has_rows: bool, validates_only: bool) -> Parts {
    let mut parts = Parts::new();
    let mut add = |end: Millis, kind: Kind| match parts.last_mut() {
        Some((last, known)) if *known == kind => *last = end.max(*last),
        Some((last, _)) if *last >= end => {}
        _ => parts.push((end, kind)),
    };
    let kind_of = |row: &Row| match row {
        Row { counts: false, .. } => Kind::Lost,
        Row { is_validation: true, .. } if !validates_only => Kind::Evaluating,
        _ => Kind::Training,
    };
    for (number, (row, time)) in attempt.rows.iter().zip(times(attempt)).enumerate() {
        add(time, if number == 0 { Kind::Starting } else { kind_of(row) });
    }
    let after = match attempt.rows.last() {
        None if has_rows => Kind::Starting,
        Some(Row { counts: false, .. }) => Kind::Lost,
        _ => Kind::Training,
    };
    add(attempt.time.end, after);
    parts
}

/// Returns when the rows of an attempt were written.
fn times(attempt: &Facts) -> impl Iterator<Item = Millis> {
    let known = known_times(attempt);
    let mut piece = 0;
    (0..attempt.rows.len()).map(move |row| {
        while known[piece + 1].1 <= row {
            piece += 1;
        }
        between(known[piece], known[piece + 1], row + 1)
    })
}

/// Returns how many rows an attempt had written at some times: at its start, at samples, and at its end. Of samples
/// with the same number, the first and the last are kept: a pause lies between two rows, not before the first of them.
fn known_times(attempt: &Facts) -> Vec<(Millis, usize)> {
    let Range { start, end } = attempt.time;
    let count = attempt.rows.len();
    let mut known: Vec<(Millis, usize)> = vec![(start, 0)];
    for progress in &attempt.progress {
        let Some(rows) = progress.rows else { continue };
        let (time, rows) = (progress.time.clamp(start, end.max(start)), rows.min(count));
        match known.as_mut_slice() {
            [.., (_, before), (last, same)] if rows <= *same && before == same => *last = time.max(*last),
            [.., (last, same)] if rows <= *same => {
                let pause = (time.max(*last), *same);
                known.push(pause);
            }
            [.., (last, _)] if time >= *last => known.push((time, rows)),
            _ => {}
        }
    }
    known.push((end.max(known.last().map_or(start, |last| last.0)), count));
    known
}

/// Returns when there was this number of rows, between two times at which their number is known: at even distances.
fn between((from, before): (Millis, usize), (to, after): (Millis, usize), rows: usize) -> Millis {
    let Some(parts) = after.checked_sub(before).filter(|&parts| parts > 0) else { return from };
    let share = i128::from(to - from) * (rows.saturating_sub(before) as i128) / (parts as i128);
    from + Millis::try_from(share).unwrap_or_default()
}

/// Tells when the rows of a run were written, as far as samples tell.
#[derive(Clone, Debug, Default)]
pub(crate) struct Clock {
    /// For each attempt, the number of rows before it, and how many rows it had written when.
    attempts: Vec<(usize, Vec<(Millis, usize)>)>,
}

impl Clock {
    pub(super) fn of(attempts: &[Facts]) -> Self {
        let mut before = 0;
        let attempts = attempts.iter().map(|attempt| {
            let known = (before, known_times(attempt));
            before += attempt.rows.len();
            known
        });
        Self { attempts: attempts.collect() }
    }

    /// Returns when the row of a number (from 1, of all attempts) was written, in seconds since 1970.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "numbers of rows are far below 2^53"
    )]
    pub(crate) fn time_of(&self, row: f64) -> Option<f64> {
        let row = row.max(0.0) as usize;
        let place = self.attempts.partition_point(|(before, _)| *before < row).checked_sub(1)?;
        let (before, known) = &self.attempts[place];
        let row = row - before;
        let piece = known.partition_point(|(_, rows)| *rows < row).clamp(1, known.len() - 1);
        Some(between(known[piece - 1], known[piece], row.min(known[piece].1)) as f64 / 1000.0)
    }
}

/// Returns when an attempt gave no sign of life for as long as a stall takes.
fn silences(attempt: &Facts) -> Vec<Range<Millis>> {
    let Range { start, end } = attempt.time;
    let mut since = start;
    let mut silences = Vec::new();
    for progress in &attempt.progress {
        let Some(last) = progress.last_output.filter(|last| (since..=end).contains(last)) else { continue };
        if last - since >= attempt.stall {
            silences.push(since..last);
        }
        since = last;
    }
    if end - since >= attempt.stall || attempt.has_stalled && since < end {
        silences.push(since..end);
    }
    silences
}

/// Paints times over the parts of an attempt whose kind may be painted over.
fn painted(parts: &Parts, times: &[Range<Millis>], kind: Kind, over: impl Fn(Kind) -> bool) -> Parts {
    let mut times: Vec<&Range<Millis>> = times.iter().filter(|time| time.start < time.end).collect();
    times.sort_by_key(|time| time.start);
    let mut times = times.into_iter().peekable();
    let mut painted = Parts::new();
    let mut from = Millis::MIN;
    for &(end, base) in parts {
        while from < end {
            while times.next_if(|time| time.end <= from).is_some() {}
            let (to, kind) = match times.peek() {
                Some(time) if time.start <= from => (time.end.min(end), kind),
                Some(time) => (time.start.min(end), base),
                None => (end, base),
            };
            painted.push((to, if over(base) { kind } else { base }));
            from = to;
        }
    }
    painted
}

#[cfg(test)]
#[path = "timeline_tests.rs"]
mod tests;
