//! `.run/backup.journal`: what an unfinished backup has sent, so that the next one need not send it again.

use crate::format::digest::Digest;
use crate::format::entry::Entry;
use crate::store::{Part, Upload};
use run_common::fsio::append::{append_line, read_lines};
use run_common::fsio::atomic::{Durability, replace};
use run_common::message::warn;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Name of the file in the record of a run or batch.
const JOURNAL: &str = "backup.journal";

/// Which copy of a run writes to which set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Begin {
    /// The store, without credentials.
    pub(crate) url: String,
    /// The set.
    pub(crate) name: String,
    /// The writer's name for itself.
    pub(crate) writer: String,
    /// Its host.
    pub(crate) host: String,
    /// Inode of the directory of the run.
    pub(crate) inode: u64,
    /// Its path, links resolved.
    pub(crate) path: String,
}

/// A line of the journal.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Line {
    /// What follows belongs to this writer and set.
    Begin(Begin),
    /// The prefix of the writer's own keys was found out.
    Keys(String),
    /// An object was stored: the entry that a manifest would have of it.
    Sent(Sent),
    /// An upload in parts was begun.
    Upload(Upload),
    /// A part of it was stored.
    Part(SentPart),
    /// A manifest is about to be stored.
    Commit { number: u64, digest: Digest },
}

/// An object that was stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Sent {
    /// Its file.
    pub(crate) entry: Entry,
    /// The store's tag of it.
    pub(crate) tag: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct SentPart {
    id: String,
    #[serde(flatten)]
    part: Part,
}

/// Uploads by key, and their parts by number.
pub(crate) type Uploads = HashMap<String, (Upload, HashMap<u32, Part>)>;

/// What the journal says of an earlier, unfinished backup to the same set.
#[derive(Debug, Default)]
pub(crate) struct Earlier {
    /// Who wrote, if it is this copy of the run still.
    pub(crate) begin: Option<Begin>,
    /// The prefix of the writer's keys.
    pub(crate) keys: Option<String>,
    /// What was stored.
    pub(crate) sent: Vec<Sent>,
    /// What of large files was stored.
    pub(crate) uploads: Uploads,
    /// The manifest that may have been stored.
    pub(crate) commit: Option<(u64, Digest)>,
}

/// The journal of one backup.
#[derive(Debug)]
pub(crate) struct Journal {
    /// None where the directory of the run cannot be written to.
    path: Option<PathBuf>,
    begin: Begin,
    /// Lines of backups to other sets.
    others: Vec<Line>,
    is_begun: Mutex<bool>,
}

impl Journal {
    /// Reads the journal in the directory of a record, and takes out what belongs to a set and to this copy of the
    /// run: `begin` without its writer.
    pub(crate) fn open(record: &Path, begin: Begin, is_writable: bool) -> io::Result<(Self, Earlier)> {
        let path = record.join(JOURNAL);
        let mut others = Vec::new();
        let mut earlier = Earlier::default();
        let mut is_ours = false;
        for line in read_lines(&path)?.records {
            let Ok(line) = serde_json::from_value::<Line>(line) else { continue };
            if let Line::Begin(found) = &line {
                is_ours = (&found.url, &found.name) == (&begin.url, &begin.name);
                let is_same = Begin { writer: found.writer.clone(), ..begin.clone() } == *found;
                if is_ours && !is_same {
                    earlier = Earlier::default(); // the directory was copied or moved
                }
                if is_ours && is_same && earlier.begin.as_ref() != Some(found) {
                    earlier = Earlier { begin: Some(found.clone()), ..Earlier::default() };
                }
            }
            if is_ours {
                earlier.take(line);
            } else {
                others.push(line);
            }
        }
        let is_begun = Mutex::new(false);
        Ok((Self { path: is_writable.then_some(path), begin, others, is_begun }, earlier))
    }

    /// Names the writer whose backup this is.
    pub(crate) fn set_writer(&mut self, writer: &str) {
        writer.clone_into(&mut self.begin.writer);
    }

    /// Records the prefix of the writer's keys.
    pub(crate) fn keys(&self, keys: &str) {
        self.add(&Line::Keys(keys.to_owned()));
    }

    /// Records an object that was stored.
    pub(crate) fn sent(&self, entry: &Entry, tag: Option<String>) {
        self.add(&Line::Sent(Sent { entry: entry.clone(), tag }));
    }

    /// Records an upload that has begun.
    pub(crate) fn upload(&self, upload: &Upload) {
        self.add(&Line::Upload(upload.clone()));
    }

    /// Records a part that was stored.
    pub(crate) fn part(&self, upload: &Upload, part: &Part) {
        self.add(&Line::Part(SentPart { id: upload.id.clone(), part: part.clone() }));
    }

    /// Records that a manifest is about to be stored.
    pub(crate) fn commit(&self, number: u64, digest: Digest) {
        self.add(&Line::Commit { number, digest });
    }

    /// Ends the journal of a backup that has its receipt.
    pub(crate) fn finish(&self) -> io::Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        if !self.others.is_empty() {
            let mut bytes = Vec::new();
            for line in &self.others {
                serde_json::to_writer(&mut bytes, line)?;
                bytes.push(b'\n');
            }
            return replace(path, &bytes, Durability::Process);
        }
        match std::fs::remove_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }

    /// Appends a line. Where that fails, what was sent is sent again after an interruption, which is no failure of the
    /// backup.
    fn add(&self, line: &Line) {
        let Some(path) = &self.path else { return };
        let mut is_begun = self.is_begun.lock().unwrap_or_else(PoisonError::into_inner);
        let begun = if *is_begun { Ok(()) } else { append_line(path, &Line::Begin(self.begin.clone())) };
        match begun.and_then(|()| append_line(path, line)) {
            Ok(()) => *is_begun = true,
            Err(error) if !*is_begun => {
                warn(&format!("cannot write '{}': {}", path.display(), run_common::error::plain(&error)));
                *is_begun = true; // said once
            }
            Err(_) => {}
        }
    }
}

impl Earlier {
    fn take(&mut self, line: Line) {
        match line {
            Line::Begin(_) => {}
            Line::Keys(keys) => self.keys = Some(keys),
            Line::Sent(sent) => {
                if let Some(key) = sent.entry.object() {
                    self.uploads.remove(&key);
                }
                self.sent.push(sent);
            }
            Line::Upload(upload) => {
                self.uploads.insert(upload.key.clone(), (upload, HashMap::new()));
            }
            Line::Part(SentPart { id, part }) => {
                if let Some((_, parts)) = self.uploads.values_mut().find(|(upload, _)| upload.id == id) {
                    parts.insert(part.number, part);
                }
            }
            Line::Commit { number, digest } => self.commit = Some((number, digest)),
        }
    }
}
