//! Where a run keeps its metrics: files of the suite's own, or what trainers leave behind.

use super::kinds::{KINDS, Kind, has_scalars, rank};
use super::made_anew::{MadeAnew, above, process, started, track, version};
use super::resumptions::Resumptions;
use super::row::MetricRow;
pub use super::row_reader::SourceFormat;
use super::step_key::is_step;
use super::supersede::RowOrigin;
use super::trainer_state;
use run_common::fsio::open_regular;
use run_common::rundir::layout::Layout;
use std::cmp::Ordering;
use std::collections::{HashMap, HashSet, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};

/// How far below a run its trainer's files are looked for.
const DEPTH: usize = 4;

/// How many files and directories are looked at, in all and in one directory: a run may hold a data set.
const ENTRIES: usize = 20_000;
const IN_DIRECTORY: usize = 5_000;

/// How many event files are looked into for a first scalar.
const LOOKED_INTO: usize = 64;

/// Directories with metrics of something else than the training.
const ELSEWHERE: [&str; 5] = ["eval", "eval_runs", "evals", "evaluation", "wandb"];

/// Names of documents that trainers write anew with the present values.
pub(super) const SNAPSHOTS: [&str; 2] = ["status.json", "progress.json"];

/// Columns that are no metrics, and that files of one source may share.
const SHARED: [&str; 4] = ["time", "timestamp", "wall_time", "epoch"];

/// A source of metric rows.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricSource {
    format: SourceFormat,
    files: Vec<SourceFile>,
    /// The name of the step, where that was said.
    step_key: Option<String>,
}

/// A file of a source.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct SourceFile {
    pub(super) path: PathBuf,
    /// Its name in the offsets of attempts.jsonl, when it may have one.
    pub(super) name: Option<String>,
    /// Put before the names of its metrics.
    pub(super) prefix: String,
    /// The attempt it begins with, and its track.
    pub(super) origin: RowOrigin,
    /// Where the attempts after the first began in it, where attempts.jsonl does not say it.
    begun: Option<Vec<u64>>,
    /// All of it is of that attempt.
    pub(super) is_of_one: bool,
}

impl SourceFile {
    fn new(path: PathBuf) -> Self {
        let origin = RowOrigin::default();
        Self { path, name: None, prefix: String::new(), origin, begun: None, is_of_one: false }
    }

    /// Makes one of a file below a run that attempts append to.
    fn appended(path: PathBuf, root: &Path) -> Self {
        let name = path.strip_prefix(root).ok().map(|name| name.to_string_lossy().into_owned());
        Self { name, ..Self::new(path) }
    }

    /// Returns where the attempts after the first began in it.
    pub(super) fn boundaries(&self, attempts: &Resumptions) -> Vec<u64> {
        if let Some(begun) = &self.begun {
            return begun.clone();
        }
        let is_at_top = |name: &&String| !name.contains('/');
        let name = self.name.as_ref().filter(|name| is_at_top(name) || attempts.knows(name));
        name.map(|name| attempts.offsets(name)).unwrap_or_default()
    }
}

/// How much a source is worth: of several that a run has, the first counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rank {
    /// `--metrics` names it.
    Named,
    /// The program writes it for the suite.
    Written,
    /// Tables, JSON lines and event files of the trainer.
    Left,
    /// Rows read off the output.
    Scraped,
    /// What is saved with checkpoints, and lags behind.
    Saved,
    /// Present values.
    Present,
}

impl MetricSource {
    fn of(format: SourceFormat, files: Vec<SourceFile>) -> Self {
        Self { format, files, step_key: None }
    }

    /// Takes a file of JSON lines that attempts append to, if there is anything in it.
    pub(crate) fn lines(path: PathBuf) -> Option<Self> {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        is_filled(&path)
            .then(|| Self::of(SourceFormat::Lines, vec![SourceFile { name, ..SourceFile::new(path) }]))
    }

    /// Takes a file of JSON lines that was made elsewhere, and where the attempts after the first begin in it.
    pub(crate) fn made(path: PathBuf, begun: Vec<u64>) -> Self {
        Self::of(SourceFormat::Lines, vec![SourceFile { begun: Some(begun), ..SourceFile::new(path) }])
    }

    /// Takes a file below a run that was named, if there is anything in it. Its format follows from its name
    /// and its first byte.
    pub(crate) fn named(root: &Path, name: &str) -> Option<Self> {
        let path = root.join(name);
        let format = SourceFormat::of_named(&path)?;
        Some(Self::of(format, vec![SourceFile::appended(path, root)]))
    }

