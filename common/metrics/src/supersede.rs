//! Determines which rows were superseded: the training restarted from a checkpoint and repeated some steps, in
//! another attempt or, when a program restarts itself, in the same attempt. Used by all readers of rows with
//! more than one start.
//!
//! The rows of a series restart when an attempt begins, and when the step of rows of one shape goes back. A
//! start supersedes all earlier rows whose step is the same or greater. There are three special cases:
//! - If the step goes back while the epoch advances, steps count within the epoch, and rows are ordered by
//!   both.
//! - A doubtful key such as `steps` that goes back within an attempt is something else, such as the length of
//!   an episode. Then nothing is superseded.
//! - An attempt may check its model before it continues, such as in a validation at step 0. The first row is
//!   such a check if the next row has another shape, and lies far beyond the first row of that shape. A check
//!   does not count as the start.

use super::row::MetricRow;
use super::standing::Standing;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Maximum number of restarts of a series within attempts. With more, as when several processes write rows, the
/// step does not order the rows, and only the starts of attempts supersede rows.
const RESTARTS: usize = 10_000;

/// The first row of an attempt is a check if the next row is more than this many times as far from it as the
/// first row of that shape. Smaller distances may be those of an attempt that restarts from the beginning and
/// logs less often.
const FAR: f64 = 3.0;

/// Maximum number of series, and of shapes in each. Further rows supersede nothing.
const SERIES: usize = 10_000;
const SHAPES: usize = 1000;

/// The origin of a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RowOrigin {
    /// Number of the attempt, from 0.
    pub attempt: usize,
    /// Number of the track: a program may write several series of rows at a time.
    pub track: usize,
    /// Offset of the row in the file of its attempt; 0 if the file is not ordered by steps.
    pub offset: u64,
}

impl RowOrigin {
    fn moment(self) -> Moment {
        (self.attempt, self.offset)
    }
}

/// Attempt and offset of a row: orders rows by time.
type Moment = (usize, u64);

/// The outer counter, or 0, and the step.
type Position = (f64, f64);

/// Where rows restarted, and at which positions.
#[derive(Clone, Debug, Default)]
pub struct FirstSteps {
    series: HashMap<u64, Series>,
}

/// Rows whose steps have one key.
#[derive(Clone, Debug, Default)]
struct Series {
    by_step: Order,
    by_both: Order,
    votes: Votes,
    /// Whether the step does not order the rows.
    is_disordered: bool,
    /// The position of the last row of each shape, and its attempt.
    last: HashMap<u64, (Position, usize)>,
}

/// Evidence for and against steps that restart in each epoch.
#[derive(Clone, Copy, Debug, Default)]
struct Votes {
    /// Within an attempt, the epoch advanced while the step went back.
    anew: bool,
    /// Within an attempt, both advanced.
    on: bool,
    /// From one attempt to another, the epoch advanced while the step went back.
    anew_between: bool,
}

impl Votes {
    fn are_for(self) -> bool {
        self.anew || self.anew_between && !self.on
    }
}

/// The starts of rows, in one way of ordering them.
#[derive(Clone, Debug, Default)]
struct Order {
    /// Starts that may supersede rows, by time. A later one has a greater position: others are dropped.
    begun: Vec<Begun>,
    /// Attempts with rows.
    attempts: Vec<usize>,
    /// The last position of each shape since the last start.
    last: HashMap<u64, Position>,
    /// The first position of each shape.
    first: HashMap<u64, Position>,
    /// The first row of the last attempt, until the next row decides whether it is a check.
    doubted: Option<Doubted>,
    restarts: usize,
}

/// The first row of an attempt, which may be a check of the model before the training continues.
#[derive(Clone, Debug)]
struct Doubted {
    moment: Moment,
    at: Position,
    shape: u64,
    /// The starts before the attempt.
    begun: Vec<Begun>,
}

impl Doubted {
    /// Returns whether it is a check, given the position of the next row and the first row of that row's shape.
    fn is_check(&self, shape: u64, at: Position, first: Option<&Position>) -> bool {
        let Some(&first) = first.filter(|_| shape != self.shape) else { return false };
        let is_same_outer = self.at.0 >= first.0 && first.0 >= at.0;
        let is_far = !is_same_outer || at.1 - self.at.1 > FAR * (first.1 - self.at.1);
        self.at <= first && first < at && is_far
    }
}

#[derive(Clone, Copy, Debug)]
struct Begun {
    moment: Moment,
    at: Position,
    is_restart: bool,
}

impl FirstSteps {
    /// Records a row, after the earlier rows of its attempt. Returns whether this changes which earlier rows
    /// count.
    pub(crate) fn note(&mut self, origin: RowOrigin, row: &MetricRow) -> bool {
        row.standing().is_some_and(|standing| self.note_at(origin, &standing))
    }

    /// Records a row by its position, like `note`.
    pub fn note_at(&mut self, origin: RowOrigin, standing: &Standing) -> bool {
        let has_room = self.series.len() < SERIES;
        let key = series_of(origin, standing);
        if !has_room && !self.series.contains_key(&key) {
            return false;
        }
        self.series.entry(key).or_default().note(origin, standing)
    }

