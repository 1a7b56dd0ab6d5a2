//! Evaluations: what was measured of the checkpoints of a run, beside the directory that holds the
//! run: `eval_runs/<run>_<label>/step_<step>_<label>/`. Written by run-eval, read by whoever shows a run.

use super::batch::BatchDir;
use super::layout::Layout;
use super::open::{Document, RunDir, read_document};
use crate::error::Error;
use crate::fsio::read::read_text;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::{BTreeSet, HashMap};
use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// `.eval/meta.json`: what is evaluated, and how. Written before the evaluation starts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Evaluation {
    /// Version of the record.
    pub schema: u32,
    /// `UUIDv7` of the evaluation, which its processes carry as `RUN_ID`.
    pub eval_id: String,
    /// The run's id, as in its meta.json.
    pub run_id: String,
    /// The run's name.
    pub run_name: String,
    /// What the evaluations of this kind are called.
    pub label: String,
    /// The checkpoint's step, if it has one.
    pub step: Option<u64>,
    /// The checkpoint's path, below the run where it lies there.
    pub checkpoint: String,
    /// What was evaluated, so that a checkpoint which has changed is told from it.
    pub content: Content,
    /// The command with its placeholders, secrets redacted.
    pub command: Vec<String>,
    /// When it was decided to evaluate it.
    pub created: Timestamp,
    /// Version of the suite.
    pub tool_version: String,
}

/// A checkpoint's content, as far as a look at its files tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// Lengths of all its files together.
    pub bytes: u64,
    /// How many files it has.
    pub files: u64,
    /// Newest time of modification, in nanoseconds since 1970.
    pub modified_ns: i64,
}

/// `.eval/metrics.json`: figures of what an evaluation has measured, so that nobody needs to read tables to
/// tell how it went. It is written when the command has ended well, before that end is recorded: it is there
/// for each that has completed, and may be for one that died.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Measured {
    /// Version of the record.
    pub schema: u32,
    /// The checkpoint's step, if it has one.
    pub step: Option<u64>,
    /// Number of rows.
    pub rows: u64,
    /// Figures over the rows of each column that holds numbers and nothing else and does not count the rows,
    /// as status.json of a run has them, in the order of the columns.
    pub metrics: Map<String, Value>,
}

impl Document for Measured {
    fn schema(&self) -> u32 {
        self.schema
    }
}

impl Measured {
    /// Reads the figures of an evaluation.
    pub fn read(layout: &Layout) -> Result<Self, Error> {
        read_document(&layout.measured())
    }

    /// Returns the mean of each metric over the rows, NaN where none is finite.
    pub fn means(&self) -> impl Iterator<Item = (&str, f64)> {
        self.metrics
            .iter()
            .map(|(name, figures)| (name.as_str(), figures["mean"].as_f64().unwrap_or(f64::NAN)))
    }
}

impl Document for Evaluation {
    fn schema(&self) -> u32 {
        self.schema
    }
}

impl Evaluation {
    /// Reads the meta.json of an evaluation.
    pub fn read(layout: &Layout) -> Result<Self, Error> {
        read_document(&layout.meta())
    }
}

/// The evaluations of one run under one label. It says nothing of whether they exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evaluations {
    root: PathBuf,
    label: String,
}

impl Evaluations {
    /// Names those of a run below [`directory`].
    pub fn of(run: &RunDir, label: &str, directory: &Path) -> Self {
        let mut name = place(run).file_name().unwrap_or_default().to_owned();
        name.push(format!("_{label}"));
        Self { root: directory.join(name), label: label.to_owned() }
    }

    /// Returns the directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns what they are called.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Returns the file that says what was evaluated how.
    pub fn config(&self) -> PathBuf {
        self.root.join("eval_config.yaml")
    }

    /// Returns the file with the metrics of all.
    pub fn consolidated(&self) -> PathBuf {
        self.root.join("consolidated_metrics.csv")
    }

    /// Returns the file that is locked while run-eval works on them.
    pub fn lock(&self) -> PathBuf {
        self.root.join(".lock")
    }

    /// Returns the directory of the evaluation of a step, or of `final` and the like.
    pub fn evaluation(&self, step: &str) -> RunDir {
        RunDir::of_evaluation(self.root.join(format!("step_{step}_{}", self.label)))
    }

    /// Returns the id of the run that they are of, as `eval_config.yaml` says.
    pub fn run_id(&self) -> Option<String> {
        config_value(&self.config(), "run_id")
    }

    /// Returns what was measured of checkpoints with a step, in the order of the steps.
    pub fn measured(&self) -> Vec<(u64, Measured)> {
        let end = format!("_{}", self.label);
        let is_one = |name: &[u8]| name.starts_with(b"step_") && name.ends_with(end.as_bytes());
        let entries = fs::read_dir(&self.root).into_iter().flatten().flatten();
        let named = entries.filter(|entry| is_one(entry.file_name().as_encoded_bytes()));
        let mut all: Vec<(u64, Measured)> = named
            .filter_map(|entry| {
                let measured = Measured::read(&Layout::of_evaluation(entry.path())).ok()?;
                Some((measured.step?, measured))
            })
            .collect();
        all.sort_by_key(|(step, _)| *step);
        all
    }

