//! Which rows a later attempt superseded: it went on from a checkpoint and over the same ground
//! again. Used by whoever reads rows of more than one attempt.

use super::row::MetricRow;

/// The first step that each attempt logged, by step key.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FirstSteps {
    /// Attempt, its track, key and step.
    first: Vec<(RowOrigin, &'static str, f64)>,
}

/// Whose row it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RowOrigin {
    /// Number of the attempt, from 0.
    pub attempt: usize,
    /// Number of the series of rows, of which a program may write several at a time.
    pub track: usize,
}

impl FirstSteps {
    /// Takes note of a row; says whether it is the first of its attempt with its key.
    pub(crate) fn note(&mut self, origin: RowOrigin, row: &MetricRow) -> bool {
        row.step().is_some_and(|(key, step)| self.note_step(origin, key, step))
    }

    /// Takes note of the step of a row.
    pub fn note_step(&mut self, origin: RowOrigin, key: &'static str, step: f64) -> bool {
        let is_new = !self.first.iter().any(|(known, name, _)| *known == origin && *name == key);
        if is_new {
            self.first.push((origin, key, step));
        }
        is_new
    }

    /// Takes over what was noted of later rows.
    pub fn extend(&mut self, later: &Self) {
        for (origin, key, step) in &later.first {
            self.note_step(*origin, key, *step);
        }
    }

    /// Says whether a later attempt began at or before the row's step.
    pub(crate) fn supersede(&self, origin: RowOrigin, row: &MetricRow) -> bool {
        row.step().is_some_and(|(key, step)| self.supersede_step(origin, key, step))
    }

    /// Says whether a later attempt began at or before a step.
    pub fn supersede_step(&self, origin: RowOrigin, key: &str, step: f64) -> bool {
        self.first.iter().any(|(later, name, start)| {
            later.track == origin.track && later.attempt > origin.attempt && *name == key && step >= *start
        })
    }
}
