//! Limits the bytes of files in memory, and tells all threads when a failure makes more work useless.

use crate::local::hash::PART;
use run_common::error::Error;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// The most bytes of files in memory.
const BYTES: u64 = 8 * PART;
/// From this length on, buffers have the size of a part and are reused: buffers of many sizes, freed by many
/// threads, would fragment the memory.
const LARGE: u64 = 1 << 20;
/// Buffers that are kept for later reads.
const SPARE: usize = 8;

/// The bytes of files in memory, and the first failure.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    used: u64,
    has_failed: bool,
    failure: Option<Error>,
    spare: Vec<Vec<u8>>,
}

/// Bytes in use until the permit is dropped.
#[derive(Debug)]
pub(crate) struct Permit<'a> {
    budget: &'a Budget,
    bytes: u64,
}

impl Budget {
    /// Waits until there is room for this number of bytes; a single file or part has room whatever its size.
    /// Returns none after a failure.
    pub(crate) fn take(&self, bytes: u64) -> Option<Permit<'_>> {
        let bytes = if bytes < LARGE { bytes } else { bytes.max(PART) };
        let mut state = self.state();
        while !state.has_failed && state.used > 0 && state.used.saturating_add(bytes) > BYTES {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.has_failed {
            return None;
        }
        state.used = state.used.saturating_add(bytes);
        Some(Permit { budget: self, bytes })
    }

    /// Returns a buffer of at least this length, for the holder of a permit.
    pub(crate) fn memory(&self, length: u64) -> Vec<u8> {
        let spare = if (LARGE..=PART).contains(&length) { self.state().spare.pop() } else { None };
        let size = if (LARGE..=PART).contains(&length) { PART } else { length };
        spare.unwrap_or_else(|| vec![0; usize::try_from(size).unwrap_or(0)])
    }

    /// Takes a buffer back.
    pub(crate) fn give_back(&self, memory: Vec<u8>) {
        let mut state = self.state();
        if memory.len() as u64 == PART && state.spare.len() < SPARE {
            state.spare.push(memory);
        }
    }

    /// Ends all work; the first failure is the one to report.
    pub(crate) fn fail(&self, error: Error) {
        let mut state = self.state();
        if !state.has_failed {
            state.has_failed = true;
            state.failure = Some(error);
        }
        self.changed.notify_all();
    }

    /// Returns whether any work has failed.
    pub(crate) fn has_failed(&self) -> bool {
        self.state().has_failed
    }

    /// Returns the first failure.
    pub(crate) fn failure(&self) -> Option<Error> {
        self.state().failure.take()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        let mut state = self.budget.state();
        state.used = state.used.saturating_sub(self.bytes);
        self.budget.changed.notify_all();
    }
}
