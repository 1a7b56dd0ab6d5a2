//! Plans a restore: which directories, files and links to create, and where. Looks at the local files, and
//! changes nothing.

use super::ground::{Ground, staged};
use crate::format::digest::Digest;
use crate::format::entry::{Entry, File, Kind, Place};
use crate::format::stamp::Stamp;
use crate::local::root::Stat;
use crate::workers;
use run_common::error::Error;
use rustix::fs::FileType;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// The locks of runs and batches, which are never replaced.
const LOCKS: [&str; 3] = [".run/lock", ".run/waiting.lock", ".batch/lock"];
/// The locks of evaluations.
const OF_EVALUATIONS: [&str; 1] = [".eval/lock"];

/// An item that is created under a temporary name, and gets its own name when it is complete: a file, a link,
/// or a directory with its content.
#[derive(Debug)]
pub(super) struct Unit {
    /// Index of the directory to restore to.
    pub(super) ground: usize,
    /// Path of the item in the tree.
    pub(super) path: PathBuf,
    /// Path until the item is complete.
    pub(super) staged: PathBuf,
    /// Whether the item is a directory.
    pub(super) is_dir: bool,
    /// Whether the item replaces a file or link.
    pub(super) replaces: bool,
}

/// An item to create, as a part of a unit.
#[derive(Debug)]
pub(super) struct Step<'a> {
    /// Index of the unit.
    pub(super) unit: usize,
    /// Path in the tree until the unit is complete.
    pub(super) path: PathBuf,
    /// The entry; none for a directory that the manifest does not list.
    pub(super) entry: Option<&'a Entry>,
}

/// A file to receive.
#[derive(Debug)]
pub(super) struct Receipt<'a> {
    /// Where the file is created.
    pub(super) step: Step<'a>,
    /// The content of the file.
    pub(super) file: &'a File,
}

/// The first name of a file with several names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Original {
    /// The file is received, with this number.
    Received(usize),
    /// The file is here, at this path in the tree.
    Here(PathBuf),
}

/// The plan of a restore.
#[derive(Debug, Default)]
pub(super) struct Plan<'a> {
    /// Units, which get their names in the end.
    pub(super) units: Vec<Unit>,
    /// Directories, the upper ones first.
    pub(super) dirs: Vec<Step<'a>>,
    /// Files to receive.
    pub(super) files: Vec<Receipt<'a>>,
    /// Links, with their targets.
    pub(super) links: Vec<(Step<'a>, &'a OsStr)>,
    /// Other names of files.
    pub(super) same: Vec<(Step<'a>, Original)>,
    /// Existing directories in which an item gets its name, and their times in the manifest.
    pub(super) touched: HashMap<(usize, PathBuf), Stamp>,
    /// Local items that differ but stay, and why.
    pub(super) left: Vec<(&'a Place, &'static str)>,
    /// Files that are here already.
    pub(super) equal: usize,
}

impl<'a> Plan<'a> {
    /// Returns the files and links to create, including second names of files.
    pub(super) fn made(&self) -> impl Iterator<Item = &Step<'a>> {
        let files = self.files.iter().map(|receipt| &receipt.step);
        files.chain(self.links.iter().map(|(step, _)| step)).chain(self.same.iter().map(|(step, _)| step))
    }
}

/// The local state at the place of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Here {
    /// Nothing; the entry belongs to this unit, or to a new one.
    Missing(Option<usize>),
    /// A file or link to compare with the entry.
    Comparable,
    /// An item of another kind, which the entry can replace.
    Other,
    /// A directory at the place of a file or link, or something else than a directory above.
    Blocked,
}

/// The local state at the place of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Above {
    /// A directory.
    Here,
    /// Nothing; the directory belongs to this unit.
    InUnit(usize),
    /// Something else.
    Blocked,
}

/// Builds a plan.
pub(super) struct Planner<'g, 'a> {
    grounds: &'g [Ground],
    force: bool,
    /// This copy of the run wrote the manifest, so its inodes are valid here.
    is_own: bool,
    plan: Plan<'a>,
    above: HashMap<(usize, PathBuf), Above>,
}

