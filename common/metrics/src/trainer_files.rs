//! Finds the files below a run in which a trainer may keep its metrics, and combines them to sources
//! (run-dir(5)).

use super::kinds::{KINDS, Kind, has_scalars, rank};
use super::made_anew::{MadeAnew, above, process, started, track, version};
use super::resumptions::Resumptions;
use super::row::MetricRow;
use super::row_reader::SourceFormat;
use super::source::{MetricSource, Rank, SourceFile, is_filled};
use super::step_key::is_step;
use super::supersede::RowOrigin;
use super::{snapshot, trainer_state};
use run_common::fsio::{open_if_there, open_regular};
use run_common::natural::natural_paths;
use run_common::rundir::layout::Layout;
use run_common::wandb::is_datastore;
use std::collections::{HashMap, HashSet, VecDeque};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Maximum depth of a trainer's files below a run.
const DEPTH: usize = 5;

/// Directories at the top of a run that may be links, for example to another disk.
const LINKED: [&str; 12] = [
    "csv_logs",
    "lightning_logs",
    "log",
    "logs",
    "metrics",
    "output",
    "outputs",
    "results",
    "runs",
    "tb",
    "tb_logs",
    "tensorboard",
];

/// Such directories that hold nothing but metrics and the like.
const METRICS: [&str; 8] =
    ["csv_logs", "lightning_logs", "log", "logs", "metrics", "tb", "tb_logs", "tensorboard"];

/// Maximum number of entries to examine, in all and in one directory: a run may contain a data set.
const ENTRIES: usize = 20_000;
const IN_DIRECTORY: usize = 5_000;

/// Maximum number of event files to search for a first scalar.
const LOOKED_INTO: usize = 64;

/// Directories with metrics of something other than the training.
const ELSEWHERE: [&str; 4] = ["eval", "eval_runs", "evals", "evaluation"];

/// Names of documents with the current values, which trainers keep rewriting.
pub(super) const SNAPSHOTS: [&str; 2] = ["status.json", "progress.json"];

/// Columns that are not metrics, and that several files of a source may have.
const SHARED: [&str; 4] = ["time", "timestamp", "wall_time", "epoch"];

/// Finds the best source that a trainer left in a directory, if any.
#[cfg(test)]
pub(crate) fn of_trainer(root: &Path) -> Option<MetricSource> {
    left_below(root, false, &Resumptions::default).into_iter().next().map(|(_, source)| source)
}

/// Finds all sources of a run, the best first; with `with_trainer` including those that its trainer left.
pub(crate) fn candidates(layout: &Layout, with_trainer: bool) -> Vec<(Rank, MetricSource)> {
    let is_strict = layout.foreign().is_some();
    let mut all = if with_trainer {
        left_below(layout.root(), is_strict, &|| Resumptions::read(layout).unwrap_or_default())
    } else {
        Vec::new()
    };
    let written = layout.metrics();
    let is_unfit = is_strict && !written.is_file() && written.symlink_metadata().is_ok();
    let unfit =
        is_unfit.then(|| MetricSource::of(SourceFormat::Lines, vec![SourceFile::new(written.clone())]));
    all.extend(unfit.or_else(|| MetricSource::lines(written)).map(|source| (Rank::Written, source)));
    all.extend(MetricSource::lines(layout.scraped()).map(|source| (Rank::Scraped, source)));
    all.sort_by_key(|(rank, _)| *rank);
    all
}

