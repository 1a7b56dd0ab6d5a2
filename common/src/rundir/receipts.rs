//! `.run/backup.jsonl`: verified backups in a store, and files that were removed here since (run-store(5),
//! Receipts). Written by run-sync, read by every tool that shows a run.

use crate::fsio::append::{append_line, read_lines};
use crate::fsio::read::read_end;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};

/// Name of the file in the record of a run or batch.
pub const RECEIPTS: &str = "backup.jsonl";

/// The kind of event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Receipt {
    /// A backup was verified.
    Backup(Backup),
    /// Files that are in the store were removed here.
    Clean(Clean),
}

/// A verified backup.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Backup {
    /// When its manifest was seen in the store.
    pub time: Timestamp,
    /// The store, without credentials.
    pub url: String,
    /// The set in the store: `NAME`, or `BATCH/NAME`.
    pub name: String,
    /// Number of the manifest.
    pub number: u64,
    /// Hash of the manifest.
    pub manifest: String,
    /// How the sent data was verified: `read`, `checksum` or `length`.
    pub verified: String,
    /// Number of files in the manifest, without those that are no longer in the run.
    pub files: u64,
    /// Their total size, in bytes.
    pub bytes: u64,
    /// Number of complete checkpoints among them.
    pub checkpoints: u64,
    /// Step of the last of these checkpoints.
    pub last_step: Option<u64>,
    /// Host of the writer.
    pub host: String,
    /// Inode of the run's directory.
    pub inode: u64,
    /// Its path, links resolved.
    pub path: String,
    /// Identity of this copy of the run, for the store.
    pub writer: String,
    /// Prefix of the writer's own keys.
    pub keys: String,
}

/// A cleanup.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Clean {
    /// When the files were removed.
    pub time: Timestamp,
    /// The store that holds them, without credentials.
    pub url: String,
    /// The set in the store.
    pub name: String,
    /// Number of the manifest that lists them.
    pub number: u64,
    /// Hash of the manifest.
    pub manifest: String,
    /// Their paths below the run.
    pub removed: Vec<String>,
}

/// Returns the path of the receipts of a run or batch, from the directory of its record.
pub fn path(record: &Path) -> PathBuf {
    record.join(RECEIPTS)
}

/// Reads the receipts in the directory of a record, the oldest first. Skips other lines.
pub fn read(record: &Path) -> io::Result<Vec<Receipt>> {
    let lines = read_lines(&path(record))?.records;
    Ok(lines.into_iter().filter_map(|line| serde_json::from_value(line).ok()).collect())
}

/// Bytes at the end of the receipts to search first for the last backup.
const TAIL: u64 = 16 << 10;

/// Returns the receipt of the last backup, if there is a readable one. Cheap enough for lists of many runs.
pub fn last_backup(record: &Path) -> Option<Backup> {
    let of_lines = |lines: &[u8]| lines.rsplit(|&byte| byte == b'\n').find_map(backup);
    let path = path(record);
    let end = read_end(&path, 0, TAIL).ok()?;
    of_lines(&end).or_else(|| {
        let is_all = (end.len() as u64) < TAIL;
        let earlier = if is_all { Vec::new() } else { read(record).ok()? };
        earlier.into_iter().rev().find_map(|receipt| match receipt {
            Receipt::Backup(backup) => Some(backup),
            Receipt::Clean(_) => None,
        })
    })
}

fn backup(line: &[u8]) -> Option<Backup> {
    match serde_json::from_slice(line).ok()? {
        Receipt::Backup(backup) => Some(backup),
        Receipt::Clean(_) => None,
    }
}

/// Appends a receipt. Only the holder of the file's lock may call this.
pub fn append(record: &Path, receipt: &Receipt) -> io::Result<()> {
    append_line(&path(record), receipt)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fsio::write::create;
    use std::io::Write;
    use tempfile::TempDir;

    #[test]
    fn the_last_backup_is_found_before_whatever_came_after() {
        let dir = TempDir::new().unwrap();
        assert_eq!(last_backup(dir.path()), None);
        let backup = |number: u64| {
            let text = format!(
                r#"{{"type":"backup","time":"2026-01-29T12:00:00.000Z","url":"u","name":"n","number":{number},"manifest":"m","verified":"read","files":1,"bytes":2,"checkpoints":3,"last_step":4,"host":"h","inode":5,"path":"p","writer":"w","keys":""}}"#
            );
            text + "\n"
        };
        let clean = |length: usize| {
            let removed = "x".repeat(length);
            let text = format!(
                r#"{{"type":"clean","time":"2026-01-29T12:00:00.000Z","url":"u","name":"n","number":1,"manifest":"m","removed":["{removed}"]}}"#
            );
            text + "\n"
        };
        for (number, after) in
            [String::new(), clean(9), clean(100_000), "{\"type\":\"ba".to_owned()].iter().enumerate()
        {
            let path = path(dir.path());
            let _ = std::fs::remove_file(&path);
            let number = number as u64 + 7;
            let text = format!("{}{}{after}", backup(1), backup(number));
            create(&path).unwrap().write_all(text.as_bytes()).unwrap();
            assert_eq!(last_backup(dir.path()).map(|last| last.number), Some(number));
        }
    }
}
