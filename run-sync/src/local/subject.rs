//! The subject of a backup: a run with its evaluations, or the files of a batch; its name in the store, and its
//! state.

use crate::format::manifest::SetKind;
use crate::local::root::Root;
use crate::set::SetName;
use run_checkpoint::{Checkpoint, Program, discover, latest};
use run_common::error::{Error, Exit};
use run_common::fsio::lock::{Held, ask};
use run_common::rundir::attempts::checkpoint_of;
use run_common::rundir::batch::{Batch, BatchDir};
use run_common::rundir::evaluations::Finder;
use run_common::rundir::layout::BATCH_FILES;
use run_common::rundir::meta::Meta;
use run_common::rundir::observe::Observer;
use run_common::rundir::open::RunDir;
use std::fs;
use std::path::{Path, PathBuf};

/// The names of a batch's own files.
const OF_BATCH: [&str; 4] = [".batch", BATCH_FILES[0], BATCH_FILES[1], BATCH_FILES[2]];

/// A run or a batch that is backed up.
#[derive(Debug)]
pub(crate) struct Subject {
    /// Name in the store.
    pub(crate) name: SetName,
    /// Run or batch.
    pub(crate) kind: SetKind,
    /// ID of the run or batch.
    pub(crate) run_id: String,
    /// Name of the run or batch.
    pub(crate) run_name: String,
    /// Present status.
    pub(crate) status: String,
    /// Something may write to the subject.
    pub(crate) is_live: bool,
    /// The run has ended.
    pub(crate) has_ended: bool,
    /// The directories of the subject; its own directory is the first.
    pub(crate) roots: Vec<Root>,
    /// The directory of the record, for receipts and the journal.
    pub(crate) record: PathBuf,
    /// Another system made the run: it has no record, and gets none.
    pub(crate) is_foreign: bool,
    /// The checkpoints; none for a batch.
    pub(crate) checkpoints: Vec<Checkpoint>,
}

impl Subject {
    /// Examines a run.
    pub(crate) fn run(run: &RunDir, name: Option<&str>, evaluations: Option<&Finder>) -> Result<Self, Error> {
        let layout = run.layout();
        let observed = Observer::default().observe(run)?;
        let meta = Meta::read(layout).ok();
        let is_live = !observed.status().has_ended() && observed.recorded.attempt().is_some()
            || ask(&layout.lock()).is_ok_and(|held| held == Held::Yes);
        let run_id = observed.recorded.run_id.clone();
        let found = evaluations.map(|finder| finder.of_run(run, &run_id)).unwrap_or_default();
        let failed = |path: &Path, error| Error::io("read", path, error);
        let mut roots = vec![Root::open(None, layout.root()).map_err(|error| failed(layout.root(), error))?];
        for evaluation in found {
            let root = Root::open(Some(evaluation.label()), evaluation.root());
            roots.push(root.map_err(|error| failed(evaluation.root(), error))?);
        }
        let program = if is_live { Program::Lives } else { Program::Ended };
        let recorded = meta.as_ref().and_then(|meta| checkpoint_of(meta, layout));
        let checkpoints = discover(layout, recorded.as_ref(), program)?;
        let own = own_name(&run.absolute())?;
        let batch = match BatchDir::of(&run.by_absolute()) {
            Some(batch) => Some(own_name(&RunDir::seen(batch.layout().root()).absolute())?),
            None => None,
        };
        let given = name.map_or_else(|| Some(SetName { batch, name: own.clone() }), SetName::parse);
        Ok(Self {
            name: given.ok_or_else(|| Error::usage("--as takes NAME or BATCH/NAME"))?,
            kind: SetKind::Run,
            run_id,
            run_name: meta.map_or(own, |meta| meta.run_name),
            status: observed.status().word().to_owned(),
            is_live,
            has_ended: observed.status().has_ended() && !is_live,
            roots,
            record: layout.record(),
            is_foreign: layout.foreign().is_some(),
            checkpoints,
        })
    }

    /// Examines the files of a batch itself.
    pub(crate) fn batch(batch: &BatchDir) -> Result<Self, Error> {
        let layout = batch.layout();
        let recorded = Batch::read(layout)?;
        let root = Root::open(None, layout.root());
        let root = root.map_err(|error| Error::io("read", layout.root(), error))?.only(&OF_BATCH);
        let name = own_name(&RunDir::seen(layout.root()).absolute())?;
        Ok(Self {
            name: SetName { batch: None, name },
            kind: SetKind::Batch,
            run_id: recorded.batch_id,
            run_name: recorded.name,
            status: String::new(),
            is_live: ask(&layout.lock()).is_ok_and(|held| held == Held::Yes),
            has_ended: true,
            roots: vec![root],
            record: layout.record(),
            is_foreign: false,
            checkpoints: Vec::new(),
        })
    }

    /// Returns the subject's own directory.
    pub(crate) fn path(&self) -> &Path {
        &self.roots[0].path
    }

    /// Returns the checkpoints that may be incomplete, because something may still write to them.
    pub(crate) fn incomplete(&self) -> impl Iterator<Item = &Checkpoint> {
        self.checkpoints.iter().filter(|one| self.is_live && !one.is_complete())
    }

    /// Counts the complete checkpoints, and returns the step of the last.
    pub(crate) fn counted(&self) -> (u64, Option<u64>) {
        let count = self.checkpoints.iter().filter(|one| one.is_complete()).count();
        (count as u64, latest(&self.checkpoints).and_then(|one| one.step))
    }
}

/// Returns the name of a directory; for a link to a directory beside it, the name of its target.
fn own_name(path: &Path) -> Result<String, Error> {
    let real = fs::canonicalize(path).map_err(|error| Error::io("read", path, error))?;
    let beside = path.parent().and_then(|above| fs::canonicalize(above).ok());
    let named = match path.file_name() {
        Some(name) if real.parent() != beside.as_deref() => Some(name),
        _ => real.file_name(),
    };
    let name = named.and_then(|name| name.to_str());
    name.map(str::to_owned).ok_or_else(|| {
        Error::new(Exit::BadRun, format!("'{}' has no name that a store can keep", path.display()))
    })
}
