//! An entry of a manifest: one file, directory or link of a run, as run-store(5) writes it.

use super::digest::Digest;
use super::key::plain;
use super::percent;
use super::stamp::Stamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// First part of the keys of evaluations.
pub(crate) const EVALUATIONS: &str = ".eval";

/// The path of an entry for the directory of the run, or of the evaluations, itself.
pub(crate) const ROOT: &str = ".";

/// The place of a file of a run: below the run, or below the directory of one of its evaluations.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Place {
    /// The label of the evaluations; none for the run itself.
    pub(crate) evaluation: Option<String>,
    /// The path below that directory.
    pub(crate) path: PathBuf,
}

impl Place {
    /// Returns whether this is the other place, or lies below it.
    pub(crate) fn is_below(&self, other: &Self) -> bool {
        self.evaluation == other.evaluation && self.path.starts_with(&other.path)
    }

    /// Returns the path for people: the path of an evaluation begins as its key does.
    pub(crate) fn shown(&self) -> PathBuf {
        match &self.evaluation {
            Some(label) => Path::new(EVALUATIONS).join(label).join(&self.path),
            None => self.path.clone(),
        }
    }
}

/// What a backup knows of one file, directory or link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The place of the item.
    pub(crate) place: Place,
    /// File, directory or link.
    pub(crate) kind: Kind,
    /// Permissions; 0 for links.
    pub(crate) mode: u32,
    /// Time of last modification.
    pub(crate) mtime: Stamp,
    /// Why the item is no longer in the run.
    pub(crate) absent: Option<Absent>,
}

/// The kind of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A regular file.
    File(File),
    /// A directory.
    Dir,
    /// A symbolic link, with its target.
    Link(OsString),
}

/// A regular file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct File {
    /// Bytes.
    pub(crate) size: u64,
    /// Hash of the first `size` bytes of its object.
    pub(crate) sha256: Digest,
    /// Size of the parts and their hashes, if there are several.
    pub(crate) parts: Option<Parts>,
    /// Key of the object below the set, unless it is [`super::key::plain`].
    pub(crate) key: Option<String>,
    /// Whether the file had holes.
    pub(crate) sparse: bool,
    /// Whether the file was growing, and is stored as of one moment.
    pub(crate) prefix: bool,
    /// The path of the first entry that is the same file.
    pub(crate) same_file: Option<PathBuf>,
    /// Proof that the file has not changed since; none if the file was too new.
    pub(crate) identity: Option<Identity>,
}

/// The parts in which a file is hashed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Parts {
    /// Size of each part but the last.
    pub(crate) size: u64,
    /// The hash of each part.
    pub(crate) digests: Vec<Digest>,
}

/// The facts of stat(2) that change whenever the content of a file does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// Inode.
    pub(crate) inode: u64,
    /// Time of the last change of the file's content or inode.
    pub(crate) ctime: Stamp,
}

/// Why an entry of a manifest is no longer in the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Absent {
    /// `run-sync clean` removed the item: a restore brings it back.
    Cleaned,
    /// The program or the user removed the item: a restore leaves it out unless asked.
    Gone,
}

impl Entry {
    /// Returns the key of the object below the set; none for directories and links.
    pub(crate) fn object(&self) -> Option<String> {
        match &self.kind {
            Kind::File(file) => file.key.clone().or_else(|| plain(&self.place)),
            Kind::Dir | Kind::Link(_) => None,
        }
    }
}

