//! Runs that other systems made. They are read as they are, and nothing below them is ever written.
//!
//! A run with a record (`.run/`) is a run of the suite, whatever else it contains. Any other directory may be a
//! run of a layout in [`DISTINCT`] or [`VAGUE`]: [`Layout`] names the layout, and the
//! readers of the record (`Meta::read`, `Recorded::read`, `Attempts::read`, the `Observer`) derive their
//! results from its files. So tools that read runs need no special cases; tools that write to runs refuse them
//! in one line (`Foreign::refuse`).
//!
//! # A module for another layout
//!
//! 1. A file here, named after the system, with a unit struct that implements [`ForeignLayout`], and a line in
//!    [`DISTINCT`] (more specific layouts first) or in [`VAGUE`].
//! 2. [`ForeignLayout::is_run`]: decides by the names in the directory alone if possible; otherwise it may read
//!    a small file (`Listing::document`). Discovery calls it for every directory down to three levels that is
//!    not a run of the suite, so neither a data set nor a subdirectory of another run may be mistaken for a
//!    run.
//! 3. [`ForeignLayout::is_holder`], if runs lie deeper than three levels, such as below a directory for each
//!    date: a holder does not count as a level.
//! 4. [`ForeignLayout::account`]: name, times, state, progress, settings. It never fails: unreadable parts are
//!    reported in [`Account::damage`], a line each, and the rest is returned. Documents are read by
//!    [`Fields::read`], which bounds their size and accepts NaN, invalid UTF-8, and null.
//! 5. [`ForeignLayout::metrics`], unless the usual search of run-metrics is right: `metrics.csv`,
//!    `results.csv`, `progress.csv`, `trainer_state.json`, `logs/*.jsonl`, event files and the like. A new
//!    format is a variant of [`MetricFormat`] with its reader in run-metrics. [`ForeignLayout::present`] names a
//!    document with the current values, which may be ahead of the metrics.
//! 6. [`ForeignLayout::logs`] and [`ForeignLayout::evaluations`], if there are any. Checkpoints are found by
//!    their names (run-checkpoint); a layout with other names sets `account.meta.checkpoint`.
//! 7. A test with a fixture that the system itself wrote, or one in exactly its format.

mod account;
mod baselines;
mod beside;
mod cached;
mod change;
mod connect4;
mod evaluations;
mod experiment_runner;
mod fields;
mod guild;
mod hydra;
mod keras;
mod lightning;
mod listing;
mod mlflow;
mod nanogpt;
mod pid_file;
mod ray_tune;
mod rl_evaluations;
mod rl_practice;
mod sacred;
mod settings;
mod stealthrl;
mod submitit;
mod table_head;
mod tensorboard;
mod traces;
mod transformers;
mod unknown;
mod wandb;
mod yolo;

pub use account::{Account, Claim};
pub(super) use change::stamp;
pub use evaluations::ForeignEvaluations;
pub use fields::Fields;
pub(super) use listing::Kind;
pub use listing::Listing;

use super::layout::Layout;
use super::meta::Meta;
use super::open::RunDir;
use crate::error::{Error, Exit};
use baselines::Baselines;
use connect4::Connect4;
use experiment_runner::ExperimentRunner;
use guild::Guild;
use hydra::Hydra;
use keras::Keras;
use lightning::Lightning;
use mlflow::Mlflow;
use nanogpt::NanoGpt;
use ray_tune::RayTune;
use rl_practice::RlPractice;
use sacred::Sacred;
use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use stealthrl::StealthRl;
use submitit::Submitit;
use tensorboard::TensorBoard;
use transformers::Transformers;
use unknown::Unknown;
use wandb::Wandb;
use yolo::Yolo;

/// Layouts that are unmistakable, more specific ones first.
const DISTINCT: [&dyn ForeignLayout; 14] = [
    &StealthRl,
    &ExperimentRunner,
    &Connect4,
    &RlPractice,
    &Wandb,
    &Mlflow,
    &Sacred,
    &Guild,
    &Submitit,
    &Hydra,
    &RayTune,
    &Yolo,
    &Transformers,
    &Lightning,
];

/// Layouts recognised by a single file, which a program may also leave beside runs. A directory has such a
/// layout only if no distinct layout fits, and if it contains no runs of distinct layouts.
const VAGUE: [&dyn ForeignLayout; 4] = [&NanoGpt, &Baselines, &Keras, &TensorBoard];

/// The layout of another system's runs.
pub trait ForeignLayout: fmt::Debug + Sync {
    /// Returns the name of the layout in details, JSON and messages.
    fn name(&self) -> &'static str;

    /// Returns whether a directory is a run.
    fn is_run(&self, listing: &Listing) -> bool;

    /// Returns whether a directory is not a run, but contains runs of this layout, so that it does not count as
    /// a level.
    fn is_holder(&self, _listing: &Listing) -> bool {
        false
    }

    /// Returns the facts in the files of a run.
    fn account(&self, run: &Path) -> Account;

    /// Returns the files with metrics.
    fn metrics(&self, _run: &Path) -> MetricFiles {
        MetricFiles::Usual
    }

    /// Returns the document with the current values, if the trainer keeps rewriting one beside the metrics.
    fn present(&self, _run: &Path) -> Option<PathBuf> {
        None
    }

    /// Returns the logs, if there are any.
    fn logs(&self, _run: &Path) -> Logs {
        Logs::default()
    }

