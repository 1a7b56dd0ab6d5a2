//! Which rows were superseded: the training went on from a checkpoint and over the same ground again, in
//! another attempt, or in the same one where something within it starts the program anew. Used by every
//! reader that reads rows of more than one start.
//!
//! Rows of a series restart where an attempt begins, and where the step of rows of one shape goes back. What
//! begins at a step supersedes the rows before it whose step is at or after that. A step that goes back while
//! an epoch goes on counts within that epoch, and rows are ordered by both. A key such as `steps` that goes
//! back within an attempt is the length of an episode, say, and no order at all. An attempt may check its
//! model before it goes on: a first row at a small step, as of a validation at step 0, begins nothing where
//! the first row of another shape is far beyond where such rows began.

use super::row::MetricRow;
use super::standing::Standing;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

/// How often rows of a series may restart within attempts. Beyond this, the step does not order the rows, as
/// where several processes write them, and what does not begin an attempt supersedes nothing.
const RESTARTS: usize = 10_000;

/// How many times as far as at first the rows of a shape must be from the first row of an attempt for that row to
/// be a check: an attempt that begins at the beginning again may log less often.
const FAR: f64 = 3.0;

/// Maximum number of series, and shapes of the rows in each. Rows of others supersede nothing.
const SERIES: usize = 10_000;
const SHAPES: usize = 1000;

/// Whose row it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RowOrigin {
    /// Number of the attempt, from 0.
    pub attempt: usize,
    /// Number of the series of rows, of which a program may write several at a time.
    pub track: usize,
    /// Where the row begins in the file of its attempt; 0 where rows do not come in the order of their steps.
    pub offset: u64,
}

impl RowOrigin {
    fn moment(self) -> Moment {
        (self.attempt, self.offset)
    }
}

/// The attempt of a row and its offset, by which rows are ordered in time.
type Moment = (usize, u64);

/// The counter within which steps count, or 0, and the step.
type Position = (f64, f64);

/// Where rows restarted, and with which values.
#[derive(Clone, Debug, Default)]
pub struct FirstSteps {
    series: HashMap<u64, Series>,
}

/// Rows with steps of one key.
#[derive(Clone, Debug, Default)]
struct Series {
    by_step: Order,
    by_both: Order,
    votes: Votes,
    /// The step is no order of the rows.
    is_disordered: bool,
    /// The last row of each shape, and its attempt.
    last: HashMap<u64, (Position, usize)>,
}

/// What speaks for a step that restarts in each epoch, and what against.
#[derive(Clone, Copy, Debug, Default)]
struct Votes {
    /// Within an attempt the epoch went on while the step went back.
    anew: bool,
    /// Within an attempt both went on.
    on: bool,
    /// From one attempt to another the epoch went on while the step went back.
    anew_between: bool,
}

impl Votes {
    fn are_for(self) -> bool {
        self.anew || self.anew_between && !self.on
    }
}

/// Where rows restarted, as far as one order of them shows.
#[derive(Clone, Debug, Default)]
struct Order {
    /// What began there. Only what may supersede rows is kept: the later one began at the greater position.
    begun: Vec<Begun>,
    /// Attempts that have rows.
    attempts: Vec<usize>,
    /// The last row of each shape since rows restarted.
    last: HashMap<u64, Position>,
    /// The first row of each shape.
    first: HashMap<u64, Position>,
    /// The first row of the last attempt, until a second one tells whether that is a check.
    doubted: Option<Doubted>,
    restarts: usize,
}

/// The first row of an attempt, which may be a check of the model before the training goes on.
#[derive(Clone, Debug)]
struct Doubted {
    moment: Moment,
    at: Position,
    shape: u64,
    /// What began before the attempt.
    begun: Vec<Begun>,
}

impl Doubted {
    /// Returns whether it is a check, by the first row after it, and where rows of that shape began.
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
    /// Records a row, which comes after those of its attempt that were noted; returns whether rows before it may
    /// count no longer, or count again.
    pub(crate) fn note(&mut self, origin: RowOrigin, row: &MetricRow) -> bool {
        row.standing().is_some_and(|standing| self.note_at(origin, &standing))
    }

    /// Records the position of a row, likewise.
    pub fn note_at(&mut self, origin: RowOrigin, standing: &Standing) -> bool {
        let has_room = self.series.len() < SERIES;
        let key = series_of(origin, standing);
        if !has_room && !self.series.contains_key(&key) {
            return false;
        }
        self.series.entry(key).or_default().note(origin, standing)
    }

    /// Returns whether there may be rows that later ones supersede.
    pub fn may_supersede(&self) -> bool {
        let has_several = |order: &Order| order.attempts.len() + order.restarts > 1;
        self.series.values().any(|series| has_several(&series.by_step) || has_several(&series.by_both))
    }

    /// Returns whether a later row began at or before a row.
    pub(crate) fn supersede(&self, origin: RowOrigin, row: &MetricRow) -> bool {
        row.standing().is_some_and(|standing| self.supersede_at(origin, &standing))
    }

    /// Returns whether a later row began at or before where a row stands.
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
        // Of a step that counts within epochs each epoch would be noted.
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

    /// Adds what began somewhere, and drops what it makes needless.
    fn begin(&mut self, new: Begun) {
        let at = self.begun.partition_point(|begun| begun.moment <= new.moment);
        if self.begun.get(at).is_some_and(|later| later.at <= new.at) {
            return; // that supersedes all of it
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
