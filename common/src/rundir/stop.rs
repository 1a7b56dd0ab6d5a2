//! The `stop` file: it asks for a stop by existing. The suite writes into it who asked and why.

use super::layout::Layout;
use super::record::document;
use crate::fsio::atomic::{Durability, replace};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::fs::OpenOptions;
use std::io::{self, Write};

/// Who asked for a stop. A file that was touched by hand holds none of it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct StopRequest {
    /// `user@host`.
    pub by: Option<String>,
    /// What they said.
    pub why: Option<String>,
    /// When.
    pub time: Option<Timestamp>,
    /// Seconds between the request and TERM to all that is left, in place of run-exec's.
    pub grace_s: Option<f64>,
}

impl StopRequest {
    /// Writes the request. The first who asks is recorded; whoever asks again can change the grace.
    pub fn write(&self, layout: &Layout) -> io::Result<()> {
        match OpenOptions::new().write(true).create_new(true).open(layout.stop()) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match Self::read(layout) {
                Some(first) if self.grace_s.is_some() => {
                    let changed = Self { grace_s: self.grace_s, ..first };
                    replace(&layout.stop(), &document(&changed)?, Durability::Process)
                }
                _ => Ok(()),
            },
            opened => opened?.write_all(&document(self)?),
        }
    }

    /// Reads the request of a run, if there is one.
    pub fn read(layout: &Layout) -> Option<Self> {
        let bytes = std::fs::read(layout.stop()).ok()?;
        Some(serde_json::from_slice(&bytes).unwrap_or_default())
    }

    /// Says in words who asked.
    pub fn words(&self) -> String {
        let by = self.by.as_deref().unwrap_or("the file 'stop'");
        match &self.why {
            Some(why) => format!("stopped by {by}: {why}"),
            None => format!("stopped by {by}"),
        }
    }
}