    /// Finds what a trainer left in a directory, the best first. Without anything there is no source.
    #[cfg(test)]
    pub(crate) fn of_trainer(root: &Path) -> Option<Self> {
        Self::left_below(root, &Resumptions::default).into_iter().next().map(|(_, source)| source)
    }

    /// Finds all that a trainer left below a directory, the best first.
    fn left_below(root: &Path, attempts: &dyn Fn() -> Resumptions) -> Vec<(Rank, Self)> {
        let found = TrainerFiles::below(root);
        let mut all: Vec<(Rank, Self)> =
            found.tables(root, attempts, true).into_iter().map(|source| (Rank::Left, source)).collect();
        all.extend(found.events(root, attempts).map(|source| (Rank::Left, source)));
        all.extend(found.tables(root, attempts, false).into_iter().map(|source| (Rank::Left, source)));
        all.extend(found.trainer_state().map(|source| (Rank::Saved, source)));
        all.extend(found.snapshot().map(|source| (Rank::Present, source)));
        all
    }

    /// Finds all sources of a run, the best first; `with_trainer` also those that its trainer left.
    pub(crate) fn candidates(layout: &Layout, with_trainer: bool) -> Vec<(Rank, Self)> {
        let mut all = if with_trainer {
            Self::left_below(layout.root(), &|| Resumptions::read(layout).unwrap_or_default())
        } else {
            Vec::new()
        };
        all.extend(Self::lines(layout.metrics()).map(|source| (Rank::Written, source)));
        all.extend(Self::lines(layout.scraped()).map(|source| (Rank::Scraped, source)));
        all.sort_by_key(|(rank, _)| *rank);
        all
    }

    /// Has the step be under this name.
    #[must_use]
    pub(crate) fn with_step_key(mut self, key: Option<&str>) -> Self {
        self.step_key = key.map(str::to_owned);
        self
    }

    /// Returns the name of the step, where that was said.
    pub(super) fn step_key(&self) -> Option<&str> {
        self.step_key.as_deref()
    }

    /// Returns how its rows are written.
    pub fn format(&self) -> SourceFormat {
        self.format
    }

    /// Returns the path of the file, if it is a single one of JSON lines whose rows are taken as they are.
    pub fn plain_lines(&self) -> Option<&Path> {
        match self.files.as_slice() {
            [file] if self.format == SourceFormat::Lines && self.step_key.is_none() => Some(&file.path),
            _ => None,
        }
    }

    /// Says whether its files are written side by side, and not one after another.
    pub(crate) fn has_tracks(&self) -> bool {
        self.format != SourceFormat::Events && self.files.iter().any(|file| file.origin.track > 0)
    }

    /// Returns where attempts after the first began in its first file.
    pub fn boundaries(&self, attempts: &Resumptions) -> Vec<u64> {
        self.files.first().map(|file| file.boundaries(attempts)).unwrap_or_default()
    }

    /// Returns the paths of its files.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(|file| file.path.as_path())
    }

    /// Returns the names of its files below a run.
    pub(crate) fn names(&self, root: &Path) -> Vec<String> {
        let name = |path: &Path| path.strip_prefix(root).unwrap_or(path).to_string_lossy().into_owned();
        self.paths().map(name).collect()
    }

    pub(super) fn files(&self) -> &[SourceFile] {
        &self.files
    }

    /// Says whether an attempt may have gone over the same ground as one before.
    pub(super) fn may_repeat(&self, attempts: &Resumptions) -> bool {
        let is_document = matches!(self.format, SourceFormat::TrainerState | SourceFormat::Snapshot);
        !is_document && (!attempts.is_single() || self.files.len() > 1)
    }
}

impl SourceFormat {
    /// Finds the format of a file that was named; `None` while there is nothing in it.
    fn of_named(path: &Path) -> Option<Self> {
        use std::io::Read;
        let mut start = Vec::new();
        open_regular(path).ok()??.take(64 << 10).read_to_end(&mut start).ok()?;
        let name = path.file_name()?.to_string_lossy();
        let first = start.trim_ascii_start().first()?;
        Some(if name.contains(".tfevents.") {
            Self::Events
        } else if name == "trainer_state.json" {
            Self::TrainerState
        } else if *first == b'{' && name.ends_with(".json") {
            let is_row = |line: &[u8]| MetricRow::parse(line).is_some();
            let mut lines = start.split_inclusive(|&byte| byte == b'\n').filter(|line| line.ends_with(b"\n"));
            let is_first = lines.next().is_some_and(is_row);
            if is_first && lines.next().is_some() { Self::Lines } else { Self::Snapshot }
        } else if *first == b'{' {
            Self::Lines
        } else {
            Self::Csv
        })
    }
}

/// Says whether a file has anything in it, also when it cannot be read: that is for its reader to say.
fn is_filled(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|file| file.is_file() && file.len() > 0)
}

