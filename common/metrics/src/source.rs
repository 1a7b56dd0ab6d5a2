//! Where a run keeps its metrics: files of the suite's own, or what trainers leave behind.

use super::resumptions::Resumptions;
use super::supersede::RowOrigin;
use super::trainer_state;
use run_common::fsio::open_regular;
use std::cmp::Ordering;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use walkdir::WalkDir;

/// How far below a run its trainer's files are looked for.
const DEPTH: usize = 4;

/// How many files and directories are looked at: a run may hold a data set.
const ENTRIES: usize = 20_000;

/// Tables of metrics by their names, the better one first.
const TABLES: [&str; 3] = ["metrics.csv", "progress.csv", "monitor.csv"];

/// Directories with metrics of something else than the training.
const ELSEWHERE: [&str; 5] = ["eval", "eval_runs", "evals", "evaluation", "wandb"];

/// How the rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceFormat {
    /// A JSON object a line.
    Lines,
    /// A table with a header.
    Csv,
    /// What Hugging Face's Trainer saves.
    TrainerState,
    /// TensorBoard's event files.
    Events,
}

/// A source of metric rows.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricSource {
    format: SourceFormat,
    files: Vec<SourceFile>,
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
}

impl SourceFile {
    fn new(path: PathBuf) -> Self {
        Self { path, name: None, prefix: String::new(), origin: RowOrigin::default() }
    }

    /// Makes one of a file that attempts append to.
    fn appended(path: PathBuf) -> Self {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        Self { name, ..Self::new(path) }
    }
}

impl MetricSource {
    /// Takes a file of JSON lines that attempts append to, if there is anything in it.
    pub(crate) fn lines(path: PathBuf) -> Option<Self> {
        is_filled(&path)
            .then(|| Self { format: SourceFormat::Lines, files: vec![SourceFile::appended(path)] })
    }

    /// Finds what a trainer left in a directory: the first there is of a table, a
    /// `trainer_state.json` and event files. Without any of them there is no source.
    pub(crate) fn of_trainer(root: &Path) -> Option<Self> {
        let found = TrainerFiles::below(root);
        found.table().or_else(|| found.trainer_state()).or_else(|| found.events(root))
    }

    /// Returns how its rows are written.
    pub fn format(&self) -> SourceFormat {
        self.format
    }

    /// Returns the paths of its files.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(|file| file.path.as_path())
    }

    pub(super) fn files(&self) -> &[SourceFile] {
        &self.files
    }

    /// Says whether an attempt may have gone over the same ground as one before.
    pub(super) fn may_repeat(&self, attempts: &Resumptions) -> bool {
        self.format != SourceFormat::TrainerState && (!attempts.is_single() || self.files.len() > 1)
    }
}

/// Says whether a file has anything in it, also when it cannot be read: that is for its reader to say.
fn is_filled(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|file| file.is_file() && file.len() > 0)
}

/// The files of interest below a run, those nearer to its top first, then in natural order.
#[derive(Debug, Default)]
struct TrainerFiles {
    tables: Vec<(usize, PathBuf)>,
    states: Vec<(usize, PathBuf)>,
    events: Vec<(usize, PathBuf)>,
}

impl TrainerFiles {
    fn below(root: &Path) -> Self {
        let mut found = Self::default();
        let wanted = |entry: &walkdir::DirEntry| {
            let name = entry.file_name().to_string_lossy();
            let is_elsewhere =
                || name.starts_with('.') || name.starts_with("step_") || ELSEWHERE.contains(&&*name);
            entry.depth() == 0 || !entry.file_type().is_dir() || !is_elsewhere()
        };
        let walk = WalkDir::new(root).max_depth(DEPTH).into_iter().filter_entry(wanted);
        for entry in walk.take(ENTRIES).filter_map(Result::ok).filter(|entry| entry.file_type().is_file()) {
            let name = entry.file_name().to_string_lossy();
            let list = if TABLES.contains(&&*name) {
                &mut found.tables
            } else if name == "trainer_state.json" {
                &mut found.states
            } else if name.contains(".tfevents.") {
                &mut found.events
            } else {
                continue;
            };
            list.push((entry.depth(), entry.into_path()));
        }
        for list in [&mut found.tables, &mut found.states, &mut found.events] {
            list.retain(|(_, path)| is_filled(path));
            list.sort_by(|(depth, path), (other_depth, other)| {
                depth.cmp(other_depth).then_with(|| natural(path, other))
            });
        }
        found
    }

