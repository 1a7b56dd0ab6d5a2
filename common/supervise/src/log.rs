//! A log that is appended to, and may fail, which is reported now and then. The lost output is kept as far as
//! it may contain a program's last words.

use run_common::error::plain;
use run_common::message::warn;
use std::fs::File;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often a failing log is spoken of.
const AGAIN: Duration = Duration::from_secs(60);

/// Bytes of a log's end in which a program's last words are looked for.
pub(super) const TAIL: usize = 256 << 10;

/// An open log.
#[derive(Debug)]
pub(super) struct Log {
    file: File,
    name: &'static str,
    /// When its failing was last said.
    said: Option<Instant>,
    /// It failed because the disk, or the user's share of it, was full.
    was_full: bool,
    unlogged: Unlogged,
    muted: Muted,
}

/// Whether nothing more is to be written to a log, which another thread may say.
pub(super) type Muted = Arc<AtomicBool>;

/// What is kept of the output from the first byte on that a log lacks, while another thread may add to it.
pub(super) type Unlogged = Arc<Mutex<Option<Kept>>>;

/// The end of the output since a log has failed, whether that was written then or not.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    /// Length of the log when it failed.
    pub(super) from: u64,
    /// The output's last bytes.
    pub(super) bytes: Vec<u8>,
    /// There was more before them.
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

/// Returns what was kept so far.
pub(super) fn kept(unlogged: &Unlogged) -> Option<Kept> {
    unlogged.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

impl Log {
    /// Takes a file that was opened for appending, and its name for messages.
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

    /// Returns what to set when nothing more is to be written.
    pub(super) fn muted(&self) -> Muted {
        Arc::clone(&self.muted)
    }

    /// Says whether nothing more is written.
    pub(super) fn is_muted(&self) -> bool {
        self.muted.load(Ordering::Relaxed)
    }

    /// Returns where the output is kept that the log lacks.
    pub(super) fn unlogged(&self) -> Unlogged {
        Arc::clone(&self.unlogged)
    }

    /// Keeps bytes that follow what the log lacks, or are the first of that.
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

    /// Says whether it ever failed because the disk was full.
    pub(super) fn was_full(&self) -> bool {
        self.was_full
    }

    /// Appends bytes; returns how many could not be.
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
