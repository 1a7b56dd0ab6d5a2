//! The files in which a run keeps its metrics: those of the suite, or those that trainers leave.

use super::resumptions::Resumptions;
use super::row::MetricRow;
pub use super::row_reader::SourceFormat;
use super::supersede::RowOrigin;
use run_common::fsio::{open_if_there, open_regular};
use run_common::wandb::is_datastore;
use std::fs::{self, File};
use std::io;
use std::path::{Component, Path, PathBuf};

/// A source of metric rows.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricSource {
    format: SourceFormat,
    files: Vec<SourceFile>,
    /// The name of the step, if given.
    step_key: Option<String>,
    /// Whether a pipe, a directory or a dangling link instead of a file is an error; otherwise it counts as no file.
    is_strict: bool,
}

/// A file of a source.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct SourceFile {
    pub(super) path: PathBuf,
    /// Its name in the offsets of attempts.jsonl, if it may be there.
    pub(super) name: Option<String>,
    /// Prefix for the names of its metrics.
    pub(super) prefix: String,
    /// The attempt of its first row, and its track.
    pub(super) origin: RowOrigin,
    /// The offsets at which attempts after the first began, if attempts.jsonl does not have them.
    pub(super) begun: Option<Vec<u64>>,
    /// Whether all rows belong to one attempt.
    pub(super) is_of_one: bool,
}

impl SourceFile {
    pub(super) fn new(path: PathBuf) -> Self {
        let origin = RowOrigin::default();
        Self { path, name: None, prefix: String::new(), origin, begun: None, is_of_one: false }
    }

    /// Creates a source from a file below a run that attempts append to.
    pub(super) fn appended(path: PathBuf, root: &Path) -> Self {
        let name = path.strip_prefix(root).ok().map(|name| name.to_string_lossy().into_owned());
        Self { name, ..Self::new(path) }
    }

    /// Returns the offsets at which attempts after the first began in the file, which has this format.
    pub(super) fn boundaries(&self, format: SourceFormat, attempts: &Resumptions) -> Vec<u64> {
        if let Some(begun) = &self.begun {
            return begun.clone();
        }
        let is_at_top = |name: &&String| !name.contains('/');
        let name = self.name.as_ref().filter(|name| is_at_top(name) || attempts.knows(name));
        name.map(|name| attempts.boundaries(name, &self.path, format)).unwrap_or_default()
    }
}

/// The rank of a source: of several sources of a run, the smallest counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rank {
    /// `--metrics` names it.
    Named,
    /// The program writes it for the suite.
    Written,
    /// Tables, JSON lines and event files of the trainer.
    Left,
    /// Rows read from the output.
    Scraped,
    /// Documents saved with checkpoints, which lag behind.
    Saved,
    /// Documents with the current values only.
    Present,
}

impl Rank {
    /// Returns whether a trainer left the files on its own account: neither named by the user nor written for
    /// the suite.
    pub(crate) fn is_of_trainer(self) -> bool {
        matches!(self, Self::Left | Self::Saved | Self::Present)
    }
}

impl MetricSource {
    pub(super) fn of(format: SourceFormat, files: Vec<SourceFile>) -> Self {
        Self { format, files, step_key: None, is_strict: false }
    }

    /// Creates a source from a file of JSON lines that attempts append to; `None` if it is empty.
    pub(crate) fn lines(path: PathBuf) -> Option<Self> {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        is_filled(&path)
            .then(|| Self::of(SourceFormat::Lines, vec![SourceFile { name, ..SourceFile::new(path) }]))
    }

    /// Creates a source from a file of JSON lines that was converted elsewhere, with the offsets at which
    /// attempts after the first begin.
    pub(crate) fn made(path: PathBuf, begun: Vec<u64>) -> Self {
        Self::of(SourceFormat::Lines, vec![SourceFile { begun: Some(begun), ..SourceFile::new(path) }])
    }

    /// Checks the name of a file below a run, and returns it as typed.
    pub fn check_name(name: &str) -> Result<String, String> {
        let is_below = |part| matches!(part, Component::Normal(_) | Component::CurDir);
        if name.is_empty() || !Path::new(name).components().all(is_below) {
            return Err("must be below the run, such as out/history.csv".to_owned());
        }
        Ok(name.to_owned())
    }

    /// Creates a source from a named file below a run; `None` if it is empty, or elsewhere. Its name and its first bytes
    /// determine its format.
    pub(crate) fn named(root: &Path, name: &str) -> Option<Self> {
        Self::check_name(name).ok()?; // a record may be hostile
        let path = root.join(name);
        let format = SourceFormat::of_named(&path)?;
        Some(Self::of(format, vec![SourceFile::appended(path, root)]))
    }

    /// Sets the name of the step.
    #[must_use]
    pub(crate) fn with_step_key(mut self, key: Option<&str>) -> Self {
        self.step_key = key.map(str::to_owned);
        self
    }

    /// Treats a pipe, a directory or a dangling link instead of a file as an error.
    #[must_use]
    pub(crate) fn strict(self) -> Self {
        Self { is_strict: true, ..self }
    }

    /// Opens one of its files; `None` if there is none.
    pub(super) fn open(&self, path: &Path) -> io::Result<Option<File>> {
        if self.is_strict { open_if_there(path) } else { open_regular(path) }
    }

    /// Returns the total size of its files in bytes.
    pub(super) fn size(&self) -> u64 {
        self.files.iter().filter_map(|file| Some(fs::metadata(&file.path).ok()?.len())).sum()
    }

    /// Returns the name of the step, if given.
    pub(super) fn step_key(&self) -> Option<&str> {
        self.step_key.as_deref()
    }

    /// Returns the format of its rows.
    pub fn format(&self) -> SourceFormat {
        self.format
    }

    /// Returns the path of the file, if the source is a single file of JSON lines without a custom step.
    pub fn plain_lines(&self) -> Option<&Path> {
        match self.files.as_slice() {
            [file] if self.format == SourceFormat::Lines && self.step_key.is_none() => Some(&file.path),
            _ => None,
        }
    }

    /// Returns whether its files are written side by side rather than one after another.
    pub(crate) fn has_tracks(&self) -> bool {
        self.format != SourceFormat::Events && self.files.iter().any(|file| file.origin.track > 0)
    }

    /// Returns the offsets at which attempts after the first began in its first file.
    pub fn boundaries(&self, attempts: &Resumptions) -> Vec<u64> {
        self.files.first().map(|file| file.boundaries(self.format, attempts)).unwrap_or_default()
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

    /// Returns whether an attempt may have repeated steps of an earlier one.
    pub(super) fn may_repeat(&self, attempts: &Resumptions) -> bool {
        let is_document =
            matches!(self.format, SourceFormat::TrainerState | SourceFormat::Snapshot | SourceFormat::Sacred);
        !is_document && (!attempts.is_single() || self.files.len() > 1)
    }
}

impl SourceFormat {
    /// Determines the format of a named file; `None` if it is empty.
    fn of_named(path: &Path) -> Option<Self> {
        use std::io::Read;
        let mut start = Vec::new();
        open_regular(path).ok()??.take(64 << 10).read_to_end(&mut start).ok()?;
        let name = path.file_name()?.to_string_lossy();
        let first = start.trim_ascii_start().first()?;
        Some(if name.contains(".tfevents.") {
            Self::Events
        } else if is_datastore(&name) {
            Self::Wandb
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

/// Returns whether a file is not empty. An unreadable file counts, so that its reader reports the error.
pub(super) fn is_filled(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|file| file.is_file() && file.len() > 0)
}