/// Finds all sources that a trainer left below a directory, the best first. If `is_strict`, what cannot be read
/// is a source by its name, so that its reader reports the error and no other source stands in for it.
fn left_below(root: &Path, is_strict: bool, attempts: &dyn Fn() -> Resumptions) -> Vec<(Rank, MetricSource)> {
    let found = TrainerFiles::below(root, is_strict);
    let mut all: Vec<(Rank, MetricSource)> =
        found.tables(root, attempts, true).into_iter().map(|source| (Rank::Left, source)).collect();
    all.extend(found.closed.iter().map(|path| {
        let of_directory = SourceFile::new(path.clone());
        (Rank::Left, MetricSource::of(SourceFormat::Lines, vec![of_directory]))
    }));
    all.extend(found.events(root, attempts).map(|source| (Rank::Left, source)));
    all.extend(found.tables(root, attempts, false).into_iter().map(|source| (Rank::Left, source)));
    all.extend(found.datastores().map(|source| (Rank::Left, source)));
    all.extend(found.trainer_state().map(|source| (Rank::Saved, source)));
    all.extend(found.snapshot().map(|source| (Rank::Present, source)));
    all
}

/// The relevant files below a run, by depth and then in natural order.
#[derive(Debug, Default)]
struct TrainerFiles {
    /// Tables and files of lines, indexed by kind.
    tables: Vec<Vec<(usize, PathBuf)>>,
    states: Vec<(usize, PathBuf)>,
    events: Vec<(usize, PathBuf)>,
    datastores: Vec<(usize, PathBuf)>,
    snapshots: Vec<(usize, PathBuf)>,
    /// Directories of metrics that cannot be read.
    closed: Vec<PathBuf>,
    is_strict: bool,
}

impl TrainerFiles {
    /// Searches level by level, so that a data set cannot hide files beside it.
    fn below(root: &Path, is_strict: bool) -> Self {
        let tables = KINDS.iter().map(|_| Vec::new()).collect();
        let mut found = Self { tables, is_strict, ..Self::default() };
        let mut directories = VecDeque::from([(1, root.to_owned())]);
        let mut left = ENTRIES;
        let mut links = HashSet::new();
        let is_named = |name: &str| KINDS.iter().any(|kind| kind.is_named(name));
        while let Some((depth, directory)) = directories.pop_front() {
            let Ok(entries) = fs::read_dir(&directory) else {
                let is_of_metrics = || METRICS.iter().any(|name| directory.ends_with(name));
                found.closed.extend((is_strict && depth == 2 && is_of_metrics()).then_some(directory));
                continue;
            };
            for entry in entries.take(IN_DIRECTORY.min(left)).filter_map(Result::ok) {
                left -= 1;
                let name = entry.file_name();
                let name = name.to_string_lossy();
                let path = entry.path();
                let is_link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
                let kind =
                    if is_link { fs::metadata(&path).map(|to| to.file_type()) } else { entry.file_type() };
                match kind {
                    Ok(kind) if kind.is_file() => {
                        found.note(depth, &directory, &name);
                        links.extend(is_link.then_some(path));
                    }
                    Ok(kind) if kind.is_dir() && !(is_strict && is_named(&name)) => {
                        if depth == DEPTH || is_elsewhere(&directory, root, &name) {
                            continue;
                        }
                        let is_linked = || depth == 1 && LINKED.contains(&&*name) && leads_out(&path, root);
                        directories.extend((!is_link || is_linked()).then_some((depth + 1, path)));
                    }
                    _ if is_strict => found.note(depth, &directory, &name),
                    _ => {}
                }
            }
        }
        found.leave_out_doubles(&links);
        for list in found.lists() {
            list.retain(|(_, path)| is_filled(path) || is_strict && !path.is_file());
            list.sort_by(|(depth, path), (other_depth, other)| {
                depth.cmp(other_depth).then_with(|| natural_paths(path, other))
            });
        }
        found
    }

    fn lists(&mut self) -> impl Iterator<Item = &mut Vec<(usize, PathBuf)>> {
        let others = [&mut self.states, &mut self.events, &mut self.datastores, &mut self.snapshots];
        self.tables.iter_mut().chain(others)
    }

