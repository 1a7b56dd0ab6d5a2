//! Decides which files of a run a backup has to read: the other files are known from the manifest to continue,
//! or from an interrupted backup. Pure.

use super::mend::Losses;
use crate::format::entry::{Entry, File, Kind, Place};
use crate::local::hash::Hashed;
use crate::local::scan::Found;
use rustix::fs::FileType;
use std::collections::HashMap;
use std::ffi::OsString;
use std::path::PathBuf;

/// The decision about a file, directory or link of the run.
#[derive(Debug)]
pub(crate) enum Step {
    /// The entry is known.
    Known(Box<Entry>),
    /// The file must be read, and compared with its old content, if there is one.
    Read(Option<Box<Old>>),
    /// The file is another name of the file at this path.
    Same(PathBuf),
    /// The file may be incomplete: the entry of the previous manifest stays.
    Left(Option<Box<Entry>>),
}

/// The stored content of a file.
#[derive(Clone, Debug)]
pub(crate) struct Old {
    /// Key of the content's object.
    pub(crate) key: String,
    /// Its content.
    pub(crate) hashed: Hashed,
}

/// What is known before any file is read.
pub(crate) struct Knowledge<'a> {
    /// The entries of the manifest to continue.
    pub(crate) before: &'a HashMap<&'a Place, &'a Entry>,
    /// The manifest was written by this copy of the run, so its inodes are valid here.
    pub(crate) is_own: bool,
    /// What an interrupted backup of this run has stored.
    pub(crate) sent: &'a HashMap<&'a Place, &'a Entry>,
    /// Paths of checkpoints that may be incomplete.
    pub(crate) incomplete: &'a [PathBuf],
    /// What the store has lost.
    pub(crate) losses: &'a Losses,
}

impl Knowledge<'_> {
    /// Decides about a found item. `is_there` tells whether the store has the object of an entry.
    pub(crate) fn step(&self, found: &Found, is_there: &dyn Fn(&Entry) -> bool) -> Step {
        let before = self.before.get(&found.place).copied();
        if self.is_incomplete(found) {
            return Step::Left(before.cloned().map(Box::new));
        }
        if found.stat.kind != FileType::RegularFile {
            return Step::Known(entry(found, kind(found.target.clone())).into());
        }
        if let Some(first) = &found.same_file {
            return Step::Same(first.clone());
        }
        let sent = self.sent.get(&found.place).copied();
        let trusted = [before.filter(|_| self.is_own), sent];
        for known in trusted.into_iter().flatten() {
            if let Kind::File(file) = &known.kind
                && found.stat.is_version_of(file, known.mtime)
                && is_there(known)
                && !self.losses.has(known)
            {
                let file = File { same_file: None, ..file.clone() };
                return Step::Known(entry(found, Kind::File(file)).into());
            }
        }
        let is_stored = |known: &&Entry| is_there(known) || self.losses.has(known);
        let mut old = [sent, before].into_iter().flatten().filter(is_stored);
        Step::Read(old.find_map(Old::of).map(Box::new))
    }

    fn is_incomplete(&self, found: &Found) -> bool {
        found.place.evaluation.is_none()
            && self.incomplete.iter().any(|incomplete| found.place.path.starts_with(incomplete))
    }
}

impl Old {
    fn of(entry: &Entry) -> Option<Self> {
        match (&entry.kind, entry.object()) {
            (Kind::File(file), Some(key)) => Some(Self { key, hashed: Hashed::from(file) }),
            _ => None,
        }
    }
}

/// Returns the entry of a found item.
pub(crate) fn entry(found: &Found, kind: Kind) -> Entry {
    let mode = if matches!(kind, Kind::Link(_)) { 0 } else { found.stat.mode };
    Entry { place: found.place.clone(), kind, mode, mtime: found.stat.mtime, absent: None }
}

fn kind(target: Option<OsString>) -> Kind {
    target.map_or(Kind::Dir, Kind::Link)
}
