//! Assembles the entries of a manifest, from the files in the run and from the entries of the previous manifest
//! whose files are gone. Pure.

use super::plan::{Step, entry};
use super::report::Report;
use crate::format::digest::Digest;
use crate::format::entry::{Absent, Entry, File, Kind, Place};
use crate::local::scan::{Found, Scan};
use run_common::rundir::receipts::Receipt;
use rustix::fs::FileType;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

/// The outcome of a file that was read.
#[derive(Debug)]
pub(crate) enum Kept {
    /// The file is stored.
    Stored(Box<Entry>),
    /// The file changed each time it was read.
    Torn,
    /// The file no longer exists.
    Gone,
    /// The file cannot be read, and why.
    Unreadable(String),
}

/// The material for the entries of a manifest.
pub(crate) struct Assembly<'a> {
    /// The entries of the previous manifest.
    pub(crate) before: &'a [Entry],
    /// Hash of the previous manifest.
    pub(crate) parent: Option<Digest>,
    /// What was found in the run.
    pub(crate) scan: &'a Scan,
    /// The step for each found item.
    pub(crate) steps: Vec<Step>,
    /// The outcomes of the files that were read, by their numbers.
    pub(crate) kept: HashMap<usize, Kept>,
    /// The backups and cleanups of the run so far.
    pub(crate) receipts: &'a [Receipt],
    /// The files and directories of each checkpoint, which belong together.
    pub(crate) groups: &'a [Vec<PathBuf>],
    /// The scan included the evaluations.
    pub(crate) evaluations: bool,
}

impl Assembly<'_> {
    /// Returns the entries in order. Reports files that are not stored, or not as they are.
    pub(crate) fn entries(mut self, report: &mut Report) -> Vec<Entry> {
        let before: HashMap<&Place, &Entry> = self.before.iter().map(|entry| (&entry.place, entry)).collect();
        let left = self.left_groups();
        let mut entries: BTreeMap<Place, Box<Entry>> = BTreeMap::new(); // boxed: half of its room is empty
        let mut names = Vec::new();
        let mut other_first: HashMap<Place, Place> = HashMap::new();
        let steps = std::mem::take(&mut self.steps);
        for (at, (found, step)) in self.scan.found.iter().zip(steps).enumerate() {
            let old = || before.get(&found.place).map(|entry| (*entry).clone());
            let is_left = is_below(&found.place, &left);
            let made = match (self.kept.remove(&at), step) {
                _ if is_left => {
                    report
                        .left
                        .extend((found.stat.kind == FileType::RegularFile).then(|| shown(&found.place)));
                    old()
                }
                (Some(Kept::Stored(entry)), step) => {
                    if let Step::Same(first) = step {
                        other_first.entry(beside(found, first)).or_insert_with(|| found.place.clone());
                    }
                    Some(*entry)
                }
                (None, Step::Known(entry)) => Some(*entry),
                (Some(Kept::Torn), _) | (None, Step::Read(_)) => {
                    report.left.push(shown(&found.place));
                    old()
                }
                (Some(Kept::Gone), _) => continue,
                (Some(Kept::Unreadable(why)), _) => {
                    report.unreadable.push(format!("{}: {why}", shown(&found.place)));
                    old()
                }
                (None, Step::Same(first)) => {
                    names.push((found, first));
                    continue;
                }
                (None, Step::Left(entry)) => {
                    report
                        .left
                        .extend((found.stat.kind == FileType::RegularFile).then(|| shown(&found.place)));
                    entry.map(|entry| *entry)
                }
            };
            if let Some(entry) = made {
                report.prefixes.extend(is_prefix(&entry).then(|| shown(&entry.place)));
                entries.insert(found.place.clone(), entry.into());
            }
        }
        for (found, first) in names {
            let first = beside(found, first);
            let stored = entries.get(&first).or_else(|| entries.get(other_first.get(&first)?));
            let made = stored.and_then(|stored| other_name(found, stored)).or_else(|| {
                report.left.push(shown(&found.place));
                before.get(&found.place).map(|entry| (*entry).clone())
            });
            entries.extend(made.map(|entry| (found.place.clone(), entry.into())));
        }
        for (place, error) in &self.scan.unreadable {
            report.unreadable.push(format!("{}: {}", shown(place), run_common::error::plain(error)));
        }
        report.others.extend(self.scan.others.iter().map(shown));
        self.add_absent(&mut entries, &left);
        entries.into_values().map(|entry| *entry).collect()
    }

    /// Returns the paths of checkpoints with a part that could not be stored: the other files would be of
    /// another moment.
    fn left_groups(&self) -> Vec<PathBuf> {
        let is_torn = |(at, kept): (&usize, &Kept)| {
            matches!(kept, Kept::Torn)
                .then(|| &self.scan.found[*at].place)
                .filter(|place| place.evaluation.is_none())
        };
        let torn: Vec<&Place> = self.kept.iter().filter_map(is_torn).collect();
        let is_left = |group: &&Vec<PathBuf>| torn.iter().any(|place| is_below(place, group));
        self.groups.iter().filter(is_left).flatten().cloned().collect()
    }

    /// Adds the entries of the previous manifest that are no longer in the run.
    fn add_absent(&self, entries: &mut BTreeMap<Place, Box<Entry>>, left: &[PathBuf]) {
        let cleaned = self.cleaned();
        let replaced = self.replaced(entries);
        let is_unseen = |place: &Place| {
            place.evaluation.is_some() && !self.evaluations
                || is_below(place, left)
                || self.scan.unreadable.iter().any(|(unreadable, _)| {
                    unreadable.evaluation == place.evaluation && place.path.starts_with(&unreadable.path)
                })
        };
        for entry in self.before {
            if entries.contains_key(&entry.place) {
                continue;
            }
            let absent = match entry.absent {
                Some(Absent::Cleaned) if is_below(&entry.place, &replaced) => Some(Absent::Gone),
                Some(absent) => Some(absent),
                None if is_unseen(&entry.place) => None,
                None if is_below(&entry.place, &replaced) => Some(Absent::Gone),
                None if entry.place.evaluation.is_none() && cleaned.contains(entry.place.path.as_path()) => {
                    Some(Absent::Cleaned)
                }
                None => Some(Absent::Gone),
            };
            entries.insert(entry.place.clone(), Entry { absent, ..entry.clone() }.into());
        }
    }

    /// Returns the directories that a cleanup removed and the program created again with other files. The
    /// cleaned files belong to another checkpoint, and a restore must not mix them into the new one.
    fn replaced(&self, entries: &BTreeMap<Place, Box<Entry>>) -> Vec<PathBuf> {
        let removed: HashSet<&Path> = self.removed().map(Path::new).collect();
        let was_removed = |entry: &&Entry| {
            let path = entry.place.path.as_path();
            let is_dir = matches!(entry.kind, Kind::Dir) && entry.place.evaluation.is_none();
            is_dir && (entry.absent == Some(Absent::Cleaned) || removed.contains(path))
        };
        let dirs: Vec<&Place> = self.before.iter().filter(was_removed).map(|entry| &entry.place).collect();
        if dirs.is_empty() {
            return Vec::new();
        }
        let before: HashMap<&Place, &Entry> = self.before.iter().map(|entry| (&entry.place, entry)).collect();
        let is_other = |place: &Place, entry: &Entry| match &entry.kind {
            Kind::File(file) => before.get(place).is_none_or(
                |before| !matches!(&before.kind, Kind::File(before) if before.sha256 == file.sha256),
            ),
            Kind::Dir | Kind::Link(_) => false,
        };
        let is_replaced = |place: &&Place| {
            let below = entries.range(*place..).take_while(|(below, _)| below.path.starts_with(&place.path));
            below.into_iter().any(|(place, entry)| is_other(place, entry))
        };
        dirs.into_iter().filter(is_replaced).map(|place| place.path.clone()).collect()
    }

    /// Returns the paths that were cleaned since the previous manifest, with the directories above them.
    fn cleaned(&self) -> HashSet<&Path> {
        self.removed().flat_map(|path| Path::new(path).ancestors()).collect()
    }

    /// Returns the paths that were cleaned since the previous manifest. Receipts count in their order in the
    /// file, whatever the clock said; without a receipt of that manifest, all of them count.
    fn removed(&self) -> impl Iterator<Item = &str> {
        let parent = self.parent.as_ref().map(Digest::to_string);
        let is_of_parent = |receipt: &Receipt| matches!(receipt, Receipt::Backup(backup) if Some(&backup.manifest) == parent.as_ref());
        let since = self.receipts.iter().rposition(is_of_parent).map_or(0, |at| at + 1);
        let of_cleanups = self.receipts[since..].iter().filter_map(|receipt| match receipt {
            Receipt::Clean(clean) => Some(&clean.removed),
            Receipt::Backup(_) => None,
        });
        of_cleanups.flatten().map(String::as_str)
    }
}