    /// Removes links to files that were also found directly.
    fn leave_out_doubles(&mut self, links: &HashSet<PathBuf>) {
        if links.is_empty() {
            return;
        }
        let identity = |path: &PathBuf| fs::metadata(path).ok().map(|file| (file.dev(), file.ino()));
        let files = self.lists().flatten().map(|(_, path)| &*path);
        let known: HashSet<_> = files.filter(|path| !links.contains(*path)).filter_map(identity).collect();
        let is_double =
            |path: &PathBuf| links.contains(path) && identity(path).is_some_and(|one| known.contains(&one));
        self.lists().for_each(|list| list.retain(|(_, path)| !is_double(path)));
    }

    /// Adds a file if its name is relevant.
    fn note(&mut self, depth: usize, directory: &Path, name: &str) {
        let file = || (depth, directory.join(name));
        if name == "trainer_state.json" {
            self.states.push(file());
        } else if name.contains(".tfevents.") {
            self.events.push(file());
        } else if is_datastore(name) {
            self.datastores.push(file());
        } else if SNAPSHOTS.contains(&name) {
            self.snapshots.push(file());
        } else if depth > 1 || name != "metrics.jsonl" {
            // The name of the run directory itself means nothing.
            let parent = directory.file_name().filter(|_| depth > 1).unwrap_or_default().to_string_lossy();
            for (kind, files) in KINDS.iter().zip(&mut self.tables) {
                if kind.may_be(&parent, name) {
                    files.push(file());
                }
            }
        }
    }

    /// Returns the tables and files of lines, the best of each kind: either those with steps, or those without.
    fn tables(&self, root: &Path, attempts: &dyn Fn() -> Resumptions, with_steps: bool) -> Vec<MetricSource> {
        let of =
            |(kind, files): (&Kind, &Vec<_>)| table(kind, files, root, attempts, with_steps, self.is_strict);
        KINDS.iter().zip(&self.tables).filter_map(of).collect()
    }

    /// Returns the datastores of W&B, which creates one for every attempt, in a directory of its own.
    fn datastores(&self) -> Option<MetricSource> {
        let file = |(attempt, (_, path)): (usize, &(usize, PathBuf))| SourceFile {
            origin: RowOrigin { attempt, ..RowOrigin::default() },
            ..SourceFile::new(path.clone())
        };
        let files: Vec<SourceFile> = self.datastores.iter().enumerate().map(file).collect();
        (!files.is_empty()).then(|| MetricSource::of(SourceFormat::Wandb, files))
    }

    /// Returns the nearest document with current values.
    fn snapshot(&self) -> Option<MetricSource> {
        let has_row = |path: &&PathBuf| {
            let file = open_regular(path).ok().flatten();
            file.is_some_and(|file| snapshot::read(&file, None).is_ok_and(|row| row.is_some()))
        };
        let path = self.snapshots.iter().map(|(_, path)| path).find(has_row)?;
        Some(MetricSource::of(SourceFormat::Snapshot, vec![SourceFile::new(path.clone())]))
    }

    /// Returns the latest readable `trainer_state.json`: that of the checkpoint with the highest number, or
    /// that at the top, which is written at the end.
    fn trainer_state(&self) -> Option<MetricSource> {
        let checkpoint = |path: &Path| {
            let name = path.parent()?.file_name()?.to_str()?;
            name.strip_prefix("checkpoint-")?.parse::<u64>().ok()
        };
        let step = |path: &Path| match open_if_there(path) {
            Ok(file) => Some(trainer_state::saved(&file?)?.step),
            Err(_) => self.is_strict.then_some(f64::INFINITY),
        };
        let (mut numbered, others): (Vec<_>, Vec<_>) =
            self.states.iter().map(|(_, path)| path).partition(|path| checkpoint(path).is_some());
        numbered.sort_by_key(|path| std::cmp::Reverse(checkpoint(path)));
        let newest = |paths: &[&PathBuf]| paths.iter().find_map(|path| Some((step(path)?, (*path).clone())));
        let path = match (newest(&others), newest(&numbered)) {
            (Some((step, _)), Some((later, path))) if later > step => path,
            (Some((_, path)), _) | (None, Some((_, path))) => path,
            (None, None) => return None,
        };
        Some(MetricSource::of(SourceFormat::TrainerState, vec![SourceFile::new(path)]))
    }

