//! The names of the runs and batches below the runs directory, and a sample of runs for other completions.

use crate::place::Place;
use run_common::cli::names::Names;
use run_common::cli::operands::Operand;
use run_common::rundir::batch::BatchDir;
use run_common::rundir::find::{Found, find};
use run_common::rundir::open::RunDir;
use std::collections::BTreeSet;
use std::env;
use std::path::{Path, PathBuf};

/// Maximum number of runs to read for one completion: each costs one or two files.
const SAMPLE: usize = 100;

/// Returns the runs directory of a command line: `-d`, else `$RUNS_DIR`, else `runs`.
pub(crate) fn runs_dir(place: &Place) -> PathBuf {
    let from_environment = || env::var_os("RUNS_DIR").filter(|dir| !dir.is_empty()).map(PathBuf::from);
    let given = place.given("runs_dir").last().map(home);
    given.or_else(from_environment).unwrap_or_else(|| PathBuf::from("runs"))
}

/// Expands a path that a shell has not expanded yet: `~/x` is a path below the home directory.
pub(crate) fn home(path: &str) -> PathBuf {
    match (path.strip_prefix("~/"), env::var_os("HOME")) {
        (Some(below), Some(home)) => Path::new(&home).join(below),
        _ => path.into(),
    }
}

/// Returns the names of runs and batches: the names at the top; paths `batch/run`; and names of runs in
/// batches, without the batch. The latter two are separate lists, because few users search for runs in this
/// way.
pub(crate) fn names(runs_dir: &Path) -> [Vec<String>; 3] {
    let (mut tops, mut paths, mut inner) = (BTreeSet::new(), Vec::new(), Vec::new());
    let mut holders: BTreeSet<&Path> = BTreeSet::new();
    let found = find(runs_dir);
    for run in &found {
        let Found::Run(run, ()) = run else { continue };
        let Ok(below) = run.layout().root().strip_prefix(runs_dir) else { continue };
        let (Some(path), Some(name)) = (below.to_str(), below.file_name().and_then(|name| name.to_str()))
        else {
            continue;
        };
        match below.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            None => _ = tops.insert(name.to_owned()),
            Some(parent) => {
                holders.insert(parent);
                paths.push(path.to_owned());
                inner.push(name.to_owned());
            }
        }
    }
    let is_batch = |holder: &&Path| BatchDir::at(&runs_dir.join(holder)).is_ok_and(|batch| batch.is_some());
    let batches = holders.into_iter().filter(is_batch).filter_map(Path::to_str);
    tops.extend(batches.map(str::to_owned));
    // A name that begins with a dash would be an option.
    let usable = |names: Vec<String>| names.into_iter().filter(|name| !name.starts_with('-')).collect();
    [usable(tops.into_iter().collect()), paths, usable(inner)]
}

/// Returns the runs that a command line names, else some of those below the runs directory.
pub(crate) fn sample(place: &Place) -> Vec<RunDir> {
    let runs_dir = runs_dir(place);
    let mut names = Names::below(&runs_dir);
    let given = place.given("runs").filter(|name| *name != "-");
    let opened = given.filter_map(|name| names.open(name).ok());
    let runs: Vec<RunDir> = opened.filter_map(|named: Operand| named.runs().ok()).flatten().collect();
    if !runs.is_empty() {
        return spread(runs);
    }
    let is_run = |found: Found| match found {
        Found::Run(run, ()) => Some(run),
        _ => None,
    };
    spread(find(&runs_dir).into_iter().filter_map(is_run).collect())
}

/// Keeps at most [`SAMPLE`] runs, at regular distances: the runs of one experiment have similar names.
fn spread(mut runs: Vec<RunDir>) -> Vec<RunDir> {
    let step = runs.len().div_ceil(SAMPLE).max(1);
    let mut number = 0;
    runs.retain(|_| {
        number += 1;
        (number - 1) % step == 0
    });
    runs
}