    /// Returns the evaluations that were begun, with what each is of, in the order of their steps;
    /// those without step are the last.
    pub fn all(&self) -> Vec<(RunDir, Evaluation)> {
        let entries = fs::read_dir(&self.root).into_iter().flatten().flatten();
        let is_one = |name: &OsString| name.as_encoded_bytes().starts_with(b"step_");
        let paths = entries.filter(|entry| is_one(&entry.file_name())).map(|entry| entry.path());
        let dirs = paths.map(RunDir::of_evaluation);
        let mut all: Vec<(RunDir, Evaluation)> = dirs
            .filter_map(|dir| Evaluation::read(dir.layout()).ok().map(|evaluation| (dir, evaluation)))
            .filter(|(_, evaluation)| evaluation.label == self.label)
            .collect();
        all.sort_by(|(one_dir, one), (other_dir, other)| {
            let key = |evaluation: &Evaluation| (evaluation.step.is_none(), evaluation.step);
            (key(one), one_dir.layout().root()).cmp(&(key(other), other_dir.layout().root()))
        });
        all
    }
}

/// Returns the directory that holds the evaluations of a run: below `given`, else `$EVAL_RUNS_DIR`, else
/// `eval_runs` beside the directory that holds the run; of a run in a batch, one of the batch's name in it.
pub fn directory(run: &RunDir, given: Option<&Path>) -> PathBuf {
    let path = place(run);
    let parent = path.parent().unwrap_or(Path::new("/"));
    let batch = BatchDir::at(parent).ok().flatten().and_then(|_| parent.file_name());
    let holder = match batch {
        Some(_) => parent.parent().unwrap_or(Path::new("/")),
        None => parent,
    };
    let from_environment = || env::var_os("EVAL_RUNS_DIR").filter(|dir| !dir.is_empty()).map(PathBuf::from);
    let top = given.map(Path::to_owned).or_else(from_environment);
    let top = top.unwrap_or_else(|| holder.parent().unwrap_or(Path::new("/")).join("eval_runs"));
    match batch {
        Some(batch) => top.join(batch),
        None => top,
    }
}

/// Returns the path of a run, absolute, the last part of which is its name.
fn place(run: &RunDir) -> PathBuf {
    let path = run.absolute();
    match path.file_name() {
        Some(_) => path,
        None => path.canonicalize().unwrap_or(path), // it ends in `..`
    }
}

/// Finds the evaluations of runs. What a directory holds is read once, since those of many runs lie in one.
#[derive(Debug, Default)]
pub struct Finder {
    given: Option<PathBuf>,
    listed: Mutex<HashMap<PathBuf, Arc<BTreeSet<OsString>>>>,
}

impl Finder {
    /// Makes one that looks below `given`, else where evaluations are by default.
    pub fn new(given: Option<&Path>) -> Self {
        Self { given: given.map(Path::to_owned), listed: Mutex::default() }
    }

    /// Returns the evaluations of a run, by label, that lie where they are written to.
    pub fn of_run(&self, run: &RunDir, run_id: &str) -> Vec<Evaluations> {
        let mut prefix = place(run).file_name().unwrap_or_default().to_owned();
        prefix.push("_");
        let directory = directory(run, self.given.as_deref());
        let names = self.names(&directory);
        let named = names.range(prefix.clone()..);
        let named = named.take_while(|name| name.as_encoded_bytes().starts_with(prefix.as_encoded_bytes()));
        let mut found: Vec<Evaluations> = named
            .filter_map(|name| {
                let root = directory.join(name);
                let label = config_value(&root.join("eval_config.yaml"), "label")?;
                Some(Evaluations { root, label })
            })
            .filter(|one| one.run_id().as_deref() == Some(run_id))
            .collect();
        found.sort_by(|one, other| one.label.cmp(&other.label));
        found
    }

    fn names(&self, directory: &Path) -> Arc<BTreeSet<OsString>> {
        let mut listed = self.listed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(names) = listed.get(directory) {
            return Arc::clone(names);
        }
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        let names = Arc::new(entries.map(|entry| entry.file_name()).collect());
        listed.insert(directory.to_owned(), Arc::clone(&names));
        names
    }
}

/// Returns a value of `eval_config.yaml`, which run-eval writes as `key: "JSON"`, a line each; quotes may
/// be missing.
fn config_value(path: &Path, key: &str) -> Option<String> {
    let text = read_text(path).ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?.trim();
    serde_json::from_str(value).ok().or_else(|| Some(value.to_owned()))
}
