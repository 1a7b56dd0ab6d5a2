//! The `stop` file: its existence is a stop request. The tools write into it who asked and why.

use super::record::document;
use crate::fsio::atomic::keep_mode;
use crate::fsio::read::read_start;
use crate::fsio::write::create;
use crate::provenance::redact::redact_text;
use crate::text::one_line;
use crate::time::{Timestamp, human};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

/// Maximum number of bytes to read.
const LIMIT: u64 = 64 << 10;

/// A stop request. A file that was created by `touch` contains none of these fields.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct StopRequest {
    /// `user@host`.
    pub by: Option<String>,
    /// The given reason.
    pub why: Option<String>,
    /// Time of the request.
    pub time: Option<Timestamp>,
    /// Seconds between the request and TERM to all remaining processes, instead of run-exec's grace.
    pub grace_s: Option<f64>,
    /// Whether to kill at once.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub kill: bool,
    /// For a batch: whether active runs continue until they are asked themselves.
    #[serde(rename = "spares", skip_serializing_if = "std::ops::Not::not")]
    pub leaves_running: bool,
}

/// Returns the remark that a run was killed after these times, for the reason of its end.
pub fn killed_after(grace: Duration, linger: Duration) -> String {
    format!("killed after grace {} and linger {}", human(grace), human(linger))
}

/// Returns the remark in a reason that the run, or processes that outlived its main process, had to be
/// killed.
pub fn killed_remark(reason: &str) -> Option<&str> {
    reason.split("; ").skip(1).find(|remark| remark.starts_with("killed "))
}

impl StopRequest {
    /// Writes the request. The first request is recorded; a later one may change the grace, or kill. Several
    /// processes may write at once. On a full disk the file is left empty; its existence is the request.
    pub fn write(&self, stop: &Path) -> io::Result<()> {
        let scratch = stop.with_file_name(format!(".stop.{}.tmp", std::process::id()));
        let written = self.clone().cleaned().write_by(stop, &scratch);
        let _ = fs::remove_file(&scratch); // best effort: it has its final name by now, or is useless
        match written {
            Err(_) if fs::symlink_metadata(stop).is_err() => create(stop).map(drop),
            written => written,
        }
    }

    fn write_by(&self, stop: &Path, scratch: &Path) -> io::Result<()> {
        create(scratch)?.write_all(&document(self)?)?;
        match fs::hard_link(scratch, stop) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match Self::read(stop) {
                Some(first)
                    if self.grace_s.is_some()
                        || self.kill
                        || first.leaves_running && !self.leaves_running =>
                {
                    let grace_s = self.grace_s.or(first.grace_s);
                    let kill = self.kill || first.kill;
                    let leaves_running = self.leaves_running && first.leaves_running;
                    let changed = Self { grace_s, kill, leaves_running, ..first };
                    let mut file = create(scratch)?;
                    keep_mode(&file, stop)?;
                    file.write_all(&document(&changed)?)?;
                    fs::rename(scratch, stop)
                }
                _ => Ok(()),
            },
            Err(_) => fs::rename(scratch, stop), // a file system without links
            Ok(()) => Ok(()),
        }
    }

    /// Reads the request of a run or a batch, if there is one, whatever kind of file `stop` is.
    pub fn read(stop: &Path) -> Option<Self> {
        fs::symlink_metadata(stop).ok()?;
        let text = read_start(stop, LIMIT).unwrap_or_default(); // its existence is the request
        Some(serde_json::from_slice::<Self>(&text).unwrap_or_default().cleaned())
    }

    /// Removes secrets, and makes one line of each text: they become parts of reasons.
    fn cleaned(mut self) -> Self {
        self.why = self.why.map(|why| one_line(&redact_text(&why)));
        self.by = self.by.map(|by| one_line(&by));
        self
    }

    /// Returns who requested the stop, in words.
    pub fn words(&self) -> String {
        let by = self.by.as_deref().unwrap_or("the file 'stop'");
        match &self.why {
            Some(why) => format!("stopped by {by}: {why}"),
            None => format!("stopped by {by}"),
        }
    }
}