    /// Takes the best table. Lightning makes a directory `version_N` for every attempt.
    fn table(&self) -> Option<MetricSource> {
        let is = |path: &Path, name: &str| path.file_name().is_some_and(|file| file == name);
        let (depth, first) =
            TABLES.iter().find_map(|name| self.tables.iter().find(|(_, path)| is(path, name)))?;
        if version(first).is_none() {
            let file = if *depth == 1 {
                SourceFile::appended(first.clone())
            } else {
                SourceFile::new(first.clone())
            };
            return Some(MetricSource { format: SourceFormat::Csv, files: vec![file] });
        }
        let siblings = self.tables.iter().filter(|(_, path)| {
            path.file_name() == first.file_name() && version(path).is_some() && above(path) == above(first)
        });
        let file = |(attempt, (_, path)): (usize, &(usize, PathBuf))| SourceFile {
            origin: RowOrigin { attempt, track: 0 },
            ..SourceFile::new(path.clone())
        };
        Some(MetricSource { format: SourceFormat::Csv, files: siblings.enumerate().map(file).collect() })
    }

    /// Takes the `trainer_state.json` that was saved last: at the top, which is written in the end, or
    /// in the checkpoint with the highest number, unless that is torn.
    fn trainer_state(&self) -> Option<MetricSource> {
        let checkpoint = |path: &Path| {
            let name = path.parent()?.file_name()?.to_str()?;
            name.strip_prefix("checkpoint-")?.parse::<u64>().ok()
        };
        let step = |path: &Path| trainer_state::global_step(&open_regular(path).ok()??);
        let (mut numbered, others): (Vec<_>, Vec<_>) =
            self.states.iter().map(|(_, path)| path).partition(|path| checkpoint(path).is_some());
        numbered.sort_by_key(|path| std::cmp::Reverse(checkpoint(path)));
        let newest = |paths: &[&PathBuf]| paths.iter().find_map(|path| Some((step(path)?, (*path).clone())));
        let path = match (newest(&others), newest(&numbered)) {
            (Some((step, _)), Some((later, path))) if later > step => path,
            (Some((_, path)), _) | (None, Some((_, path))) => path,
            (None, None) => return None,
        };
        Some(MetricSource { format: SourceFormat::TrainerState, files: vec![SourceFile::new(path)] })
    }

    /// Takes all event files: a directory is a track of its own whose name precedes those of its
    /// metrics, but for directories that are made anew for every attempt.
    fn events(&self, root: &Path) -> Option<MetricSource> {
        let mut tracks: Vec<(PathBuf, Vec<&PathBuf>)> = Vec::new();
        let mut places: HashMap<PathBuf, usize> = HashMap::new();
        for (_, path) in &self.events {
            let track = track(path.strip_prefix(root).unwrap_or(path));
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
                let origin = RowOrigin { attempt: processes.len() - 1, track };
                files_of_tracks.push(SourceFile {
                    prefix: prefix.clone(),
                    origin,
                    ..SourceFile::new(path.clone())
                });
            }
        }
        Some(MetricSource { format: SourceFormat::Events, files: files_of_tracks })
    }
}

/// Returns the number in the name `version_N` of the directory of a file.
fn version(path: &Path) -> Option<u64> {
    path.parent()?.file_name()?.to_str()?.strip_prefix("version_")?.parse().ok()
}

/// Returns the directory above that of a file.
fn above(path: &Path) -> Option<&Path> {
    path.parent()?.parent()
}

/// Returns the directory of an event file without what changes from attempt to attempt:
/// `version_N` (Lightning), and what is directly below `runs` (PyTorch, Hugging Face).
fn track(file: &Path) -> PathBuf {
    let mut track = PathBuf::new();
    let mut is_below_runs = false;
    for part in file.parent().into_iter().flat_map(Path::components) {
        let name = part.as_os_str().to_string_lossy();
        let is_version =
            name.strip_prefix("version_").is_some_and(|number| number.bytes().all(|b| b.is_ascii_digit()));
        if !is_version && !std::mem::replace(&mut is_below_runs, name == "runs") {
            track.push(part);
        }
    }
    track
}

/// Returns when an event file was begun, in seconds since 1970: it is in the name.
fn started(path: &Path) -> u64 {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let time = name.split(".tfevents.").nth(1).and_then(|rest| rest.split('.').next()?.parse().ok());
    time.unwrap_or_default()
}

/// Returns what names the process that wrote an event file, `TIME.HOST.PID.NUMBER` being in the
/// name; without a process id there, each file is by one of its own.
fn process(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let words: Vec<&str> = name.split(".tfevents.").nth(1).unwrap_or(&name).split('.').collect();
    let is_number = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    match words.windows(2).skip(1).rposition(|pair| pair.iter().all(|word| is_number(word))) {
        Some(at) => words[1..at + 2].join("."),
        None => path.to_string_lossy().into_owned(),
    }
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
