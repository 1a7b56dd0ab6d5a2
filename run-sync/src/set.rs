//! A set: the objects of one run, or of the files of a batch, below one name in a store (run-store(5)).

use crate::format::digest::Digest;
use crate::format::key;
use crate::format::manifest::{Head, Manifest, SetKind};
use crate::format::valid::is_name;
use crate::store::fault::Fault;
use crate::store::{Object, Store};
use run_common::error::{Error, Exit};
use run_common::rundir::layout::BATCH_FILES;
use std::fmt;
use std::io;

/// Bytes that a manifest or a list of hashes may have: some 4 million entries.
const LIMIT: usize = 1 << 30;

/// How often a damaged manifest is read.
const READS: usize = 3;

/// The name of a set: a run, a run in a batch, or a batch.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SetName {
    /// The batch of the run.
    pub(crate) batch: Option<String>,
    /// The run, or the batch itself.
    pub(crate) name: String,
}

impl SetName {
    /// Reads `NAME` or `BATCH/NAME`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.trim_end_matches('/');
        let (batch, name) = match text.split_once('/') {
            Some((batch, name)) => (Some(batch.to_owned()), name),
            None => (None, text),
        };
        let is_right = batch.iter().all(|batch| is_name(batch)) && is_name(name);
        is_right.then(|| Self { batch, name: name.to_owned() })
    }

    /// Returns the part of the name that a store uses for its own files, if there is one.
    pub(crate) fn reserved(&self) -> Option<&str> {
        let parts = self.batch.iter().chain([&self.name]).map(String::as_str);
        let of_batch = |name: &str| {
            self.batch.is_some() && BATCH_FILES.iter().any(|file| file.eq_ignore_ascii_case(name))
        };
        parts.into_iter().find(|name| key::is_reserved(name) || *name == self.name && of_batch(name))
    }

    /// Returns the prefix of all keys of the set.
    pub(crate) fn prefix(&self) -> String {
        let name = key::name(&self.name);
        match &self.batch {
            Some(batch) => format!("{}/{name}/", key::name(batch)),
            None => format!("{name}/"),
        }
    }
}

impl fmt::Display for SetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.batch {
            Some(batch) => write!(f, "{batch}/{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// A set in a store. Its methods take keys below the set.
pub(crate) struct Set<'a> {
    /// The store.
    pub(crate) store: &'a dyn Store,
    /// Name of the store in messages.
    pub(crate) url: &'a str,
    /// Name of the set.
    pub(crate) name: SetName,
}

/// Identifies a manifest: its number, and its hash, which is part of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Commit {
    /// 1 for the first.
    pub(crate) number: u64,
    /// Hash of the manifest.
    pub(crate) digest: Digest,
}

