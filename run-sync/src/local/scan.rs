//! Lists the files, directories and links below the directories of a run. Follows no link.

use super::root::{Root, Stat, open_dir_at};
use crate::format::entry::{Place, ROOT};
use rustix::fs::{AtFlags, Dir, FileType, readlinkat, statat};
use std::collections::HashMap;
use std::ffi::{CStr, OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// The content of the directories of a run.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    /// Files, directories and links, in the order of their places.
    pub(crate) found: Vec<Found>,
    /// Other items, such as pipes.
    pub(crate) others: Vec<Place>,
    /// Items that could not be read, and why.
    pub(crate) unreadable: Vec<(Place, io::Error)>,
}

/// A file, directory or link of a run.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// The place of the item.
    pub(crate) place: Place,
    /// The state of the item.
    pub(crate) stat: Stat,
    /// The target of a link.
    pub(crate) target: Option<OsString>,
    /// Path of the first file in the same root directory that is the same file.
    pub(crate) same_file: Option<PathBuf>,
}

/// Files that a backup keeps in a record, and which are no part of the backup.
const OURS: [&str; 3] = ["backup.jsonl", "backup.journal", ".backup.journal.tmp"];
/// The directory in which run-eval keeps checkpoints during their evaluation, at the top of a run.
const PINS: &[u8] = b".eval-pins";
/// Start and end of the names that files of an unfinished restore have.
pub(crate) const RESTORED: (&str, &str) = (".run-sync-", ".part");

impl Scan {
    /// Lists what lies below directories.
    pub(crate) fn of(roots: &[Root]) -> Self {
        let mut scan = Self::default();
        for root in roots {
            let mut walk = Walk { root, scan: &mut scan, first: HashMap::new() };
            walk.all();
        }
        scan.found.sort_by(|one, other| one.place.cmp(&other.place));
        scan
    }
}

struct Walk<'a> {
    root: &'a Root,
    scan: &'a mut Scan,
    /// Files with several names: their indices in the list, by device and inode.
    first: HashMap<(u64, u64), Vec<usize>>,
}

impl Walk<'_> {
    fn all(&mut self) {
        let mut left: Vec<PathBuf> = Vec::new();
        if self.root.only.is_none() {
            match Stat::of(self.root.directory()) {
                Ok(stat) => self.found(Path::new(ROOT), stat, None),
                Err(error) => self.unreadable(Path::new(ROOT), error),
            }
        }
        self.inside(self.root.directory(), Path::new(""), &mut left);
        while let Some(path) = left.pop() {
            match self.open(&path) {
                Ok(directory) => self.inside(&directory, &path, &mut left),
                Err(error) if is_gone(&error) => {}
                Err(error) => self.unreadable(&path, error),
            }
        }
        for mut same in std::mem::take(&mut self.first).into_values() {
            same.sort_by(|one, other| self.scan.found[*one].place.cmp(&self.scan.found[*other].place));
            if let [first, others @ ..] = same.as_slice() {
                let path = self.scan.found[*first].place.path.clone();
                for other in others {
                    self.scan.found[*other].same_file = Some(path.clone());
                }
            }
        }
    }

    fn open(&self, path: &Path) -> io::Result<OwnedFd> {
        let mut names = path.iter();
        let first = names.next().unwrap_or_default();
        names.try_fold(open_dir_at(self.root.directory(), first)?, open_dir_at)
    }

    /// Lists one directory; adds its directories to `left`.
    fn inside(&mut self, directory: &OwnedFd, path: &Path, left: &mut Vec<PathBuf>) {
        let entries = match Dir::read_from(directory) {
            Ok(entries) => entries,
            Err(error) => return self.unreadable(path, error.into()),
        };
        for entry in entries {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => return self.unreadable(path, error.into()),
            };
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") || !self.belongs(path, name.to_bytes()) {
                continue;
            }
            let below = path.join(OsStr::from_bytes(name.to_bytes()));
            match self.look(directory, name, &below) {
                Ok(FileType::Directory) => left.push(below),
                Ok(_) => {}
                Err(error) if is_gone(&error) => {}
                Err(error) => self.unreadable(&below, error),
            }
        }
    }

    fn belongs(&self, directory: &Path, name: &[u8]) -> bool {
        let is_top = directory.as_os_str().is_empty();
        let is_record = self.root.evaluation.is_none()
            && [".run", ".batch"].iter().any(|record| directory == Path::new(record));
        let is_ours = is_top && name == PINS
            || is_record && OURS.iter().any(|ours| ours.as_bytes() == name)
            || name.starts_with(RESTORED.0.as_bytes()) && name.ends_with(RESTORED.1.as_bytes());
        let is_wanted =
            !is_top || self.root.only.is_none_or(|only| only.iter().any(|wanted| wanted.as_bytes() == name));
        is_wanted && !is_ours
    }

    fn look(&mut self, directory: &OwnedFd, name: &CStr, path: &Path) -> io::Result<FileType> {
        let stat = Stat::from(&statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?);
        let target = match stat.kind {
            FileType::RegularFile | FileType::Directory => None,
            FileType::Symlink => {
                Some(OsString::from_vec(readlinkat(directory, name, Vec::new())?.into_bytes()))
            }
            other => {
                self.scan.others.push(self.place(path));
                return Ok(other);
            }
        };
        if stat.kind == FileType::RegularFile && stat.links > 1 {
            let at = self.scan.found.len();
            self.first.entry((stat.device, stat.inode)).or_default().push(at);
        }
        self.found(path, stat, target);
        Ok(stat.kind)
    }

    fn found(&mut self, path: &Path, stat: Stat, target: Option<OsString>) {
        let place = self.place(path);
        self.scan.found.push(Found { place, stat, target, same_file: None });
    }

    fn place(&self, path: &Path) -> Place {
        Place { evaluation: self.root.evaluation.clone(), path: path.to_owned() }
    }

    fn unreadable(&mut self, path: &Path, error: io::Error) {
        let place = self.place(path);
        self.scan.unreadable.push((place, error));
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}
