//! A log that is appended to, and may fail, which is said now and then.

use run_common::error::plain;
use run_common::message::warn;
use std::fs::File;
use std::io::{self, Write};
use std::time::{Duration, Instant};

/// How often a failing log is spoken of.
const AGAIN: Duration = Duration::from_secs(60);

/// An open log.
#[derive(Debug)]
pub(super) struct Log {
    file: File,
    name: &'static str,
    /// When its failing was last said.
    said: Option<Instant>,
    /// It failed because the disk, or the user's share of it, was full.
    was_full: bool,
}

impl Log {
    /// Takes a file that was opened for appending, and its name for messages.
    pub(super) fn new(file: File, name: &'static str) -> Self {
        Self { file, name, said: None, was_full: false }
    }

    /// Says whether it ever failed because the disk was full.
    pub(super) fn was_full(&self) -> bool {
        self.was_full
    }

    /// Appends bytes; returns how many could not be.
    pub(super) fn append(&mut self, mut bytes: &[u8]) -> usize {
        while !bytes.is_empty() {
            match self.file.write(bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.was_full |=
                        matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
                    if self.said.is_none_or(|said| said.elapsed() >= AGAIN) {
                        self.said = Some(Instant::now());
                        let why = plain(&error);
                        warn(&format!(
                            "cannot write {}: {why}; the command goes on, its output is LOST",
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
