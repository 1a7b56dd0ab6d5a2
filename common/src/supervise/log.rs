//! A log that is appended to, and may fail: that is said once, and once more when it works again.

use crate::error::plain;
use crate::message::warn;
use std::fs::File;
use std::io::{self, Write};

/// An open log.
#[derive(Debug)]
pub(super) struct Log {
    file: File,
    name: &'static str,
    failing: bool,
    /// It failed because the disk, or the user's share of it, was full.
    was_full: bool,
}

impl Log {
    /// Takes a file that was opened for appending, and its name for messages.
    pub(super) fn new(file: File, name: &'static str) -> Self {
        Self { file, name, failing: false, was_full: false }
    }

    /// Says whether it ever failed because the disk was full.
    pub(super) fn was_full(&self) -> bool {
        self.was_full
    }

    /// Appends bytes; returns how many could not be.
    pub(super) fn append(&mut self, mut bytes: &[u8]) -> usize {
        while !bytes.is_empty() {
            match self.file.write(bytes) {
                Ok(count) => {
                    bytes = &bytes[count..];
                    if count > 0 && std::mem::take(&mut self.failing) {
                        warn(&format!("{} can be written again; what came in between is lost", self.name));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.was_full |=
                        matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
                    if !std::mem::replace(&mut self.failing, true) {
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
