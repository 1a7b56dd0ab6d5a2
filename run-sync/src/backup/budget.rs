//! How many bytes of files are in memory at once, and whether there is any use in going on.

use run_common::error::Error;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// The most bytes of files in memory.
const BYTES: u64 = 128 << 20;

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
}

/// Bytes that are used until this is dropped.
#[derive(Debug)]
pub(crate) struct Permit<'a> {
    budget: &'a Budget,
    bytes: u64,
}

impl Budget {
    /// Waits until there is room for so many bytes; one file, or part, has room whatever its size. None after a
    /// failure.
    pub(crate) fn take(&self, bytes: u64) -> Option<Permit<'_>> {
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

    /// Ends all; the first failure is the one that is told.
    pub(crate) fn fail(&self, error: Error) {
        let mut state = self.state();
        if !state.has_failed {
            state.has_failed = true;
            state.failure = Some(error);
        }
        self.changed.notify_all();
    }

    /// Says whether something has failed.
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