    /// Returns the evaluations of the run's checkpoints that the system itself made.
    fn evaluations(&self, _run: &Path) -> Vec<ForeignEvaluations> {
        Vec::new()
    }

    /// Returns how to stop a run; `None` if the layout has no way. Runs of such layouts are never signalled.
    fn stop(&self, _run: &Path) -> Option<StopWay> {
        None
    }
}

/// The location of a run's metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MetricFiles {
    /// The usual files of trainers, which run-metrics finds.
    Usual,
    /// The usual files, or else this log of the output.
    UsualOrPrinted(PathBuf),
    /// These files, all of one format. An empty list means no metrics.
    Files(MetricFormat, Vec<MetricFile>),
}

/// The format of the rows in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricFormat {
    /// A JSON object per line.
    Lines,
    /// A table with a header: CSV.
    Table,
    /// Lines of a trainer's output, in the formats that run-exec recognises.
    Printed,
    /// `TensorBoard` event files.
    Events,
    /// Files of `MLflow`'s file store, each with one metric, which the prefix names.
    Mlflow,
    /// The metrics of Sacred's file storage.
    Sacred,
    /// The datastore of a W&B run.
    Wandb,
}

/// A file with metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricFile {
    /// Its path; the file need not exist.
    pub path: PathBuf,
    /// Prefix for the names of its metrics.
    pub prefix: String,
}

impl MetricFile {
    /// Creates a file of metrics without a prefix.
    pub fn new(path: PathBuf) -> Self {
        Self { path, prefix: String::new() }
    }
}

/// The logs of a run. Each may be missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Logs {
    /// Both streams.
    pub combined: Option<PathBuf>,
    /// The command's stdout.
    pub stdout: Option<PathBuf>,
    /// The command's stderr.
    pub stderr: Option<PathBuf>,
}

/// A way to stop a run.
#[derive(Clone, Debug)]
pub struct StopWay {
    /// Its process, if it is provably the run's trainer. Only this process gets SIGTERM.
    pub process: Option<crate::process::stat::Stat>,
    /// Why there is no such process, in a few words.
    pub unproven: Option<String>,
    /// A file that the trainer watches: creating it requests a stop.
    pub file: PathBuf,
}

/// The layout of a run of another system.
#[derive(Clone, Copy)]
pub struct Foreign(&'static dyn ForeignLayout);

impl Foreign {
    /// Returns the layout of the run at `path`; `None` if it is not a run of another system.
    pub(super) fn of(path: &Path) -> Option<Self> {
        Self::of_listing(&Listing::read(path).ok()?)
    }

    /// Like [`Self::of`], for a directory that was listed. A directory with runs of the suite is not a run of
    /// another system: files that a program left beside these runs must not hide them.
    pub(super) fn of_listing(listing: &Listing) -> Option<Self> {
        let fits = |layout: &&&dyn ForeignLayout| layout.is_run(listing);
        let vague = || VAGUE.iter().find(fits).filter(|_| !beside::holds_others(listing));
        let layout = DISTINCT.iter().find(fits).or_else(vague)?;
        (!beside::holds_ours(listing)).then_some(Self(*layout))
    }

    /// Returns the layout of the system that made a run: one without a record, or one that was adopted.
    pub fn origin(layout: &Layout, meta: &Meta) -> Option<Self> {
        layout.foreign().or_else(|| Self::named(meta.system.as_deref()?))
    }

    /// Returns the layout with this name, as meta.json names it.
    fn named(name: &str) -> Option<Self> {
        let all = DISTINCT.into_iter().chain(VAGUE).chain([&Unknown as &dyn ForeignLayout]);
        all.into_iter().find(|layout| layout.name() == name).map(Self)
    }

    /// Returns the layout of runs in no known layout.
    pub(super) fn unknown() -> Self {
        Self(&Unknown)
    }

    /// Returns whether this is the layout of runs in no known layout.
    pub fn is_unknown(self) -> bool {
        self == Self::unknown()
    }

    /// Returns the error of a tool that would write to a run.
    pub fn refuse(self, what: &str, run: &RunDir) -> Error {
        let shown = run.layout().root().display();
        Error::new(Exit::BadRun, format!("cannot {what} '{shown}'"))
            .because(format!("it is a run of {}, which run-tools only reads", self.0.name()))
            .hint("run-new --adopt gives it a record of its own")
    }
}

impl std::ops::Deref for Foreign {
    type Target = dyn ForeignLayout;

    fn deref(&self) -> &Self::Target {
        self.0
    }
}

impl fmt::Debug for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name())
    }
}

impl PartialEq for Foreign {
    fn eq(&self, other: &Self) -> bool {
        self.0.name() == other.0.name()
    }
}

impl Eq for Foreign {}

/// Returns whether a directory contains runs and is not a run, so that it does not count as a level.
pub(super) fn is_holder(listing: &Listing) -> bool {
    DISTINCT.iter().chain(&VAGUE).any(|layout| layout.is_holder(listing))
}

/// Returns whether a directory whose name begins with a dot may contain runs.
pub(super) fn is_hidden_holder(name: &OsStr) -> bool {
    name == guild::HOME
}

/// Returns whether a directory contains evaluations, of the suite or another system; it neither is nor contains
/// a run then.
pub(super) fn has_evaluations(listing: &Listing) -> bool {
    listing.has_dir(super::layout::EVAL_RECORD_DIR)
        || listing.has_file("eval_config.yaml") && !beside::holds_ours(listing)
}
