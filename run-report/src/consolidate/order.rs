//! A first look at a piece of a file, which determines the order of its rows, so that most lines are only
//! counted.

use super::reader::Known;
use run_metrics::row::MetricRow;
use run_metrics::turns::{Noted, Turns};
use run_metrics::value::{Digits, Span};

/// A first look at the rows of a piece.
pub(super) struct Skim {
    /// A row with a smaller step does not continue the order.
    least: Digits,
    /// Whether lines like the one before may be only counted.
    may_skip: bool,
    /// Number of rows that were only counted.
    pub(super) skipped: u64,
    /// Start of the last of these rows, until it is recorded.
    last_skipped: Option<u64>,
    order: Order,
}

/// How much of the order must be known.
enum Order {
    /// Whether the rows plainly come one after another.
    Ascent(Ascent),
    /// The rows that supersede others.
    Turns(Turns),
}

/// The result.
pub(super) enum Found {
    Ascent(Ascent),
    Turns(Noted),
}

impl Skim {
    /// Starts a piece of a file that one attempt wrote, usually in order.
    pub(super) fn for_ascent() -> Self {
        Self::of(Order::Ascent(Ascent::default()))
    }

    /// Starts a piece of a file in which rows may supersede others.
    pub(super) fn for_turns() -> Self {
        Self::of(Order::Turns(Turns::default()))
    }

    fn of(order: Order) -> Self {
        Self { least: Digits::default(), may_skip: false, skipped: 0, last_skipped: None, order }
    }

    /// Only counts the line at `at`, if it has the keys of the line before and continues its order; returns
    /// the start of the next line. `offset` is the position of this line in the file.
    #[inline]
    pub(super) fn skip(
        &mut self,
        known: &Known,
        buffer: &[u8],
        at: usize,
        end: usize,
        offset: u64,
    ) -> Option<usize> {
        if !self.may_skip || !known.is_noted {
            return None;
        }
        let mut least = self.least;
        let after = known.template.skip(buffer, at, &mut least).filter(|&after| after <= end)?;
        self.least = least;
        self.skipped += 1;
        self.last_skipped = Some(offset);
        Some(after)
    }

    /// Adds a line.
    pub(super) fn note_line(&mut self, offset: u64, known: &Known, spans: &[Span], buffer: &[u8]) {
        self.end_skipping();
        match &mut self.order {
            Order::Ascent(ascent) => {
                if let Some(at) = known.step(spans, true) {
                    let step = Digits::at(buffer, spans[at].start);
                    ascent.note(&known.template.keys[at], step, &mut self.least);
                    self.may_skip = true;
                }
            }
            Order::Turns(turns) => {
                let standing = known.standing(spans, buffer);
                let step = known.template.only_step().and_then(|at| Digits::at(buffer, spans[at].start));
                if let Some(standing) = standing {
                    turns.note(offset, standing);
                }
                self.may_skip = standing.is_some() && step.is_some() && turns.may_go_on();
                self.least = step.unwrap_or_default();
            }
        }
    }

    /// Adds a row that was parsed in full.
    pub(super) fn note_row(&mut self, offset: u64, row: &MetricRow) {
        self.end_skipping();
        match &mut self.order {
            Order::Ascent(ascent) => {
                if let Some((key, step)) = row.step() {
                    ascent.note(key, Digits::of(step), &mut self.least);
                }
                ascent.is_broken |= row.has_part_of_epoch();
            }
            Order::Turns(turns) => {
                if let Some(standing) = row.standing() {
                    turns.note(offset, standing);
                }
                self.may_skip = false;
            }
        }
    }

    fn end_skipping(&mut self) {
        if let (Some(offset), Order::Turns(turns)) = (self.last_skipped.take(), &mut self.order) {
            turns.go_on(offset, self.least.number());
        }
    }

    /// Returns the result.
    pub(super) fn finish(mut self) -> Found {
        self.end_skipping();
        match self.order {
            Order::Ascent(ascent) => Found::Ascent(Ascent { last: self.least, ..ascent }),
            Order::Turns(turns) => Found::Turns(turns.finish()),
        }
    }
}

/// Tracks whether successive rows are plainly in the order of their steps: all have the same step key, and
/// whole numbers that never decrease.
#[derive(Default)]
pub(super) struct Ascent {
    /// The key.
    key: Option<String>,
    first: Digits,
    last: Digits,
    /// The rows are not plainly in order.
    pub(super) is_broken: bool,
}

impl Ascent {
    /// Adds a row with a step, which becomes the last one.
    fn note(&mut self, key: &str, step: Option<Digits>, last: &mut Digits) {
        let Some(step) = step.filter(|step| *step >= *last) else {
            self.is_broken = true;
            return;
        };
        *last = step;
        match &self.key {
            Some(known) => self.is_broken |= known != key,
            None => (self.key, self.first) = (Some(key.to_owned()), step),
        }
    }

    /// Adds the result for the following rows.
    pub(super) fn extend(&mut self, later: Self) {
        self.is_broken |= later.is_broken;
        if let Some(key) = later.key {
            self.is_broken |= later.first < self.last || self.key.as_ref().is_some_and(|known| *known != key);
            (self.key, self.last) = (Some(key), later.last);
        }
    }
}
