//! Which rows a later attempt superseded: it went on from a checkpoint and over the same ground
//! again. Used by whoever reads rows of more than one attempt.

use super::row::Row;

/// The first step that each attempt logged, by step key.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Starts {
    /// Attempt, its track, key and step.
    first: Vec<(Place, &'static str, f64)>,
}

/// Whose row it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Number of the attempt, from 0.
    pub attempt: usize,
    /// Number of the series of rows, of which a program may write several at a time.
    pub track: usize,
}

impl Starts {
    /// Takes note of a row; says whether it is the first of its attempt with its key.
    pub fn note(&mut self, place: Place, row: &Row) -> bool {
        row.step().is_some_and(|(key, step)| self.note_step(place, key, step))
    }

    /// Takes note of the step of a row.
    pub fn note_step(&mut self, place: Place, key: &'static str, step: f64) -> bool {
        let is_new = !self.first.iter().any(|(known, name, _)| *known == place && *name == key);
        if is_new {
            self.first.push((place, key, step));
        }
        is_new
    }

    /// Takes over what was noted of later rows.
    pub fn extend(&mut self, later: &Self) {
        for (place, key, step) in &later.first {
            self.note_step(*place, key, *step);
        }
    }

    /// Says whether a later attempt began at or before the row's step.
    pub fn supersede(&self, place: Place, row: &Row) -> bool {
        row.step().is_some_and(|(key, step)| self.supersede_step(place, key, step))
    }

    /// Says whether a later attempt began at or before a step.
    pub fn supersede_step(&self, place: Place, key: &str, step: f64) -> bool {
        self.first.iter().any(|(later, name, start)| {
            later.track == place.track && later.attempt > place.attempt && *name == key && step >= *start
        })
    }
}