/// The files of interest below a run, those nearer to its top first, then in natural order.
#[derive(Debug, Default)]
struct TrainerFiles {
    /// Tables and files of lines, by the number of their kind.
    tables: Vec<Vec<(usize, PathBuf)>>,
    states: Vec<(usize, PathBuf)>,
    events: Vec<(usize, PathBuf)>,
    snapshots: Vec<(usize, PathBuf)>,
}

impl TrainerFiles {
    /// Looks into the directories nearer to the top first, so that a data set hides nothing beside it.
    fn below(root: &Path) -> Self {
        let mut found = Self { tables: KINDS.iter().map(|_| Vec::new()).collect(), ..Self::default() };
        let mut directories = VecDeque::from([(1, root.to_owned())]);
        let mut left = ENTRIES;
        while let Some((depth, directory)) = directories.pop_front() {
            let Ok(entries) = fs::read_dir(&directory) else { continue };
            for entry in entries.take(IN_DIRECTORY.min(left)).filter_map(Result::ok) {
                left -= 1;
                let name = entry.file_name();
                let name = name.to_string_lossy();
                match entry.file_type() {
                    Ok(kind) if kind.is_file() => found.note(depth, &directory, &name),
                    Ok(kind) if kind.is_dir() && depth < DEPTH && !is_elsewhere(&name) => {
                        directories.push_back((depth + 1, entry.path()));
                    }
                    _ => {}
                }
            }
        }
        let lists = found.tables.iter_mut();
        for list in lists.chain([&mut found.states, &mut found.events, &mut found.snapshots]) {
            list.retain(|(_, path)| is_filled(path));
            list.sort_by(|(depth, path), (other_depth, other)| {
                depth.cmp(other_depth).then_with(|| natural(path, other))
            });
        }
        found
    }

    /// Takes a file, if its name is of interest.
    fn note(&mut self, depth: usize, directory: &Path, name: &str) {
        let file = || (depth, directory.join(name));
        if name == "trainer_state.json" {
            self.states.push(file());
        } else if name.contains(".tfevents.") {
            self.events.push(file());
        } else if SNAPSHOTS.contains(&name) {
            self.snapshots.push(file());
        } else if depth > 1 || name != "metrics.jsonl" {
            // The name of the run itself means nothing.
            let parent = directory.file_name().filter(|_| depth > 1).unwrap_or_default().to_string_lossy();
            for (kind, files) in KINDS.iter().zip(&mut self.tables) {
                if kind.may_be(&parent, name) {
                    files.push(file());
                }
            }
        }
    }

    /// Returns the tables and files of lines, the best of each kind: those that name steps, or those that do not.
    fn tables(&self, root: &Path, attempts: &dyn Fn() -> Resumptions, with_steps: bool) -> Vec<MetricSource> {
        let of = |(kind, files): (&Kind, &Vec<_>)| table(kind, files, root, attempts, with_steps);
        KINDS.iter().zip(&self.tables).filter_map(of).collect()
    }

    /// Takes the nearest document with present values.
    fn snapshot(&self) -> Option<MetricSource> {
        let has_row = |path: &&PathBuf| {
            let file = open_regular(path).ok().flatten();
            file.is_some_and(|file| super::snapshot::read(&file).is_ok_and(|row| row.is_some()))
        };
        let path = self.snapshots.iter().map(|(_, path)| path).find(has_row)?;
        Some(MetricSource::of(SourceFormat::Snapshot, vec![SourceFile::new(path.clone())]))
    }

