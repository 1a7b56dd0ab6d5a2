//! `.run/backup.journal`: what an unfinished backup has sent, so that the next backup need not send it again.

use crate::format::digest::Digest;
use crate::format::entry::Entry;
use crate::set::SetName;
use crate::store::{Part, Upload};
use run_common::error::{Error, plain};
use run_common::fsio::append::{close_last_line, read_each};
use run_common::fsio::atomic::{Durability, replace};
use run_common::fsio::write::open_append;
use run_common::message::warn;
use run_common::process::identity::Place;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Name of the file in the record of a run or batch.
const JOURNAL: &str = "backup.journal";
/// Bytes that a journal may have: some 2 million sent files.
const MOST: u64 = 1 << 30;

/// A copy of a run, and the set to which it is backed up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Begin {
    /// The store, without credentials.
    pub(crate) url: String,
    /// The set.
    pub(crate) name: String,
    /// The writer's ID.
    pub(crate) writer: String,
    /// Host of the copy.
    pub(crate) host: String,
    /// Inode of the directory of the run.
    pub(crate) inode: u64,
    /// Path of the directory, links resolved.
    pub(crate) path: String,
}

impl Begin {
    /// Identifies this copy of a run, without its writer.
    pub(crate) fn new(url: &str, name: &SetName, root: &Path) -> Result<Self, Error> {
        let look = || Ok((fs::metadata(root)?.ino(), fs::canonicalize(root)?));
        let (inode, path) = look().map_err(|error| Error::io("read", root, error))?;
        Ok(Self {
            url: url.to_owned(),
            name: name.to_string(),
            writer: String::new(),
            host: Place::here().host.clone(),
            inode,
            path: path.to_string_lossy().into_owned(),
        })
    }
}

/// A line of the journal.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Line {
    /// The following lines belong to this writer and set.
    Begin(Begin),
    /// The writer is about to store its name.
    Claim {},
    /// The prefix of the writer's own keys is known.
    Keys(String),
    /// An object is about to be stored.
    Sending(Sending),
    /// An object was stored, with the entry for a manifest.
    Sent(Sent),
    /// An upload in parts is about to begin, to this key.
    Beginning(String),
    /// An upload in parts has begun.
    Upload(Upload),
    /// A part of an upload was stored.
    Part(SentPart),
    /// A manifest is about to be stored.
    Commit { number: u64, digest: Digest },
}

/// An object that is about to be stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Sending {
    /// Key of the object below the set.
    pub(crate) key: String,
    /// Bytes.
    pub(crate) size: u64,
    /// Hash of the object.
    pub(crate) sha256: Digest,
}

/// An object that was stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Sent {
    /// Entry of the object's file.
    pub(crate) entry: Entry,
    /// The store's tag of the object.
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

/// What the journal tells about an earlier, unfinished backup to the same set.
#[derive(Debug, Default)]
pub(crate) struct Earlier {
    /// The writer and its place, if the journal is by this copy of the run.
    pub(crate) begin: Option<Begin>,
    /// The prefix of the writer's keys.
    pub(crate) keys: Option<String>,
    /// Objects that were stored.
    pub(crate) sent: Vec<Sent>,
    /// Objects that may have been stored, by key.
    pub(crate) sending: HashMap<String, Sending>,
    /// Uploads in parts, with the stored parts.
    pub(crate) uploads: Uploads,
    /// Keys of uploads that may have begun, and whose names in the store are unknown.
    pub(crate) beginning: HashSet<String>,
    /// The manifest that may have been stored.
    pub(crate) commit: Option<(u64, Digest)>,
}

/// The journal of one backup.
#[derive(Debug)]
pub(crate) struct Journal {
    /// None if the directory of the run cannot be written to.
    path: Option<PathBuf>,
    begin: Begin,
    /// Lines of backups to other sets.
    others: Vec<Line>,
    file: Mutex<State>,
}

/// The file of a journal.
#[derive(Debug)]
enum State {
    /// Nothing was written yet.
    Unopened,
    /// Nothing was written yet, and the old content is useless.
    Useless,
    Open(File),
    /// The file cannot be written. The backup continues; if it is interrupted, the next backup sends everything
    /// again.
    Unwritable,
}

