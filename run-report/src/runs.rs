//! The runs of a report: their selection and their names.

use crate::run::Run;
use run_common::cli::operands::open_runs;
use run_common::error::{Error, Exit};
use run_common::message::{complain, warn};
use run_common::pipeline::in_order;
use run_common::rundir::batch::BatchDir;
use run_common::rundir::evaluations::Finder;
use run_common::rundir::find::{Found, find};
use run_common::rundir::observe::Observer;
use run_common::rundir::open::RunDir;
use run_metrics::foreign::figures;
use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The selection of runs.
pub(crate) struct Selection<'a> {
    pub(crate) runs_dir: PathBuf,
    /// The operands; `None` for all runs below the directory.
    pub(crate) names: Option<&'a [String]>,
    /// Names on stdin end in NUL.
    pub(crate) null: bool,
    /// The directory of evaluations, if given.
    pub(crate) eval_dir: Option<&'a Path>,
    /// The tags that runs must have.
    pub(crate) tags: &'a [String],
}

/// The runs, and the worst exit status of reading them.
pub(crate) struct Runs {
    pub(crate) all: Vec<Run>,
    pub(crate) exit: Exit,
}

impl Runs {
    /// Reads the records of the selected runs. Reports errors and continues with the other runs.
    pub(crate) fn read(selection: &Selection) -> Result<Self, Error> {
        let runs_dir = selection.runs_dir.as_path();
        let opened = open(selection)?;
        let observer = Observer::of_many(None).with_figures(figures);
        let mut runs = Self { all: Vec::new(), exit: Exit::Ok };
        let above = std::path::absolute(runs_dir).unwrap_or_else(|_| runs_dir.to_owned());
        let finder = Finder::new(selection.eval_dir);
        let mut said = HashSet::new();
        let work = |run: Result<RunDir, Error>| {
            let run = run?;
            Run::read(&run, name_of(&run, &above), &observer, &finder)
        };
        in_order(opened, work, |run| match run {
            Ok(run) => {
                // The damage of the metrics is reported with the rows.
                if let Some(damage) = &run.seen.of_documents {
                    runs.exit = runs.exit.max(damage.exit);
                    complain(&damage.error());
                }
                // Several runs share a directory of evaluations.
                for why in run.foreign_evaluations.iter().flat_map(|evaluations| &evaluations.unread) {
                    runs.exit = runs.exit.max(Exit::BadRun);
                    if said.insert(why.clone()) {
                        complain(&Error::new(Exit::BadRun, why.as_str()));
                    }
                }
                if selection.tags.iter().all(|tag| run.meta.tags.contains(tag)) {
                    runs.all.push(run);
                }
                Ok(())
            }
            Err(error) => {
                runs.exit = runs.exit.max(error.exit());
                // A directory that cannot be entered is reported by the place of its record.
                said.insert(error.to_string().replace("/.run': ", "': "));
                complain(&error);
                Ok::<(), Error>(())
            }
        })?;
        if runs.all.is_empty() && runs.exit == Exit::Ok {
            warn(&why_none(selection));
        }
        runs.name_apart();
        Ok(runs)
    }

    /// Replaces names that several runs have by their paths.
    fn name_apart(&mut self) {
        let mut counts: HashMap<String, usize> = HashMap::new();
        for run in &self.all {
            *counts.entry(run.name.clone()).or_default() += 1;
        }
        for run in self.all.iter_mut().filter(|run| counts[&run.name] > 1) {
            run.name = run.path();
        }
    }
}

/// Says why a selection has no runs.
pub(crate) fn why_none(selection: &Selection) -> String {
    let runs_dir = selection.runs_dir.as_path();
    if !selection.tags.is_empty() {
        format!("no runs: none has the tag '{}'", selection.tags.join("' and '"))
    } else if selection.names.is_some() {
        "no runs: the operands name no run".to_owned()
    } else if runs_dir.exists() {
        format!("no runs in '{}'", runs_dir.display())
    } else {
        format!("no runs: there is no directory '{}'", runs_dir.display())
    }
}

pub(crate) fn open(selection: &Selection) -> Result<Vec<Result<RunDir, Error>>, Error> {
    let runs_dir = selection.runs_dir.as_path();
    if let Some(names) = selection.names {
        let mut known = HashSet::new(); // a run that was named twice counts once
        let mut is_new = |run: &RunDir| {
            let root = run.layout().root();
            known.insert(fs::canonicalize(root).unwrap_or_else(|_| root.to_owned()))
        };
        let runs = open_runs(names, runs_dir, selection.null);
        return Ok(runs.filter(|run| run.as_ref().map_or(true, &mut is_new)).collect());
    }
    let mut runs = Vec::new();
    for found in find(runs_dir) {
        match found {
            Found::Run(run, ()) => runs.push(Ok(run)),
            found => match found.fault(runs_dir) {
                Some(error) if error.exit() == Exit::System => return Err(error),
                fault => runs.extend(fault.map(Err)),
            },
        }
    }
    Ok(runs)
}

/// Returns the name of a run: its path below the runs directory (absolute), whatever operand named the run;
/// elsewhere the name of its directory, preceded by that of its batch.
pub(crate) fn name_of(run: &RunDir, runs_dir: &Path) -> String {
    let path = run.absolute();
    let above = match path.parent() {
        _ if path.starts_with(runs_dir) && path != runs_dir => Some(runs_dir),
        Some(parent) if matches!(BatchDir::at(parent), Ok(Some(_))) => parent.parent(),
        parent => parent,
    };
    let name = above.and_then(|above| path.strip_prefix(above).ok()).unwrap_or(&path);
    name.to_string_lossy().into_owned()
}