fn is_below(place: &Place, paths: &[PathBuf]) -> bool {
    place.evaluation.is_none() && paths.iter().any(|path| place.path.starts_with(path))
}

fn is_prefix(entry: &Entry) -> bool {
    matches!(&entry.kind, Kind::File(file) if file.prefix)
}

/// Returns a place in the same root directory as a found item.
fn beside(found: &Found, path: PathBuf) -> Place {
    Place { path, evaluation: found.place.evaluation.clone() }
}

/// Returns the entry of another name of a file.
fn other_name(found: &Found, first: &Entry) -> Option<Entry> {
    let (Kind::File(file), Some(key)) = (&first.kind, first.object()) else { return None };
    let file = File { key: Some(key), same_file: Some(first.place.path.clone()), ..file.clone() };
    Some(Entry { mode: first.mode, mtime: first.mtime, ..entry(found, Kind::File(file)) })
}

/// Returns a place as people read it.
pub(crate) fn shown(place: &Place) -> String {
    match &place.evaluation {
        Some(label) => format!("{label}: {}", place.path.display()),
        None => place.path.display().to_string(),
    }
}

/// Returns whether a run is unchanged, except for the identity of its files.
pub(crate) fn is_same(one: &[Entry], other: &[Entry]) -> bool {
    let plain = |entry: &Entry| match &entry.kind {
        Kind::File(file) => {
            Entry { kind: Kind::File(File { identity: None, ..file.clone() }), ..entry.clone() }
        }
        Kind::Dir | Kind::Link(_) => entry.clone(),
    };
    one.len() == other.len() && one.iter().zip(other).all(|(one, other)| plain(one) == plain(other))
}
