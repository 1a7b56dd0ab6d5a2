//! The directories of a run's evaluations, and how to find them: beside the directory that holds the run,
//! `eval_runs/<run>_<label>/step_<step>_<label>/`. Written by run-eval, read by every tool that shows a run.

use super::batch::BatchDir;
use super::evaluation::{Evaluation, Measured};
use super::layout::EVAL_RECORD_DIR;
use super::open::{Document, RunDir, read_document};
use super::record::document;
use crate::error::Error;
use crate::fsio::atomic::{Durability, replace};
use crate::fsio::join;
use crate::fsio::read::read_text;
use crate::fsio::write::make_dir;
use crate::message::complain;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashMap};
use std::env;
use std::ffi::OsString;
use std::fs::{self, DirEntry};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// The document that identifies the run of a directory of evaluations.
const IDENTITY: &str = "evaluations.json";

/// The same for people and other programs; the tools read it only if [`IDENTITY`] is missing.
const VIEW: &str = "eval_config.yaml";

/// `.eval/evaluations.json`: the run of the evaluations, and the options of the last run-eval.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Identity {
    /// Version of the record.
    pub schema: u32,
    /// The run's id, as in its meta.json.
    pub run_id: String,
    /// The run's name.
    pub run_name: String,
    /// The run's directory.
    pub run: String,
    /// The label of the evaluations.
    pub label: String,
    /// The command with its placeholders, secrets redacted.
    pub command: Vec<String>,
    /// The value of `--steps`.
    pub steps: String,
    /// The value of `--checkpoint`.
    pub checkpoint: Option<String>,
    /// The value of `--timeout`, in seconds.
    pub timeout: Option<f64>,
}

impl Document for Identity {
    fn schema(&self) -> u32 {
        self.schema
    }
}

impl Identity {
    /// Returns the text of `eval_config.yaml`: a line for each value, which is JSON and so YAML.
    fn view(&self) -> String {
        let values = serde_json::to_value(self).unwrap_or_default();
        let pairs = values.as_object().into_iter().flatten().filter(|(key, _)| *key != "schema");
        let lines: String = pairs.map(|(key, value)| format!("{key}: {value}\n")).collect();
        format!("# Written by run-eval(1) for people, of the last time that it was executed.\n{lines}")
    }
}

/// The run and label of a directory of evaluations.
#[derive(Debug, PartialEq, Eq)]
struct Owner {
    run_id: String,
    label: String,
}

/// The evaluations of a run under a label, which need not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evaluations {
    root: PathBuf,
    label: String,
}

impl Evaluations {
    /// Names the evaluations of a run below [`directory`].
    pub fn of(run: &RunDir, label: &str, directory: &Path) -> Self {
        let mut name = place(run).file_name().unwrap_or_default().to_owned();
        name.push(format!("_{label}"));
        Self { root: directory.join(name), label: label.to_owned() }
    }

    /// Returns the directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the label.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Returns the directory of their common record.
    pub(super) fn record(&self) -> PathBuf {
        self.root.join(EVAL_RECORD_DIR)
    }

    /// Returns the file that identifies their run and options.
    pub(super) fn identity_file(&self) -> PathBuf {
        self.record().join(IDENTITY)
    }

    /// Returns the same file for people and other programs.
    pub(super) fn view(&self) -> PathBuf {
        self.root.join(VIEW)
    }

    /// Returns the file with the metrics of all evaluations.
    pub fn consolidated(&self) -> PathBuf {
        self.root.join("consolidated_metrics.csv")
    }

    /// Returns the file that run-eval locks.
    pub fn lock(&self) -> PathBuf {
        self.root.join(".lock")
    }

    /// Returns the directory of the evaluation of a step, or of `final` and the like.
    pub fn evaluation(&self, step: &str) -> RunDir {
        RunDir::of_evaluation(self.root.join(format!("step_{step}_{}", self.label)))
    }

    /// Records their run and the options of this run-eval. Only the holder of the lock may call this.
    pub fn identify(&self, identity: &Identity) -> Result<(), Error> {
        let (record, path) = (self.record(), self.identity_file());
        make_dir(&record).map_err(|error| Error::io("write to", &record, error))?;
        let written = document(identity).and_then(|bytes| replace(&path, &bytes, Durability::Power));
        written.map_err(|error| Error::io("write", &path, error))?;
        let view = self.view();
        if let Err(error) = replace(&view, identity.view().as_bytes(), Durability::Process) {
            complain(&Error::io("write", &view, error)); // the tools do not need it
        }
        Ok(())
    }

    /// Returns the id of their run; `None` if the directory does not contain it.
    pub fn run_id(&self) -> Result<Option<String>, Error> {
        Ok(owner(&self.root)?.map(|owner| owner.run_id))
    }

    /// Returns the options of their last run-eval; `None` if they are not recorded.
    pub fn identity(&self) -> Option<Identity> {
        read_document(&self.identity_file()).ok()
    }

