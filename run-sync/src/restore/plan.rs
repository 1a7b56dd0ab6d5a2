//! What a restore is to do: which directories, files and links are made, and where. Looks at what is here, and changes
//! nothing.

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

/// What is made under another name, and gets its own when it is complete: a file, a link, or a directory with all that
/// lies in it.
#[derive(Debug)]
pub(super) struct Unit {
    /// Which directory it is restored to.
    pub(super) ground: usize,
    /// Its path in the tree.
    pub(super) path: PathBuf,
    /// Its path until it is complete.
    pub(super) staged: PathBuf,
    /// Whether it is a directory.
    pub(super) is_dir: bool,
    /// Whether it takes the place of a file or link.
    pub(super) replaces: bool,
}

/// Something that is made, as a part of a unit.
#[derive(Debug)]
pub(super) struct Step<'a> {
    /// The unit.
    pub(super) unit: usize,
    /// The path in the tree at which it is made.
    pub(super) path: PathBuf,
    /// What it is; none for a directory that the manifest does not list.
    pub(super) entry: Option<&'a Entry>,
}

/// A file that is received.
#[derive(Debug)]
pub(super) struct Receipt<'a> {
    /// Where it is made.
    pub(super) step: Step<'a>,
    /// What it holds.
    pub(super) file: &'a File,
}

/// Where a file is that another is a name of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Original {
    /// It is received: its number.
    Received(usize),
    /// It is here: its path in the tree.
    Here(PathBuf),
}

/// What a restore is to do.
#[derive(Debug, Default)]
pub(super) struct Plan<'a> {
    /// What gets its name in the end.
    pub(super) units: Vec<Unit>,
    /// Directories, those above before those below.
    pub(super) dirs: Vec<Step<'a>>,
    /// Files to receive.
    pub(super) files: Vec<Receipt<'a>>,
    /// Links, and where they point.
    pub(super) links: Vec<(Step<'a>, &'a OsStr)>,
    /// Other names of files.
    pub(super) same: Vec<(Step<'a>, Original)>,
    /// Directories that are here and in which something gets its name, and their time in the manifest.
    pub(super) touched: HashMap<(usize, PathBuf), Stamp>,
    /// What stays as it is here though it differs, and why.
    pub(super) left: Vec<(&'a Place, &'static str)>,
    /// Files that are here already.
    pub(super) equal: usize,
}

impl<'a> Plan<'a> {
    /// The files and links that are made, second names of files among them.
    pub(super) fn made(&self) -> impl Iterator<Item = &Step<'a>> {
        let files = self.files.iter().map(|receipt| &receipt.step);
        files.chain(self.links.iter().map(|(step, _)| step)).chain(self.same.iter().map(|(step, _)| step))
    }
}

/// What is at the place of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Here {
    /// Nothing; it is a part of this unit, or a new one.
    Missing(Option<usize>),
    /// A file or link to compare with it.
    Comparable,
    /// Something of another kind, for which it can be exchanged.
    Other,
    /// A directory, where it is none; or a directory above is something else.
    Blocked,
}

/// What is at the place of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Above {
    /// A directory.
    Here,
    /// Nothing; it is a part of this unit.
    InUnit(usize),
    /// Something else.
    Blocked,
}

/// Makes a plan.
pub(super) struct Planner<'g, 'a> {
    grounds: &'g [Ground],
    force: bool,
    /// The manifest was written by this copy of the run: what it says of inodes is true here.
    is_own: bool,
    plan: Plan<'a>,
    above: HashMap<(usize, PathBuf), Above>,
}

impl<'g, 'a> Planner<'g, 'a> {
    /// Begins. With `force`, what differs here is replaced.
    pub(super) fn new(grounds: &'g [Ground], force: bool, is_own: bool) -> Self {
        Self { grounds, force, is_own, plan: Plan::default(), above: HashMap::new() }
    }

    /// Makes the plan for entries, each with the number of the directory that it is restored to.
    pub(super) fn plan(mut self, entries: &[(usize, &'a Entry)], threads: usize) -> Result<Plan<'a>, Error> {
        let mut found = Vec::with_capacity(entries.len());
        for (ground, entry) in entries {
            let path = self.grounds[*ground].path(&entry.place.path);
            if entry.kind == Kind::Dir {
                self.enter(*ground, &path, Some(entry))?;
                continue;
            }
            let here = self.look(*ground, &path, entry)?;
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
                (Here::Blocked, _) => continue, // said already
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

    /// Finds out what is at the place of a directory, which becomes a part of the plan if it is missing.
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

    /// Finds out what is at the place of a file or link.
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

    /// Returns the path at which something of a unit is made.
    fn staged(&self, unit: usize, path: &Path) -> PathBuf {
        let unit = &self.plan.units[unit];
        match path.strip_prefix(&unit.path) {
            Ok(below) if !below.as_os_str().is_empty() => unit.staged.join(below),
            _ => unit.staged.clone(),
        }
    }

    /// Returns how a file or link differs from its entry.
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

/// The path of the first entry that is the same file.
fn name_of<'a>(entry: &'a Entry, file: &'a File) -> &'a Path {
    file.same_file.as_deref().unwrap_or(&entry.place.path)
}

/// Returns whether a file or link here is what was stored. A file is read, unless it is known to be the version that was.
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