/// An entry as JSON. The names are those of run-store(5).
#[derive(Serialize, Deserialize)]
pub(super) struct Written {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    path_percent: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    evaluation: Option<String>,
    #[serde(rename = "type")]
    kind: WrittenKind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mode: Option<String>,
    mtime: Stamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sha256: Option<Digest>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    part_size: Option<u64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    parts: Vec<Digest>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(default, skip_serializing_if = "is_false")]
    sparse: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    prefix: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    same_file: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    same_file_percent: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    target_percent: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    inode: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ctime: Option<Stamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    absent: Option<Absent>,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum WrittenKind {
    File,
    Dir,
    Link,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde asks it")]
fn is_false(value: &bool) -> bool {
    !value
}

/// Returns a name as text, or percent-encoded if it is not UTF-8.
fn name(name: &OsStr) -> (Option<String>, Option<String>) {
    match name.to_str() {
        Some(text) => (Some(text.to_owned()), None),
        None => {
            let is_kept = |rest: &[u8]| {
                matches!(
                    rest,
                    [b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/', ..]
                )
            };
            let encoded = percent::encode(name.as_bytes(), is_kept);
            (None, Some(String::from_utf8_lossy(&encoded).into_owned()))
        }
    }
}

fn read_name(text: Option<String>, encoded: Option<&str>) -> Result<Option<OsString>, String> {
    match (text, encoded) {
        (Some(_), Some(_)) => Err("it has a name twice".to_owned()),
        (Some(text), None) => Ok(Some(text.into())),
        (None, Some(encoded)) => match percent::decode(encoded) {
            Some(bytes) => Ok(Some(OsString::from_vec(bytes))),
            None => Err(format!("'{encoded}' is not percent-encoded")),
        },
        (None, None) => Ok(None),
    }
}

impl From<&Entry> for Written {
    fn from(entry: &Entry) -> Self {
        let (path, path_percent) = name(entry.place.path.as_os_str());
        let mut written = Self {
            path,
            path_percent,
            evaluation: entry.place.evaluation.clone(),
            kind: WrittenKind::Dir,
            mode: Some(format!("{:04o}", entry.mode)),
            mtime: entry.mtime,
            size: None,
            sha256: None,
            part_size: None,
            parts: Vec::new(),
            key: None,
            sparse: false,
            prefix: false,
            same_file: None,
            same_file_percent: None,
            target: None,
            target_percent: None,
            inode: None,
            ctime: None,
            absent: entry.absent,
        };
        match &entry.kind {
            Kind::Dir => {}
            Kind::Link(target) => {
                written.kind = WrittenKind::Link;
                written.mode = None;
                (written.target, written.target_percent) = name(target);
            }
            Kind::File(file) => {
                written.kind = WrittenKind::File;
                written.size = Some(file.size);
                written.sha256 = Some(file.sha256);
                if let Some(parts) = &file.parts {
                    written.part_size = Some(parts.size);
                    written.parts.clone_from(&parts.digests);
                }
                written.key.clone_from(&file.key);
                written.sparse = file.sparse;
                written.prefix = file.prefix;
                if let Some(path) = &file.same_file {
                    (written.same_file, written.same_file_percent) = name(path.as_os_str());
                }
                if let Some(identity) = file.identity {
                    written.inode = Some(identity.inode);
                    written.ctime = Some(identity.ctime);
                }
            }
        }
        written
    }
}

impl TryFrom<Written> for Entry {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let path = read_name(written.path, written.path_percent.as_deref())?.ok_or("an entry has no path")?;
        let mode = match &written.mode {
            None => 0,
            Some(text) => u32::from_str_radix(text, 8)
                .ok()
                .filter(|mode| *mode <= 0o7777)
                .ok_or_else(|| format!("'{text}' is no mode"))?,
        };
        let kind = match written.kind {
            WrittenKind::Dir => Kind::Dir,
            WrittenKind::Link => Kind::Link(
                read_name(written.target, written.target_percent.as_deref())?
                    .ok_or("a link has no target")?,
            ),
            WrittenKind::File => {
                let parts = match (written.part_size, written.parts) {
                    (None, digests) if digests.is_empty() => None,
                    (Some(size), digests) => Some(Parts { size, digests }),
                    (None, _) => return Err("parts have no size".to_owned()),
                };
                let identity = match (written.inode, written.ctime) {
                    (Some(inode), Some(ctime)) => Some(Identity { inode, ctime }),
                    _ => None,
                };
                Kind::File(File {
                    size: written.size.ok_or("a file has no size")?,
                    sha256: written.sha256.ok_or("a file has no sha256")?,
                    parts,
                    key: written.key,
                    sparse: written.sparse,
                    prefix: written.prefix,
                    same_file: read_name(written.same_file, written.same_file_percent.as_deref())?
                        .map(PathBuf::from),
                    identity,
                })
            }
        };
        let place = Place { path: path.into(), evaluation: written.evaluation };
        Ok(Self { place, kind, mode, mtime: written.mtime, absent: written.absent })
    }
}

impl Serialize for Entry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Written::from(self).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::try_from(Written::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}