    /// Returns whether any row may be superseded.
    pub fn may_supersede(&self) -> bool {
        let has_several = |order: &Order| order.attempts.len() + order.restarts > 1;
        self.series.values().any(|series| has_several(&series.by_step) || has_several(&series.by_both))
    }

    /// Returns whether a later start superseded a row.
    pub(crate) fn supersede(&self, origin: RowOrigin, row: &MetricRow) -> bool {
        row.standing().is_some_and(|standing| self.supersede_at(origin, &standing))
    }

    /// Returns whether a later start superseded a row at this position.
    pub fn supersede_at(&self, origin: RowOrigin, standing: &Standing) -> bool {
        let Some(series) = self.series.get(&series_of(origin, standing)) else { return false };
        if series.is_disordered {
            false
        } else if series.votes.are_for() {
            series.by_both.supersedes(origin.moment(), by_both(standing))
        } else {
            series.by_step.supersedes(origin.moment(), by_step(standing))
        }
    }
}

fn series_of(origin: RowOrigin, standing: &Standing) -> u64 {
    let mut hasher = DefaultHasher::new();
    (origin.track, standing.key, standing.series).hash(&mut hasher);
    hasher.finish()
}

fn by_step(standing: &Standing) -> Position {
    (0.0, standing.step)
}

fn by_both(standing: &Standing) -> Position {
    (standing.outer.unwrap_or_default(), standing.step)
}

impl Series {
    fn note(&mut self, origin: RowOrigin, standing: &Standing) -> bool {
        let (attempt, shape) = (origin.attempt, standing.shape);
        let was_for = self.votes.are_for();
        if standing.outer.is_some() {
            let position = by_both(standing);
            if let Some((last, of)) = self.last.get(&shape)
                && position.0 > last.0
            {
                match (*of == attempt, position.1 > last.1) {
                    (true, true) => self.votes.on = true,
                    (true, false) => self.votes.anew = true,
                    (false, is_on) => self.votes.anew_between |= !is_on,
                }
            }
            if self.last.len() < SHAPES || self.last.contains_key(&shape) {
                self.last.insert(shape, (position, attempt));
            }
        }
        let is_for = self.votes.are_for();
        let noted_both = self.by_both.note(origin, shape, by_both(standing));
        // If steps count within epochs, each epoch would be a start.
        let noted_step = !self.votes.anew && self.by_step.note(origin, shape, by_step(standing));
        if standing.is_doubtful && self.by_step.restarts > 0 {
            return !std::mem::replace(&mut self.is_disordered, true);
        }
        was_for != is_for || if is_for { noted_both } else { noted_step }
    }
}

impl Order {
    fn note(&mut self, origin: RowOrigin, shape: u64, at: Position) -> bool {
        let is_first = !self.attempts.contains(&origin.attempt);
        let last = self.last.get(&shape);
        let is_restart = !is_first
            && origin.offset > 0
            && self.attempts.last() == Some(&origin.attempt)
            && last.is_some_and(|last| at < *last);
        let is_restart = is_restart && self.restarts <= RESTARTS;
        let doubted = self.doubted.take().filter(|doubted| doubted.moment.0 == origin.attempt);
        if let Some(doubted) = doubted
            && doubted.is_check(shape, at, self.first.get(&shape))
        {
            self.begun = doubted.begun;
            self.last.clear();
            self.last.insert(shape, at);
            self.begin(Begun { moment: doubted.moment, at, is_restart: false });
            return true;
        }
        if self.first.len() < SHAPES {
            self.first.entry(shape).or_insert(at);
        }
        if is_first || is_restart {
            self.last.clear();
        }
        if self.last.len() < SHAPES || self.last.contains_key(&shape) {
            self.last.insert(shape, at);
        }
        if is_first {
            self.attempts.push(origin.attempt);
        } else if is_restart {
            self.restarts += 1;
            if self.restarts > RESTARTS {
                self.begun.retain(|begun| !begun.is_restart);
                return true;
            }
        } else {
            return false;
        }
        if is_first && self.attempts.len() > 1 {
            self.doubted = Some(Doubted { moment: origin.moment(), at, shape, begun: self.begun.clone() });
        }
        self.begin(Begun { moment: origin.moment(), at, is_restart });
        self.attempts.len() + self.restarts > 1
    }

    /// Adds a start, and drops those that it makes redundant.
    fn begin(&mut self, new: Begun) {
        let at = self.begun.partition_point(|begun| begun.moment <= new.moment);
        if self.begun.get(at).is_some_and(|later| later.at <= new.at) {
            return; // the later one supersedes all that this one does
        }
        let kept = self.begun[..at].partition_point(|begun| begun.at < new.at);
        self.begun.splice(kept..at, [new]);
    }

    fn supersedes(&self, moment: Moment, at: Position) -> bool {
        let next = self.begun.partition_point(|begun| begun.moment <= moment);
        self.begun.get(next).is_some_and(|begun| at >= begun.at)
    }
}

#[cfg(test)]
mod tests;