impl Set<'_> {
    /// Returns the key in the store for a key of the set, or of another set of the batch: `../NAME/…`.
    pub(crate) fn key(&self, key: &str) -> String {
        match (key.strip_prefix("../"), &self.name.batch) {
            (Some(other), Some(batch)) => format!("{}/{other}", key::name(batch)),
            (Some(other), None) => other.to_owned(),
            (None, _) => format!("{}{key}", self.name.prefix()),
        }
    }

    /// Returns the error of a failed request.
    pub(crate) fn failed(&self, verb: &str, key: &str, fault: Fault) -> Error {
        fault.error(verb, &self.key(key), self.url)
    }

    /// Lists the manifests of the set, by number, and the writers.
    pub(crate) fn history(&self) -> Result<History, Error> {
        let mut history = History::default();
        let prefix = self.key(&format!("{}/", key::BACKUP));
        let below = self.name.prefix();
        let mut take = |object: Object| {
            let key = object.key.strip_prefix(&below).unwrap_or_default();
            if let Some((number, digest)) = key::parse_manifest(key) {
                history.commits.push(Commit { number, digest });
            } else if let Some(writer) =
                key.strip_prefix(key::WRITERS).and_then(|rest| rest.strip_prefix('/'))
            {
                history.writers.push(writer.to_owned());
            }
        };
        self.store.list(&prefix, &mut take).map_err(|fault| self.failed("list", key::BACKUP, fault))?;
        history.commits.sort_unstable();
        Ok(history)
    }

    /// Lists the objects of the set, with their keys below it; for a batch, without those of its runs.
    pub(crate) fn objects(&self, kind: SetKind, each: &mut dyn FnMut(Object)) -> Result<(), Error> {
        let below = self.name.prefix();
        let mut take = |object: Object| {
            if let Some(key) = object.key.strip_prefix(&below) {
                each(Object { key: key.to_owned(), ..object });
            }
        };
        let prefixes: &[&str] = match kind {
            SetKind::Run => &[""],
            SetKind::Batch => &[".batch/", ".by/", ".gen/", ".long/"],
        };
        for prefix in prefixes {
            let listed = self.store.list(&self.key(prefix), &mut take);
            listed.map_err(|fault| self.failed("list", prefix, fault))?;
        }
        for name in BATCH_FILES.iter().filter(|_| kind == SetKind::Batch) {
            let found =
                self.store.head(&self.key(name)).map_err(|fault| self.failed("look at", name, fault))?;
            found.into_iter().for_each(&mut take);
        }
        Ok(())
    }

    /// Reads a manifest. Fails if it does not have its hash.
    pub(crate) fn manifest(&self, commit: Commit) -> Result<Manifest, Error> {
        self.whole_manifest(commit)?.ok_or_else(|| self.damaged(commit))
    }

    /// Reads a manifest; none if it does not have its hash.
    pub(crate) fn whole_manifest(&self, commit: Commit) -> Result<Option<Manifest>, Error> {
        let key = key::manifest(commit.number, &commit.digest);
        let mut bytes = self.read(&key, LIMIT)?;
        for _ in 1..READS {
            if Digest::of(&bytes) == commit.digest {
                break;
            }
            bytes = self.read(&key, LIMIT)?; // the network may have changed a byte
        }
        if Digest::of(&bytes) != commit.digest {
            return Ok(None);
        }
        let unfit = |why: String| {
            let what = format!("cannot use manifest {} of '{}' in {}", commit.number, self.name, self.url);
            Error::new(Exit::BadRun, what).because(why)
        };
        let manifest = Manifest::parse(&bytes).map_err(unfit)?;
        if manifest.head.number != commit.number {
            return Err(unfit("it has another number than its name says".to_owned()));
        }
        Ok(Some(manifest))
    }

    /// Returns the error of a manifest without its hash.
    pub(crate) fn damaged(&self, commit: Commit) -> Error {
        let what = format!("manifest {} of '{}' in {} is damaged", commit.number, self.name, self.url);
        Error::new(Exit::BadRun, what).because("it does not have the hash in its name")
    }

    /// Reads a list of hashes, if there is one.
    pub(crate) fn sums(&self, key: &str) -> Result<Option<Vec<u8>>, Error> {
        let found = self.store.head(&self.key(key)).map_err(|fault| self.failed("look at", key, fault))?;
        found.map(|_| self.read(key, LIMIT)).transpose()
    }

    /// Returns whether a backup leaves out one by another copy of the run. One by the same writer is no fork: the
    /// store has done late what a killed process had asked for.
    pub(crate) fn is_fork(&self, history: &History, commit: Commit, head: &Head) -> bool {
        let is_by_other = |other| {
            let manifest = self.whole_manifest(other).ok().flatten();
            manifest.is_none_or(|manifest| manifest.head.writer != head.writer)
        };
        history.left_out(commit, head.parent).into_iter().any(is_by_other)
    }

    /// Reads a small object whole.
    pub(crate) fn read(&self, key: &str, limit: usize) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        let mut take = |piece: &[u8]| {
            if bytes.len() + piece.len() > limit {
                return Err(io::Error::other("it is too large"));
            }
            bytes.extend_from_slice(piece);
            Ok(())
        };
        self.store.get(&self.key(key), None, &mut take).map_err(|fault| self.failed("read", key, fault))?;
        Ok(bytes)
    }
}

/// The backups of a set.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    /// The manifests of the set, by number; after a fork, several may have one number.
    pub(crate) commits: Vec<Commit>,
    /// The writers of the set.
    pub(crate) writers: Vec<String>,
}

impl History {
    /// Returns the backups that a backup leaves out: their numbers come after its parent's.
    fn left_out(&self, commit: Commit, parent: Option<Digest>) -> Vec<Commit> {
        let least = match parent {
            None => 0,
            Some(parent) => match self.commits.iter().find(|commit| commit.digest == parent) {
                Some(parent) => parent.number,
                None => return Vec::new(), // removed from the store by hand
            },
        };
        let is_later = |other: &&Commit| {
            (least + 1..=commit.number).contains(&other.number) && other.digest != commit.digest
        };
        self.commits.iter().filter(is_later).copied().collect()
    }

    /// Returns the newest manifest. Of two with one number, both are newest: the caller sees by their parents
    /// that there is a fork.
    pub(crate) fn newest(&self) -> Option<Commit> {
        self.commits.last().copied()
    }
}
