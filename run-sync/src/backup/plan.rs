//! What a backup has to read, of what a run has: the rest is known from the manifest that it continues, or from a
//! backup that was interrupted. Pure.

use crate::format::entry::{Entry, File, Kind, Place};
use crate::local::hash::Hashed;
use crate::local::scan::Found;
use rustix::fs::FileType;
use std::collections::HashMap;
use std::ffi::OsString;
use std::path::PathBuf;

/// What becomes of a file, directory or link of the run.
#[derive(Debug)]
pub(crate) enum Step {
    /// Its entry is known.
    Known(Box<Entry>),
    /// It is to be read, and compared with its content before, if there was one.
    Read(Option<Box<Old>>),
    /// It is another name of the file at this path.
    Same(PathBuf),
    /// It may not be complete: what the manifest before says of it stands.
    Left(Option<Box<Entry>>),
}

/// What is stored of a file.
#[derive(Clone, Debug)]
pub(crate) struct Old {
    /// Key of its object.
    pub(crate) key: String,
    /// Its content.
    pub(crate) hashed: Hashed,
}

/// What is known before anything is read.
pub(crate) struct Knowledge<'a> {
    /// The entries of the manifest that is continued.
    pub(crate) before: &'a HashMap<&'a Place, &'a Entry>,
    /// The manifest was written here: what it says of inodes is true of these.
    pub(crate) is_own: bool,
    /// What an interrupted backup of this run has stored.
    pub(crate) sent: &'a HashMap<&'a Place, &'a Entry>,
    /// Paths of checkpoints that may not be complete.
    pub(crate) incomplete: &'a [PathBuf],
}

impl Knowledge<'_> {
    /// Decides what becomes of something that was found. `is_there` says whether an object is in the store, as far
    /// as that was looked at.
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
            {
                let file = File { same_file: None, ..file.clone() };
                return Step::Known(entry(found, Kind::File(file)).into());
            }
        }
        let mut old = [sent, before].into_iter().flatten().filter(|known| is_there(known));
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

/// Makes the entry of something that was found.
pub(crate) fn entry(found: &Found, kind: Kind) -> Entry {
    let mode = if matches!(kind, Kind::Link(_)) { 0 } else { found.stat.mode };
    Entry { place: found.place.clone(), kind, mode, mtime: found.stat.mtime, absent: None }
}

fn kind(target: Option<OsString>) -> Kind {
    target.map_or(Kind::Dir, Kind::Link)
}