    /// Returns the evaluations of the last run that was evaluated under a label, below the directory of
    /// evaluations of `run`.
    pub fn latest(run: &RunDir, label: &str, given: Option<&Path>) -> Option<Self> {
        let directory = directory(run, given);
        let is_of_batch = BatchDir::of(run).is_some();
        let top = directory.parent().filter(|_| is_of_batch).unwrap_or(&directory);
        let below =
            |path: &Path| fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
        let (own, others): (Vec<PathBuf>, Vec<PathBuf>) =
            below(top).partition(|path| path.join(EVAL_RECORD_DIR).join(IDENTITY).is_file());
        let all = own.into_iter().chain(others.iter().flat_map(|path| below(path)));
        let end = format!("_{label}");
        let labelled = all.filter(|path| path.as_os_str().as_encoded_bytes().ends_with(end.as_bytes()));
        let dated = labelled.filter_map(|root| {
            let evaluations = Self { root, label: label.to_owned() };
            let time = fs::metadata(evaluations.identity_file()).and_then(|file| file.modified()).ok()?;
            evaluations.identity().filter(|identity| identity.label == label)?;
            Some((time, evaluations))
        });
        dated.max_by_key(|(time, _)| *time).map(|(_, evaluations)| evaluations)
    }

    /// Returns the results for checkpoints with a step, in the order of the steps. Warns of damaged files.
    pub fn measured(&self) -> Vec<(u64, Measured)> {
        let end = format!("_{}", self.label);
        let dirs = self.dirs().inspect_err(complain).unwrap_or_default();
        let named = dirs
            .into_iter()
            .filter(|dir| dir.layout().root().as_os_str().as_encoded_bytes().ends_with(end.as_bytes()));
        let mut all: Vec<(u64, Measured)> = named
            .filter_map(|dir| {
                let measured = there(&dir.layout().measured(), || Measured::read(dir.layout()))?;
                Some((measured.step?, measured))
            })
            .collect();
        all.sort_by_key(|(step, _)| *step);
        all
    }

    /// Returns the evaluations that have begun, with their subjects, in the order of their steps; those
    /// without a step come last. Leaves out damaged ones, with a warning.
    pub fn all(&self) -> Result<Vec<(RunDir, Evaluation)>, Error> {
        let mut all: Vec<(RunDir, Evaluation)> = self
            .dirs()?
            .into_iter()
            .filter_map(|dir| {
                let evaluation = there(&dir.layout().meta(), || Evaluation::read(dir.layout()))?;
                Some((dir, evaluation))
            })
            .filter(|(_, evaluation)| evaluation.label == self.label)
            .collect();
        all.sort_by(|(one_dir, one), (other_dir, other)| {
            let key =
                |evaluation: &Evaluation| (evaluation.step.is_none(), evaluation.epoch, evaluation.step);
            (key(one), one_dir.layout().root()).cmp(&(key(other), other_dir.layout().root()))
        });
        Ok(all)
    }

    /// Returns the evaluations that have begun and have intact records, in any order. Does not warn of the
    /// others: [`Self::all`] does.
    pub fn intact(&self) -> Result<Vec<(RunDir, Evaluation)>, Error> {
        let read = |dir: RunDir| Evaluation::read(dir.layout()).ok().map(|evaluation| (dir, evaluation));
        let all = self.dirs()?.into_iter().filter_map(read);
        Ok(all.filter(|(_, evaluation)| evaluation.label == self.label).collect())
    }

    /// Returns the directories of the evaluations; empty if none has begun.
    fn dirs(&self) -> Result<Vec<RunDir>, Error> {
        let entries = match fs::read_dir(&self.root) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.and_then(Iterator::collect::<io::Result<Vec<_>>>),
        };
        let entries = entries.map_err(|error| Error::io("read", &self.root, error).at_fault())?;
        let is_one = |name: &OsString| name.as_encoded_bytes().starts_with(b"step_");
        let paths = entries.iter().filter(|entry| is_one(&entry.file_name())).map(DirEntry::path);
        Ok(paths.map(RunDir::of_evaluation).collect())
    }
}

/// Reads a file of an evaluation, if it exists: an evaluation that is being created has none. Warns of
/// damage.
fn there<T>(path: &Path, read: impl FnOnce() -> Result<T, Error>) -> Option<T> {
    fs::symlink_metadata(path).ok()?;
    read().inspect_err(complain).ok()
}

/// Returns the directory that holds the evaluations of a run: below `given`, else `$EVAL_RUNS_DIR`, else
/// `eval_runs` beside the directory that holds the run; for a run in a batch, the directory in it that is
/// named after the batch.
pub fn directory(run: &RunDir, given: Option<&Path>) -> PathBuf {
    directory_below(place(run).parent().unwrap_or(Path::new("/")), given)
}

