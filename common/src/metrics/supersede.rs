//! Which rows a later attempt superseded: it went on from a checkpoint and over the same ground
//! again. Used by whoever reads rows of more than one attempt.

use super::row::Row;

/// The first step that each attempt logged, by step key.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Starts {
    /// Attempt, its track, key and step.
    first: Vec<(Place, &'static str, f64)>,
}

/// Whose row it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// Number of the attempt, from 0.
    pub(super) attempt: usize,
    /// Number of the series of rows, of which a program may write several at a time.
    pub(super) track: usize,
}

impl Starts {
    /// Takes note of a row; says whether it is the first of its attempt with its key.
    pub(super) fn note(&mut self, place: Place, row: &Row) -> bool {
        let Some((key, step)) = row.step() else { return false };
        let is_new = !self.first.iter().any(|(known, name, _)| *known == place && *name == key);
        if is_new {
            self.first.push((place, key, step));
        }
        is_new
    }

    /// Says whether a later attempt began at or before the row's step.
    pub(super) fn supersede(&self, place: Place, row: &Row) -> bool {
        let Some((key, step)) = row.step() else { return false };
        self.first.iter().any(|(later, name, start)| {
            later.track == place.track && later.attempt > place.attempt && *name == key && step >= *start
        })
    }
}