    /// Returns all event files. Each directory is a track, and its name the prefix of its metrics. Directories
    /// that are created for each attempt form one track.
    fn events(&self, root: &Path, attempts: &dyn Fn() -> Resumptions) -> Option<MetricSource> {
        self.events.iter().take(LOOKED_INTO).find(|(_, path)| has_scalars(path, self.is_strict))?;
        let made_anew = MadeAnew::directories(self.events.iter().map(|(_, path)| path), root, attempts);
        let mut tracks: Vec<(PathBuf, Vec<&PathBuf>)> = Vec::new();
        let mut places: HashMap<PathBuf, usize> = HashMap::new();
        for (_, path) in &self.events {
            let track = track(path, root, &made_anew);
            let place = *places.entry(track).or_insert_with_key(|track| {
                tracks.push((track.clone(), Vec::new()));
                tracks.len() - 1
            });
            tracks[place].1.push(path);
        }
        let common = tracks.iter().map(|(track, _)| track.clone()).reduce(|one, other| {
            one.components().zip(other.components()).take_while(|(a, b)| a == b).map(|(a, _)| a).collect()
        })?;
        let mut files_of_tracks = Vec::new();
        for (track, (directory, mut files)) in tracks.into_iter().enumerate() {
            let name = directory.strip_prefix(&common).unwrap_or(&directory).to_string_lossy();
            let prefix = if name.is_empty() { String::new() } else { format!("{name}/") };
            files.sort_by(|one, other| {
                started(one).cmp(&started(other)).then_with(|| natural_paths(one, other))
            });
            let mut processes: Vec<String> = Vec::new();
            for path in files {
                let process = process(path);
                if processes.last() != Some(&process) {
                    processes.push(process);
                }
                let of_one =
                    path.parent().and_then(|directory| made_anew.of(directory)).map(|one| one.attempt);
                let attempt = of_one.unwrap_or(processes.len() - 1);
                files_of_tracks.push(SourceFile {
                    prefix: prefix.clone(),
                    origin: RowOrigin { attempt, track, offset: 0 },
                    is_of_one: of_one.is_some(),
                    ..SourceFile::new(path.clone())
                });
            }
        }
        Some(MetricSource::of(SourceFormat::Events, files_of_tracks))
    }
}

/// Returns whether a link leads out of a run. The target of any other link is found directly.
fn leads_out(link: &Path, root: &Path) -> bool {
    match (fs::canonicalize(link), fs::canonicalize(root)) {
        (Ok(to), Ok(root)) => !to.starts_with(root),
        _ => false,
    }
}

/// Returns whether a directory contains no metrics of the training. The directory of a W&B run contains a
/// datastore, and copies of other files.
fn is_elsewhere(above: &Path, root: &Path, name: &str) -> bool {
    let mut parents = above.strip_prefix(root).unwrap_or(above).iter().rev();
    let is_of_wandb = parents.next().is_some_and(|name| name == "wandb") && !name.contains("run-");
    name.starts_with('.')
        || name.starts_with("step_")
        || ELSEWHERE.contains(&name)
        || is_of_wandb
        || parents.next().is_some_and(|name| name == "wandb")
}

