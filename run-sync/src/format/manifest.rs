//! A manifest: the content of one backup of a run (run-store(5), Manifest).

use super::digest::Digest;
use super::entry::{Entry, Written};
use super::valid;
use run_common::time::Timestamp;
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;

/// Version of the format that this tool writes, and the greatest that it reads.
const SCHEMA: u64 = 1;

/// The content of one backup of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Manifest {
    /// The facts about the backup.
    pub(crate) head: Head,
    /// The files, directories and links, sorted by [`super::entry::Place`].
    pub(crate) entries: Vec<Entry>,
}

/// The facts about a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head {
    /// Version of the format.
    pub(crate) schema: u64,
    /// 1 for the first backup of a set.
    pub(crate) number: u64,
    /// Hash of the manifest that this backup continues.
    pub(crate) parent: Option<Digest>,
    /// Whether the set is of a run or a batch.
    pub(crate) kind: SetKind,
    /// ID of the run; for a batch, its name when it was created.
    pub(crate) run_id: String,
    /// Name of the run when it was backed up.
    pub(crate) run_name: String,
    /// Batch of the run.
    pub(crate) batch: Option<String>,
    /// When the backup began.
    pub(crate) created: Timestamp,
    /// Host of the writer.
    pub(crate) host: String,
    /// The writer: the copy of the run.
    pub(crate) writer: String,
    /// Version of the tool.
    pub(crate) tool_version: String,
    /// Prefix of the writer's own keys.
    pub(crate) keys: String,
    /// The run's status when the backup began.
    pub(crate) status: String,
    /// How the objects that this backup stored were verified.
    pub(crate) verified: Verified,
}

/// What a set contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum SetKind {
    /// A run with its evaluations.
    Run,
    /// The files of a batch itself; its runs have sets of their own.
    Batch,
}

/// How stored bytes were verified, the weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verified {
    /// The store reports the right length.
    Length,
    /// The store has checked a hash of each request, and reports the right length.
    Checksum,
    /// The bytes were read back and hashed.
    Read,
}

impl Verified {
    /// Returns the word in manifests and receipts.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Length => "length",
            Self::Checksum => "checksum",
            Self::Read => "read",
        }
    }
}

#[derive(Deserialize)]
struct Document {
    #[serde(flatten)]
    head: Head,
    #[serde(deserialize_with = "entries")]
    entries: Vec<Entry>,
}

/// Reads entries one by one: there may be millions.
fn entries<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Entry>, D::Error> {
    struct Each;

    impl<'de> Visitor<'de> for Each {
        type Value = Vec<Entry>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array of entries")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut written: A) -> Result<Self::Value, A::Error> {
            let mut entries = Vec::new();
            while let Some(entry) = written.next_element::<Written>()? {
                entries.push(Entry::try_from(entry).map_err(A::Error::custom)?);
            }
            Ok(entries)
        }
    }

    deserializer.deserialize_seq(Each)
}

#[derive(Deserialize)]
struct Version {
    schema: u64,
}

impl Head {
    /// The version that this tool writes.
    pub(crate) const SCHEMA: u64 = SCHEMA;
}

impl Manifest {
    /// Writes the document: the head, then one entry a line.
    pub(crate) fn to_bytes(&self) -> serde_json::Result<Vec<u8>> {
        let mut bytes = serde_json::to_vec(&self.head)?;
        bytes.pop(); // the closing brace
        bytes.extend_from_slice(b",\"entries\":[");
        for (at, entry) in self.entries.iter().enumerate() {
            bytes.extend_from_slice(if at == 0 { b"\n" } else { b",\n" });
            serde_json::to_writer(&mut bytes, &Written::from(entry))?;
        }
        bytes.extend_from_slice(b"\n]}\n");
        Ok(bytes)
    }

    /// Reads a document and checks all that can be checked without a store.
    ///
    /// # Errors
    /// Describes the fault, in words that follow "manifest X: ".
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let version: Version = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if version.schema > SCHEMA {
            return Err(format!(
                "its schema is {}, newer than {SCHEMA}; a newer run-sync reads it",
                version.schema
            ));
        }
        let document: Document = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        let mut manifest = Self { head: document.head, entries: document.entries };
        manifest.entries.sort_by(|one, other| one.place.cmp(&other.place)); // for forged ones
        valid::check(&manifest)?;
        Ok(manifest)
    }
}