/// Like [`directory`], for the runs of this directory.
fn directory_below(parent: &Path, given: Option<&Path>) -> PathBuf {
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

/// Returns the absolute path of a run, whose last part is its name.
fn place(run: &RunDir) -> PathBuf {
    let path = run.absolute();
    match path.file_name() {
        Some(_) => path,
        None => path.canonicalize().unwrap_or(path), // the path ends in `..`
    }
}

/// The entries of a directory of evaluations.
#[derive(Debug)]
struct Listed {
    directory: PathBuf,
    names: BTreeSet<OsString>,
}

/// Finds the evaluations of runs. Reads each directory once, because many runs share one.
#[derive(Debug, Default)]
pub struct Finder {
    given: Option<PathBuf>,
    is_silent: bool,
    /// By the directory of the runs.
    listed: Mutex<HashMap<PathBuf, Arc<Listed>>>,
}

impl Finder {
    /// Creates a finder that looks below `given`, else in the default directory.
    pub fn new(given: Option<&Path>) -> Self {
        Self { given: given.map(Path::to_owned), ..Self::default() }
    }

    /// Makes it say nothing of evaluations that cannot be read, as when it was reported before.
    #[must_use]
    pub fn silent(self) -> Self {
        Self { is_silent: true, ..self }
    }

    /// Returns the evaluations of a run in the default place, by label.
    pub fn of_run(&self, run: &RunDir, run_id: &str) -> Vec<Evaluations> {
        let path = place(run);
        let mut prefix = path.file_name().unwrap_or_default().to_owned();
        prefix.push("_");
        let listed = self.listed(path.parent().unwrap_or(Path::new("/")));
        let named = listed.names.range(prefix.clone()..);
        let named = named.take_while(|name| name.as_encoded_bytes().starts_with(prefix.as_encoded_bytes()));
        let mut found: Vec<Evaluations> = named
            .filter_map(|name| {
                let root = listed.directory.join(name);
                let owner = owner(&root).unwrap_or_else(|error| {
                    if !self.is_silent {
                        complain(&error); // the others are still found
                    }
                    None
                });
                let owner = owner.filter(|owner| owner.run_id == run_id)?;
                Some(Evaluations { root, label: owner.label })
            })
            .collect();
        found.sort_by(|one, other| one.label.cmp(&other.label));
        found
    }

    fn listed(&self, parent: &Path) -> Arc<Listed> {
        let mut listed = self.listed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = listed.get(parent) {
            return Arc::clone(known);
        }
        let directory = directory_below(parent, self.given.as_deref());
        let entries = fs::read_dir(&directory).into_iter().flatten().flatten();
        let new = Arc::new(Listed { names: entries.map(|entry| entry.file_name()).collect(), directory });
        listed.insert(parent.to_owned(), Arc::clone(&new));
        new
    }
}

/// Returns the identity of a directory of evaluations; `None` if it has none.
fn owner(root: &Path) -> Result<Option<Owner>, Error> {
    let path = join([root, Path::new(EVAL_RECORD_DIR), Path::new(IDENTITY)]);
    match fs::symlink_metadata(&path) {
        Ok(_) => read_document(&path).map(|Identity { run_id, label, .. }| Some(Owner { run_id, label })),
        Err(_) => Ok(read_text(&root.join(VIEW)).ok().and_then(|view| owner_in(&view))),
    }
}

/// Reads the identity of a directory from run-tools 0.1, before [`IDENTITY`] existed, from the view: lines of
/// `key: "JSON"`, in which quotes may be missing.
fn owner_in(view: &str) -> Option<Owner> {
    let value = |key: &str| -> Option<String> {
        let value = view.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?.trim();
        serde_json::from_str(value).ok().or_else(|| Some(value.to_owned()))
    };
    Some(Owner { run_id: value("run_id")?, label: value("label")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        Identity {
            schema: 1,
            run_id: "01a2".to_owned(),
            run_name: "base".to_owned(),
            run: "/runs/base".to_owned(),
            label: "a \"b\": c".to_owned(),
            command: vec!["python".to_owned(), "a\nb".to_owned()],
            steps: "all".to_owned(),
            checkpoint: None,
            timeout: Some(1.5),
        }
    }

    #[test]
    fn the_view_has_a_line_for_each_value() {
        let view = identity().view();
        let expected = [
            "run_id: \"01a2\"",
            "run_name: \"base\"",
            "run: \"/runs/base\"",
            r#"label: "a \"b\": c""#,
            r#"command: ["python","a\nb"]"#,
            "steps: \"all\"",
            "checkpoint: null",
            "timeout: 1.5",
        ];
        assert_eq!(view.lines().skip(1).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_view_alone_says_whose_the_evaluations_are() {
        let owner = |view: &str| owner_in(view).map(|owner| (owner.run_id, owner.label));
        let said = Some(("01a2".to_owned(), "a \"b\": c".to_owned()));
        assert_eq!(owner(&identity().view()), said);
        assert_eq!(owner("label: math\nrun_id:01a2\n"), Some(("01a2".to_owned(), "math".to_owned())));
        assert_eq!(owner("run_id: 01a2\nlabels: x\n"), None);
        assert_eq!(owner(""), None);
    }
}
