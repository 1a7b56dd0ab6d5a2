//! `.run/backup.jsonl`: what is known to be in a store, and what was removed here since (run-store(5), Receipts).
//! Written by run-sync, read by whoever shows a run.

use crate::fsio::append::{append_line, read_lines};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};

/// Name of the file in the record of a run or batch.
pub const RECEIPTS: &str = "backup.jsonl";

/// What was done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Receipt {
    /// A backup was verified.
    Backup(Backup),
    /// Files were removed here that the store is seen to have.
    Clean(Clean),
}

/// A backup that was verified.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Backup {
    /// When its manifest was seen in the store.
    pub time: Timestamp,
    /// The store, without credentials.
    pub url: String,
    /// The set in it: `NAME`, or `BATCH/NAME`.
    pub name: String,
    /// Number of the manifest.
    pub number: u64,
    /// Hash of the manifest.
    pub manifest: String,
    /// How what was sent was verified: `read`, `checksum` or `length`.
    pub verified: String,
    /// Files that the manifest holds, without those that are no longer in the run.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Complete checkpoints among them.
    pub checkpoints: u64,
    /// Step of the last of these.
    pub last_step: Option<u64>,
    /// Host of the writer.
    pub host: String,
    /// Inode of the directory of the run.
    pub inode: u64,
    /// Its path, links resolved.
    pub path: String,
    /// Which copy of the run this is, for the store.
    pub writer: String,
    /// Prefix of the writer's own keys.
    pub keys: String,
}

/// A cleanup.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Clean {
    /// When the files were removed.
    pub time: Timestamp,
    /// The store that has them, without credentials.
    pub url: String,
    /// The set in it.
    pub name: String,
    /// Number of the manifest that lists them.
    pub number: u64,
    /// Hash of the manifest.
    pub manifest: String,
    /// Their paths below the run.
    pub removed: Vec<String>,
}

/// Returns where the receipts of a run or batch are, from the directory of its record.
pub fn path(record: &Path) -> PathBuf {
    record.join(RECEIPTS)
}

/// Reads the receipts in the directory of a record, the oldest first. Lines that are none are skipped.
pub fn read(record: &Path) -> io::Result<Vec<Receipt>> {
    let lines = read_lines(&path(record))?.records;
    Ok(lines.into_iter().filter_map(|line| serde_json::from_value(line).ok()).collect())
}

/// Appends a receipt. Only the holder of the lock of the file may do that.
pub fn append(record: &Path, receipt: &Receipt) -> io::Result<()> {
    append_line(&path(record), receipt)
}
