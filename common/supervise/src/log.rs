//! A log that is appended to. Failed writes are reported, at most once per interval. Lost output is kept as far
//! as it may contain a program's last words.

use run_common::error::plain;
use run_common::message::warn;
use std::fs::File;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Minimum interval between two messages about a failing log.
const AGAIN: Duration = Duration::from_secs(60);

/// Number of bytes at the end of a log to search for a program's last words.
pub(super) const TAIL: usize = 256 << 10;

/// An open log.
#[derive(Debug)]
pub(super) struct Log {
    file: File,
    name: &'static str,
    /// Time of the last message about a failure.
    said: Option<Instant>,
    /// Whether a write failed because the disk or the user's quota was full.
    was_full: bool,
    unlogged: Unlogged,
    muted: Muted,
}

/// Whether writing to a log has ended; another thread may set this.
pub(super) type Muted = Arc<AtomicBool>;

/// The output since the first byte that a log lacks, shared because another thread may append to it.
pub(super) type Unlogged = Arc<Mutex<Option<Kept>>>;

/// The end of the output since a log first failed, including later bytes that were written.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    /// Length of the log when it failed.
    pub(super) from: u64,
    /// The last bytes of the output.
    pub(super) bytes: Vec<u8>,
    /// Whether there were more bytes before them.
    pub(super) is_cut: bool,
}

impl Kept {
    fn add(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
        if self.bytes.len() > 2 * TAIL {
            self.bytes.drain(..self.bytes.len() - TAIL);
            self.is_cut = true;
        }
    }
}

/// Returns a copy of the kept output.
pub(super) fn kept(unlogged: &Unlogged) -> Option<Kept> {
    unlogged.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

impl Log {
    /// Creates a log from a file that is open for appending; `name` is its name in messages.
    pub(super) fn new(file: File, name: &'static str) -> Self {
        Self {
            file,
            name,
            said: None,
            was_full: false,
            unlogged: Unlogged::default(),
            muted: Muted::default(),
        }
    }

    /// Returns the flag that ends writing when it is set.
    pub(super) fn muted(&self) -> Muted {
        Arc::clone(&self.muted)
    }

    /// Returns whether writing has ended.
    pub(super) fn is_muted(&self) -> bool {
        self.muted.load(Ordering::Relaxed)
    }

    /// Returns the output that the log lacks.
    pub(super) fn unlogged(&self) -> Unlogged {
        Arc::clone(&self.unlogged)
    }

    /// Keeps bytes if the log lacks output, or lacks these bytes (`are_lost`).
    fn keep(&self, bytes: &[u8], are_lost: bool) {
        let mut unlogged = self.unlogged.lock().unwrap_or_else(PoisonError::into_inner);
        if unlogged.is_none() && are_lost {
            let from = self.file.metadata().map_or(0, |file| file.len());
            *unlogged = Some(Kept { from, bytes: Vec::new(), is_cut: false });
        }
        if let Some(kept) = &mut *unlogged {
            kept.add(bytes);
        }
    }

    /// Returns whether a write ever failed because the disk was full.
    pub(super) fn was_full(&self) -> bool {
        self.was_full
    }

    /// Appends bytes; returns the number of bytes that could not be written.
    pub(super) fn append(&mut self, mut bytes: &[u8]) -> usize {
        if self.is_muted() {
            return 0;
        }
        while !bytes.is_empty() {
            match self.file.write(bytes) {
                Ok(count) => {
                    self.keep(&bytes[..count], false);
                    bytes = &bytes[count..];
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.keep(bytes, true);
                    self.was_full |=
                        matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
                    if self.said.is_none_or(|said| said.elapsed() >= AGAIN) {
                        self.said = Some(Instant::now());
                        let why = plain(&error);
                        warn(&format!(
                            "cannot write {}: {why}; the command continues, but output is LOST",
                            self.name
                        ));
                    }
                    return bytes.len();
                }
            }
        }
        0
    }
}
