//! How many bytes of files are in memory at once, and whether there is any use in going on.

use crate::local::hash::PART;
use run_common::error::Error;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// The most bytes of files in memory.
const BYTES: u64 = 8 * PART;
/// From this length on, memory has the size of a part and is used again: memory of many sizes, given back by many
/// threads, would not become free.
const LARGE: u64 = 1 << 20;
/// Memory that is kept for what is read next.
const SPARE: usize = 8;

/// Bytes of files in memory, and the first failure.
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

/// Bytes that are used until this is dropped.
#[derive(Debug)]
pub(crate) struct Permit<'a> {
    budget: &'a Budget,
    bytes: u64,
}

impl Budget {
    /// Waits until there is room for this number of bytes; one file, or part, has room whatever its size.
    /// None after a failure.
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

    /// Returns memory of this length at least, for the holder of a permit.
    pub(crate) fn memory(&self, length: u64) -> Vec<u8> {
        let spare = if (LARGE..=PART).contains(&length) { self.state().spare.pop() } else { None };
        let size = if (LARGE..=PART).contains(&length) { PART } else { length };
        spare.unwrap_or_else(|| vec![0; usize::try_from(size).unwrap_or(0)])
    }

    /// Takes memory back.
    pub(crate) fn give_back(&self, memory: Vec<u8>) {
        let mut state = self.state();
        if memory.len() as u64 == PART && state.spare.len() < SPARE {
            state.spare.push(memory);
        }
    }

    /// Ends all; the first failure is the reported one.
    pub(crate) fn fail(&self, error: Error) {
        let mut state = self.state();
        if !state.has_failed {
            state.has_failed = true;
            state.failure = Some(error);
        }
        self.changed.notify_all();
    }

    /// Returns whether something has failed.
    pub(crate) fn has_failed(&self) -> bool {
        self.state().has_failed
    }

    /// Returns what has failed.
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