impl<'g, 'a> Planner<'g, 'a> {
    /// Starts a plan. With `force`, local items that differ are replaced.
    pub(super) fn new(grounds: &'g [Ground], force: bool, is_own: bool) -> Self {
        Self { grounds, force, is_own, plan: Plan::default(), above: HashMap::new() }
    }

    /// Returns the plan for entries, each with the index of the directory to restore to.
    pub(super) fn plan(mut self, entries: &[(usize, &'a Entry)], threads: usize) -> Result<Plan<'a>, Error> {
        let mut found = Vec::with_capacity(entries.len());
        for (ground, entry) in entries {
            let path = self.grounds[*ground].path(&entry.place.path);
            if entry.kind == Kind::Dir {
                self.enter(*ground, &path, Some(entry))?;
                continue;
            }
            let here = self.look(*ground, &path, entry)?;
            if is_lock(&entry.place) && matches!(here, Here::Comparable | Here::Other) {
                self.plan.equal += 1;
                continue;
            }
            found.push((*ground, path, *entry, here));
        }
        let (grounds, is_own) = (self.grounds, self.is_own);
        let are_equal = workers::map(&found, threads, |(ground, path, entry, here)| {
            if *here == Here::Comparable {
                equals(&grounds[*ground], path, entry, is_own).map(Some)
            } else {
                Ok(None)
            }
        });
        let mut originals: HashMap<(usize, &Path), (Digest, Original)> = HashMap::new();
        for ((ground, path, entry, here), is_equal) in found.into_iter().zip(are_equal) {
            let unit = match (here, is_equal?) {
                (Here::Missing(unit), _) => unit.unwrap_or_else(|| self.unit(ground, &path, false, false)),
                (_, Some(true)) => {
                    self.plan.equal += 1;
                    if let Kind::File(file) = &entry.kind {
                        let original = (file.sha256, Original::Here(path));
                        originals.entry((ground, name_of(entry, file))).or_insert(original);
                    }
                    continue;
                }
                (Here::Comparable | Here::Other, _) if self.force => self.unit(ground, &path, false, true),
                (Here::Comparable, _) => {
                    let why = self.why(ground, &path, entry)?;
                    self.plan.left.push((&entry.place, why));
                    continue;
                }
                (Here::Other, _) => {
                    self.plan.left.push((&entry.place, "something else has its name here"));
                    continue;
                }
                (Here::Blocked, _) => continue, // already reported
            };
            let step = Step { unit, path: self.staged(unit, &path), entry: Some(entry) };
            match &entry.kind {
                Kind::Link(target) => self.plan.links.push((step, target)),
                Kind::File(file) => match originals.get(&(ground, name_of(entry, file))) {
                    Some((sha256, original)) if *sha256 == file.sha256 => {
                        self.plan.same.push((step, original.clone()));
                    }
                    _ => {
                        let original = (file.sha256, Original::Received(self.plan.files.len()));
                        originals.insert((ground, name_of(entry, file)), original);
                        self.plan.files.push(Receipt { step, file });
                    }
                },
                Kind::Dir => {}
            }
        }
        Ok(self.plan)
    }

    /// Examines the place of a directory, and plans the directory if it is missing.
    fn enter(&mut self, ground: usize, path: &Path, entry: Option<&'a Entry>) -> Result<Above, Error> {
        let at = &self.grounds[ground];
        if at.exists && path.as_os_str().is_empty() {
            if let Some(entry) = entry {
                self.plan.touched.insert((ground, path.to_owned()), entry.mtime);
            }
            return Ok(Above::Here);
        }
        if let Some(known) = self.above.get(&(ground, path.to_owned())) {
            return Ok(*known);
        }
        let parent = path.parent().unwrap_or(Path::new(""));
        let is_top = !at.exists && parent.as_os_str().is_empty();
        let above = match if is_top { Above::Here } else { self.enter(ground, parent, None)? } {
            Above::Blocked => Above::Blocked,
            Above::InUnit(unit) => Above::InUnit(unit),
            Above::Here => match at.look(path)? {
                None => Above::InUnit(self.unit(ground, path, true, false)),
                Some(found) if found.kind == FileType::Directory => {
                    if let Some(entry) = entry {
                        self.plan.touched.insert((ground, path.to_owned()), entry.mtime);
                    }
                    Above::Here
                }
                Some(found)
                    if self.force && matches!(found.kind, FileType::RegularFile | FileType::Symlink) =>
                {
                    Above::InUnit(self.unit(ground, path, true, true))
                }
                Some(_) => {
                    if let Some(entry) = entry {
                        let why = "it is no directory here; all that belongs in it is left, too";
                        self.plan.left.push((&entry.place, why));
                    }
                    Above::Blocked
                }
            },
        };
        if let Above::InUnit(unit) = above {
            let step = Step { unit, path: self.staged(unit, path), entry };
            self.plan.dirs.push(step);
        }
        self.above.insert((ground, path.to_owned()), above);
        Ok(above)
    }

    /// Examines the place of a file or link.
    fn look(&mut self, ground: usize, path: &Path, entry: &'a Entry) -> Result<Here, Error> {
        let parent = path.parent().unwrap_or(Path::new(""));
        Ok(match self.enter(ground, parent, None)? {
            Above::InUnit(unit) => Here::Missing(Some(unit)),
            Above::Blocked => Here::Blocked,
            Above::Here => match self.grounds[ground].look(path)? {
                None => Here::Missing(None),
                Some(found) => match (&entry.kind, found.kind) {
                    (Kind::File(_), FileType::RegularFile) | (Kind::Link(_), FileType::Symlink) => {
                        Here::Comparable
                    }
                    (_, FileType::RegularFile | FileType::Symlink) => Here::Other,
                    _ => {
                        self.plan.left.push((&entry.place, "something else has its name here"));
                        Here::Blocked
                    }
                },
            },
        })
    }

    fn unit(&mut self, ground: usize, path: &Path, is_dir: bool, replaces: bool) -> usize {
        let unit = Unit { ground, path: path.to_owned(), staged: staged(path), is_dir, replaces };
        self.plan.units.push(unit);
        self.plan.units.len() - 1
    }

    /// Returns the path of an item until its unit is complete.
    fn staged(&self, unit: usize, path: &Path) -> PathBuf {
        let unit = &self.plan.units[unit];
        match path.strip_prefix(&unit.path) {
            Ok(below) if !below.as_os_str().is_empty() => unit.staged.join(below),
            _ => unit.staged.clone(),
        }
    }

    /// Returns how a local file or link differs from its entry.
    fn why(&self, ground: usize, path: &Path, entry: &Entry) -> Result<&'static str, Error> {
        let found = self.grounds[ground].look(path)?;
        let (Some(found), Kind::File(file)) = (found, &entry.kind) else {
            return Ok("it points elsewhere here");
        };
        Ok(match found.mtime > entry.mtime {
            _ if found.size > file.size => "it is longer here",
            true => "it is newer here",
            false => "it differs here",
        })
    }
}

/// Returns whether a file is a lock: what is in it does not matter, and a process may hold it.
fn is_lock(place: &Place) -> bool {
    let locks = if place.evaluation.is_some() { &OF_EVALUATIONS[..] } else { &LOCKS };
    locks.iter().any(|lock| place.path == Path::new(lock))
}

/// Returns the path of the first entry that is the same file.
fn name_of<'a>(entry: &'a Entry, file: &'a File) -> &'a Path {
    file.same_file.as_deref().unwrap_or(&entry.place.path)
}

/// Returns whether a local file or link equals its entry. Reads a file, unless it is known to be the same
/// version.
fn equals(ground: &Ground, path: &Path, entry: &Entry, is_own: bool) -> Result<bool, Error> {
    let compared = ground.tree().and_then(|tree| match &entry.kind {
        Kind::Link(target) => Ok(tree.target(path)? == *target),
        Kind::File(file) => {
            let here = tree.open_file(path)?;
            let found = Stat::of(&here)?;
            if found.size != file.size || is_own && found.is_version_of(file, entry.mtime) {
                return Ok(found.size == file.size);
            }
            for piece in file.pieces() {
                if !piece.is_in(&here)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        Kind::Dir => Ok(false),
    });
    compared.map_err(|error| Error::io("read", &ground.shown(path), error))
}