    /// Takes the `trainer_state.json` that was saved last: at the top, which is written in the end, or
    /// in the checkpoint with the highest number, unless that is torn.
    fn trainer_state(&self) -> Option<MetricSource> {
        let checkpoint = |path: &Path| {
            let name = path.parent()?.file_name()?.to_str()?;
            name.strip_prefix("checkpoint-")?.parse::<u64>().ok()
        };
        let step = |path: &Path| Some(trainer_state::saved(&open_regular(path).ok()??)?.step);
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

    /// Takes all event files: a directory is a track of its own whose name precedes those of its
    /// metrics, but for directories that are made anew for every attempt.
    fn events(&self, root: &Path, attempts: &dyn Fn() -> Resumptions) -> Option<MetricSource> {
        self.events.iter().take(LOOKED_INTO).find(|(_, path)| has_scalars(path))?;
        let made_anew = MadeAnew::among(self.events.iter().map(|(_, path)| path), attempts);
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
            files.sort_by(|one, other| started(one).cmp(&started(other)).then_with(|| natural(one, other)));
            let mut processes: Vec<String> = Vec::new();
            for path in files {
                let process = process(path);
                if processes.last() != Some(&process) {
                    processes.push(process);
                }
                let of_one = made_anew.of(path).map(|one| one.attempt);
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

/// Says whether a directory holds no metrics of the training.
fn is_elsewhere(name: &str) -> bool {
    name.starts_with('.') || name.starts_with("step_") || ELSEWHERE.contains(&name)
}

/// Takes the nearest table of a kind. Lightning makes a directory `version_N` for every attempt; of other
/// kinds, several files of one directory are written side by side.
fn table(
    kind: &Kind,
    files: &[(usize, PathBuf)],
    root: &Path,
    attempts: &dyn Fn() -> Resumptions,
    with_steps: bool,
) -> Option<MetricSource> {
    let row = |(_, path): &(usize, PathBuf)| Some((path.clone(), kind.first_row(path)?));
    let (first, row) = files.iter().find_map(row)?;
    if row.step().is_some() != with_steps {
        return None;
    }
    let first = &first;
    let of = |files| Some(MetricSource::of(kind.format, files));
    if kind.is_many {
        let beside = files.iter().map(|(_, path)| path).filter(|path| path.parent() == first.parent());
        return of(side_by_side(kind, beside.collect(), root));
    }
    let made_anew = MadeAnew::among(files.iter().map(|(_, path)| path), attempts);
    if let Some(one) = made_anew.of(first) {
        let origin = |path: &PathBuf| made_anew.of(path).filter(|other| other.stem == one.stem);
        let file = |path: &PathBuf| SourceFile {
            origin: RowOrigin { attempt: origin(path).map_or(0, |one| one.attempt), ..RowOrigin::default() },
            is_of_one: true,
            ..SourceFile::new(path.clone())
        };
        let is_same = |path: &&PathBuf| origin(path).is_some() && path.file_name() == first.file_name();
        return of(files.iter().map(|(_, path)| path).filter(is_same).map(file).collect());
    }
    if version(first).is_none() {
        return of(vec![SourceFile::appended(first.clone(), root)]);
    }
    let siblings = files.iter().filter(|(_, path)| {
        path.file_name() == first.file_name() && version(path).is_some() && above(path) == above(first)
    });
    let file = |(attempt, (_, path)): (usize, &(usize, PathBuf))| SourceFile {
        origin: RowOrigin { attempt, ..RowOrigin::default() },
        ..SourceFile::new(path.clone())
    };
    of(siblings.enumerate().map(file).collect())
}

/// Makes a track of each file, the main one first. One that has a metric of the same name as the main one
/// gets its own name before those of its metrics.
fn side_by_side(kind: &Kind, mut paths: Vec<&PathBuf>, root: &Path) -> Vec<SourceFile> {
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    paths.sort_by_key(|path| rank(&name(path)));
    let mut known: HashSet<String> = HashSet::new();
    let mut files = Vec::new();
    for path in paths {
        let Some(row) = kind.first_row(path) else { continue };
        let is_metric = |name: &&str| !is_step(name) && !SHARED.contains(name);
        let metrics: Vec<String> =
            row.numbers().map(|(name, _)| name).filter(is_metric).map(str::to_owned).collect();
        let is_known =
            kind.format == SourceFormat::Lines && metrics.iter().any(|metric| known.contains(metric));
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        known.extend(metrics);
        files.push(SourceFile {
            prefix: if is_known { format!("{stem}/") } else { String::new() },
            origin: RowOrigin { track: files.len(), ..RowOrigin::default() },
            ..SourceFile::appended(path.clone(), root)
        });
    }
    files
}

/// Compares paths so that 2 comes before 10.
fn natural(one: &Path, other: &Path) -> Ordering {
    let (one, other) = (one.to_string_lossy(), other.to_string_lossy());
    let (mut one, mut other) = (one.as_ref(), other.as_ref());
    loop {
        let (first, second) = (piece(one), piece(other));
        let (Some(first), Some(second)) = (first, second) else { return first.cmp(&second) };
        let (small, large) = (first.trim_start_matches('0'), second.trim_start_matches('0'));
        let order = if is_digits(first) && is_digits(second) {
            small.len().cmp(&large.len()).then_with(|| small.cmp(large))
        } else {
            first.cmp(second)
        };
        if order.is_ne() {
            return order;
        }
        (one, other) = (&one[first.len()..], &other[second.len()..]);
    }
}

/// Returns what a text begins with: its digits, or what comes before the next ones.
fn piece(text: &str) -> Option<&str> {
    let is_digit = text.chars().next()?.is_ascii_digit();
    let end = text.find(|c: char| c.is_ascii_digit() != is_digit).unwrap_or(text.len());
    Some(&text[..end])
}

fn is_digits(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit())
}