/// Returns the nearest table of a kind, with the files that other attempts created like it. Lightning creates a
/// directory `version_N` for every attempt. Of some kinds, several files of one directory are written side by
/// side.
fn table(
    kind: &Kind,
    files: &[(usize, PathBuf)],
    root: &Path,
    attempts: &dyn Fn() -> Resumptions,
    with_steps: bool,
    is_strict: bool,
) -> Option<MetricSource> {
    let found = |(_, path): &(usize, PathBuf)| Some((path.clone(), kind.beginning(path, is_strict)?));
    let (first, beginning) = files.iter().find_map(found)?;
    if beginning.has_step() != with_steps {
        return None;
    }
    let first = &first;
    let of = |files| Some(MetricSource::of(kind.format, files));
    let paths = || files.iter().map(|(_, path)| path);
    let made_anew = MadeAnew::files(paths(), root, attempts);
    let is_beside = |path: &&PathBuf| path.parent() == first.parent();
    if kind.is_many {
        return of(side_by_side(kind, paths().filter(is_beside), &made_anew, root, files, is_strict));
    }
    if made_anew.of(first).is_some() {
        return of(of_attempts(first, files, &made_anew));
    }
    if version(first).is_none() {
        return of(vec![SourceFile::appended(first.clone(), root)]);
    }
    let siblings = paths().filter(|path| {
        path.file_name() == first.file_name() && version(path).is_some() && above(path) == above(first)
    });
    let file = |(attempt, path): (usize, &PathBuf)| SourceFile {
        origin: RowOrigin { attempt, ..RowOrigin::default() },
        ..SourceFile::new(path.clone())
    };
    of(siblings.enumerate().map(file).collect())
}

/// Returns a file with the files that other attempts created like it, in the order of the attempts.
fn of_attempts(first: &Path, files: &[(usize, PathBuf)], made_anew: &MadeAnew) -> Vec<SourceFile> {
    let stem = made_anew.of(first).map(|one| &one.stem);
    let like = files.iter().filter_map(|(_, path)| Some((path, made_anew.of(path)?)));
    let like = like.filter(|(_, one)| Some(&one.stem) == stem);
    let mut files: Vec<SourceFile> = like
        .map(|(path, one)| SourceFile {
            origin: RowOrigin { attempt: one.attempt, ..RowOrigin::default() },
            is_of_one: true,
            ..SourceFile::new(path.clone())
        })
        .collect();
    files.sort_by_key(|file| file.origin.attempt);
    files
}

/// Returns the files beside each other as tracks, the main one first, each with the files that other attempts
/// created like it. A file with a metric of the same name as an earlier one gets its own name as the prefix.
fn side_by_side<'a>(
    kind: &Kind,
    beside: impl Iterator<Item = &'a PathBuf>,
    made_anew: &MadeAnew,
    root: &Path,
    all: &[(usize, PathBuf)],
    is_strict: bool,
) -> Vec<SourceFile> {
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut paths: Vec<&PathBuf> = beside.collect();
    paths.sort_by_key(|path| rank(&name(path)));
    let mut known: HashSet<String> = HashSet::new();
    let mut stems: HashSet<&Path> = HashSet::new();
    let mut files = Vec::new();
    let mut track = 0;
    for path in paths {
        let Some(beginning) = kind.beginning(path, is_strict) else { continue };
        let made = made_anew.of(path);
        if made.is_some_and(|one| !stems.insert(&one.stem)) {
            continue; // it is in the track of similar files
        }
        let is_metric = |name: &&str| !is_step(name) && !SHARED.contains(name);
        let numbers = beginning.row().into_iter().flat_map(MetricRow::numbers);
        let metrics: Vec<String> =
            numbers.map(|(name, _)| name).filter(is_metric).map(str::to_owned).collect();
        let is_known =
            kind.format == SourceFormat::Lines && metrics.iter().any(|metric| known.contains(metric));
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        known.extend(metrics);
        let prefix = if is_known { format!("{stem}/") } else { String::new() };
        let of_track = match made {
            Some(_) => of_attempts(path, all, made_anew),
            None => vec![SourceFile::appended(path.clone(), root)],
        };
        files.extend(of_track.into_iter().map(|file| SourceFile {
            prefix: prefix.clone(),
            origin: RowOrigin { track, ..file.origin },
            ..file
        }));
        track += 1;
    }
    files
}