impl Journal {
    /// Reads the journal in a record's directory. Returns the lines for this set and copy of the run, which
    /// `begin` identifies without its writer.
    pub(crate) fn open(record: &Path, begin: Begin, is_writable: bool) -> io::Result<(Self, Earlier)> {
        let path = Self::path(record);
        let mut others = Vec::new();
        let mut earlier = Earlier::default();
        let mut is_ours = false;
        let take = |line: Line| {
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
        };
        let state = if fs::metadata(&path).is_ok_and(|found| found.is_file() && found.len() > MOST) {
            let what = format!("'{}' is too large and not used", path.display());
            warn(&format!("{what}; what an interrupted backup has sent is sent again"));
            State::Useless
        } else {
            read_each(&path, MOST, take)?;
            State::Unopened
        };
        let path = is_writable.then_some(path);
        Ok((Self { path, begin, others, file: Mutex::new(state) }, earlier))
    }

    /// Returns the path of the journal of a record.
    pub(crate) fn path(record: &Path) -> PathBuf {
        record.join(JOURNAL)
    }

    /// Begins or continues the backup of a writer.
    pub(crate) fn begin(&mut self, writer: &str) {
        writer.clone_into(&mut self.begin.writer);
    }

    /// Records that the writer is about to store its name.
    pub(crate) fn claim(&self) {
        self.add(&Line::Claim {});
    }

    /// Records the prefix of the writer's keys.
    pub(crate) fn keys(&self, keys: &str) {
        self.add(&Line::Keys(keys.to_owned()));
    }

    /// Records that an object is about to be stored.
    pub(crate) fn sending(&self, key: &str, size: u64, sha256: Digest) {
        self.add(&Line::Sending(Sending { key: key.to_owned(), size, sha256 }));
    }

    /// Records an object that was stored.
    pub(crate) fn sent(&self, entry: &Entry, tag: Option<String>) {
        self.add(&Line::Sent(Sent { entry: entry.clone(), tag }));
    }

    /// Records that an upload is about to begin.
    pub(crate) fn beginning(&self, key: &str) {
        self.add(&Line::Beginning(key.to_owned()));
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
        self.keep(&[])
    }

    /// Ends the journal of a backup without a receipt: only the writer and the manifest remain.
    pub(crate) fn settle(&self, keys: &str, number: u64, digest: Digest) -> io::Result<()> {
        let keys = Line::Keys(keys.to_owned());
        self.keep(&[Line::Begin(self.begin.clone()), keys, Line::Commit { number, digest }])
    }

    /// Replaces the content by these lines, and those of backups to other sets.
    fn keep(&self, lines: &[Line]) -> io::Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        let mut bytes = Vec::new();
        for line in self.others.iter().chain(lines) {
            serde_json::to_writer(&mut bytes, line)?;
            bytes.push(b'\n');
        }
        if !bytes.is_empty() {
            return replace(path, &bytes, Durability::Process);
        }
        match fs::remove_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }

    /// Appends a line, with one write.
    fn add(&self, line: &Line) {
        let Some(path) = &self.path else { return };
        let mut state = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if let State::Unopened | State::Useless = *state {
            let is_anew = matches!(*state, State::Useless);
            let opened =
                if is_anew { fs::remove_file(path) } else { Ok(()) }.and_then(|()| self.open_file(path));
            *state = opened.map_or_else(
                |error| {
                    warn(&format!("cannot write '{}': {}", path.display(), plain(&error)));
                    State::Unwritable
                },
                State::Open,
            );
        }
        if let State::Open(file) = &mut *state {
            let _ = write_line(file, line); // as if it could not be opened
        }
    }

    fn open_file(&self, path: &Path) -> io::Result<File> {
        let mut file = open_append(path)?;
        close_last_line(&mut file)?;
        write_line(&mut file, &Line::Begin(self.begin.clone()))?;
        Ok(file)
    }
}

fn write_line(file: &mut File, line: &Line) -> io::Result<()> {
    let mut bytes = serde_json::to_vec(line)?;
    bytes.push(b'\n');
    file.write_all(&bytes)
}

impl Earlier {
    fn take(&mut self, line: Line) {
        match line {
            Line::Begin(_) | Line::Claim {} => {}
            Line::Keys(keys) => self.keys = Some(keys),
            Line::Sending(sending) => _ = self.sending.insert(sending.key.clone(), sending),
            Line::Sent(sent) => {
                if let Some(key) = sent.entry.object() {
                    self.uploads.remove(&key);
                    self.sending.remove(&key);
                }
                self.sent.push(sent);
            }
            Line::Beginning(key) => {
                self.uploads.remove(&key); // it was given up
                self.beginning.insert(key);
            }
            Line::Upload(upload) => {
                self.beginning.remove(&upload.key);
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
