//! Runs that other systems made, read as they are. Nothing below such a run is ever written.
//!
//! A run with a record of its own (`.run/`) is ours, whatever else lies in it. What has none may be a run of a
//! layout in [`DISTINCT`] or [`VAGUE`]: [`Layout`](super::layout::Layout) carries which one, and the readers of the record
//! (`Meta::read`, `Recorded::read`, `Attempts::read`, the `Observer`) answer from what that layout tells. So tools
//! that read runs need not know of it; tools that write them refuse one in a line (`Foreign::refuse`).
//!
//! # A module for another layout
//!
//! 1. A file here, named for the system, with a unit struct that implements [`ForeignLayout`], and a line in
//!    [`DISTINCT`], the more specific layout first, or in [`VAGUE`].
//! 2. [`ForeignLayout::is_run`]: by the names in the directory alone wherever these are enough. Where they are
//!    not, a small file may be read (`Listing::document`). Discovery asks every directory that is no run of ours,
//!    down to three levels, so neither a data set nor a subdirectory of another run may be taken for a run.
//! 3. [`ForeignLayout::is_holder`], if runs lie deeper than three levels, such as below a directory of a date: a
//!    holder is no level.
//! 4. [`ForeignLayout::account`]: name, times, state, progress, settings. It never fails: unreadable
//!    parts are reported in [`Account::damage`], a line each, and the rest is returned. Documents are read by
//!    [`Fields::read`], which bounds their size and accepts NaN, bytes that are no UTF-8, and null.
//! 5. [`ForeignLayout::metrics`], unless what run-metrics finds by itself is right: `metrics.csv`, `results.csv`,
//!    `progress.csv`, `trainer_state.json`, `logs/*.jsonl`, event files and the like. A new format is a variant
//!    of [`MetricFormat`] with its reader in run-metrics.
//! 6. [`ForeignLayout::logs`], [`ForeignLayout::evaluations`] where there are any. Checkpoints are found by their
//!    names (run-checkpoint); a layout with others sets `account.meta.checkpoint`.
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
mod rl_practice;
mod sacred;
mod settings;
mod stealthrl;
mod submitit;
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

/// Layouts that cannot be mistaken, the more specific first.
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

/// Layouts known by a single file, which a program may also leave beside runs. Only a directory that no other layout
/// fits, and that holds no runs of those, is a run of one of these.
const VAGUE: [&dyn ForeignLayout; 4] = [&NanoGpt, &Baselines, &Keras, &TensorBoard];

/// How another system lays out its runs.
pub trait ForeignLayout: fmt::Debug + Sync {
    /// Returns what the layout is called in details, JSON and messages.
    fn name(&self) -> &'static str;

    /// Says whether a directory is a run.
    fn is_run(&self, listing: &Listing) -> bool;

    /// Says whether a directory is no run and holds runs of this layout, so that it does not count as a level.
    fn is_holder(&self, _listing: &Listing) -> bool {
        false
    }

    /// Tells what the files of a run say of it.
    fn account(&self, run: &Path) -> Account;

    /// Says which files hold the metrics.
    fn metrics(&self, _run: &Path) -> MetricFiles {
        MetricFiles::Usual
    }

    /// Returns the logs, if there are any, by what each holds.
    fn logs(&self, _run: &Path) -> Logs {
        Logs::default()
    }

    /// Returns the evaluations of the checkpoints of a run that the system itself made.
    fn evaluations(&self, _run: &Path) -> Vec<ForeignEvaluations> {
        Vec::new()
    }

    /// Returns how a run is asked to stop. Runs of other layouts are never signalled.
    fn stop(&self, _run: &Path) -> Option<StopWay> {
        None
    }
}

/// Where the metrics of a run are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MetricFiles {
    /// Where run-metrics finds them, as what a trainer left behind.
    Usual,
    /// There, or else printed to this log.
    UsualOrPrinted(PathBuf),
    /// In these files, which all count, of one format. None means that there are no metrics.
    Files(MetricFormat, Vec<MetricFile>),
}

/// How the rows of a file are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricFormat {
    /// A JSON object a line.
    Lines,
    /// A table with a header: CSV.
    Table,
    /// Lines that a trainer printed, in the formats that run-exec reads from the output.
    Printed,
    /// `TensorBoard`'s event files.
    Events,
    /// Files of `MLflow`'s file store, each with one metric, whose name is the prefix.
    Mlflow,
    /// The metrics of Sacred's file storage.
    Sacred,
    /// The datastore of a W&B run.
    Wandb,
}

/// A file with metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricFile {
    /// The file. It need not exist.
    pub path: PathBuf,
    /// Put before the names of its metrics.
    pub prefix: String,
}

impl MetricFile {
    /// Names a file whose metrics keep their names.
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

/// How a run is asked to stop.
#[derive(Clone, Debug)]
pub struct StopWay {
    /// Its process, where that is proven to be the run's trainer: SIGTERM goes to exactly this one.
    pub process: Option<crate::process::stat::Stat>,
    /// Why there is none, in a few words.
    pub unproven: Option<String>,
    /// A file that the trainer looks for: making it asks the run to stop.
    pub file: PathBuf,
}

/// A layout, as a run carries it.
#[derive(Clone, Copy)]
pub struct Foreign(&'static dyn ForeignLayout);

impl Foreign {
    /// Returns the layout of a run at `path`, if it is one of another system.
    pub(super) fn of(path: &Path) -> Option<Self> {
        Self::of_listing(&Listing::read(path).ok()?)
    }

    /// Does the same for a directory that was listed. A directory that holds runs of ours is none of another system:
    /// whatever a program left beside them hides none of them.
    pub(super) fn of_listing(listing: &Listing) -> Option<Self> {
        let fits = |layout: &&&dyn ForeignLayout| layout.is_run(listing);
        let vague = || VAGUE.iter().find(fits).filter(|_| !beside::holds_others(listing));
        let layout = DISTINCT.iter().find(fits).or_else(vague)?;
        (!beside::holds_ours(listing)).then_some(Self(*layout))
    }

    /// Returns that of a run in no known layout.
    pub(super) fn unknown() -> Self {
        Self(&Unknown)
    }

    /// Says whether it is that.
    pub fn is_unknown(self) -> bool {
        self == Self::unknown()
    }

    /// Refuses what would write into a run.
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

/// Says whether a directory holds runs and is none, so that what is in it lies no deeper.
pub(super) fn is_holder(listing: &Listing) -> bool {
    DISTINCT.iter().chain(&VAGUE).any(|layout| layout.is_holder(listing))
}

/// Says whether a directory whose name begins with a dot may hold runs.
pub(super) fn is_hidden_holder(name: &OsStr) -> bool {
    name == guild::HOME
}

/// Says whether a directory holds evaluations, of ours or of another system: neither a run nor a holder of runs.
pub(super) fn has_evaluations(listing: &Listing) -> bool {
    listing.has_dir(super::layout::EVAL_RECORD_DIR)
        || listing.has_file("eval_config.yaml") && !beside::holds_ours(listing)
}
