//! The names of the runs and batches below the runs directory, and a sample of runs for other completions.

use crate::place::Place;
use run_common::cli::names::Names;
use run_common::cli::operands::Operand;
use run_common::rundir::batch::BatchDir;
use run_common::rundir::find::{Found, find};
use run_common::rundir::open::RunDir;
use std::env;
use std::fs::{self, DirEntry};
use std::path::{Path, PathBuf};

/// Maximum number of runs to read for one completion: each costs one or two files.
const SAMPLE: usize = 100;

/// Maximum number of directories to look at for one completion: ten thousand would take longer than a key.
const LOOKED_AT: usize = 1000;

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

/// Returns the names of the runs and batches directly in the runs directory that fit. Each costs a look, so if many
/// fit, all directories count.
pub(crate) fn tops(runs_dir: &Path, fits: impl Fn(&str) -> bool) -> Vec<String> {
    tops_by(runs_dir, fits, |path| {
        RunDir::at(path).is_ok() || BatchDir::at(path).is_ok_and(|batch| batch.is_some())
    })
}

fn tops_by(runs_dir: &Path, fits: impl Fn(&str) -> bool, is_one: impl Fn(&Path) -> bool) -> Vec<String> {
    // A name that begins with a dash would be an option.
    let mut fitting = directories(runs_dir);
    fitting.retain(|name| !name.starts_with('-') && fits(name));
    if fitting.len() <= LOOKED_AT {
        fitting.retain(|name| is_one(&runs_dir.join(name)));
    }
    fitting
}

/// Returns the names of the directories, and of the links, in a directory that discovery would enter.
fn directories(runs_dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(runs_dir).into_iter().flatten().flatten();
    let may_be = |entry: &DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir() || kind.is_symlink());
    let names = entries.filter(may_be).filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<String> = names.filter(|name| !name.starts_with('.')).collect();
    names.sort_unstable();
    names
}

/// Returns the runs below the directories in the runs directory whose names fit, as paths such as `batch/run`.
pub(crate) fn paths(runs_dir: &Path, fits: impl Fn(&str) -> bool) -> Vec<String> {
    let holders = directories(runs_dir).into_iter().filter(|name| fits(name));
    let runs = holders.flat_map(|holder| runs_below(&runs_dir.join(holder)));
    let path = |run: RunDir| Some(run.layout().root().strip_prefix(runs_dir).ok()?.to_str()?.to_owned());
    runs.filter_map(path).collect()
}

/// Returns the names of the runs in batches, without the batches: few users search for runs in this way.
pub(crate) fn inner(runs_dir: &Path) -> Vec<String> {
    let below = |path: &Path| path.strip_prefix(runs_dir).is_ok_and(|below| below.components().count() > 1);
    let name = |run: RunDir| {
        let root = run.layout().root();
        Some(root.file_name()?.to_str()?.to_owned()).filter(|name| below(root) && !name.starts_with('-'))
    };
    runs_below(runs_dir).into_iter().filter_map(name).collect()
}

fn runs_below(directory: &Path) -> Vec<RunDir> {
    let is_run = |found: Found| match found {
        Found::Run(run, ()) => Some(run),
        _ => None,
    };
    find(directory).into_iter().filter_map(is_run).collect()
}

/// Returns the runs that a command line names, else some of those below the runs directory.
pub(crate) fn sample(place: &Place) -> Vec<RunDir> {
    let runs_dir = runs_dir(place);
    let given = place.given("runs").filter(|name| *name != "-");
    let mut names = Names::below(&runs_dir);
    let runs: Vec<RunDir> = given.flat_map(|name| named(&runs_dir, name, &mut names)).collect();
    if !runs.is_empty() {
        return spread(runs);
    }
    // Few of many directories are enough.
    let all = directories(&runs_dir);
    if all.len() > SAMPLE {
        let some = spread(all).into_iter().map(|name| runs_dir.join(name));
        let runs_at = |path: PathBuf| RunDir::at(&path).map_or_else(|_| runs_below(&path), |run| vec![run]);
        let runs: Vec<RunDir> = some.flat_map(runs_at).collect();
        if !runs.is_empty() {
            return spread(runs);
        }
    }
    spread(runs_below(&runs_dir))
}

/// Returns the runs of an operand. A run directly in the runs directory is known without a search.
fn named(runs_dir: &Path, name: &str, names: &mut Names) -> Vec<RunDir> {
    if !name.contains('/')
        && let Ok(run) = RunDir::at(&runs_dir.join(name))
    {
        return vec![run];
    }
    names.open(name).and_then(Operand::runs).unwrap_or_default()
}

/// Keeps at most [`SAMPLE`] runs, at regular distances: the runs of one experiment have similar names.
fn spread<T>(runs: Vec<T>) -> Vec<T> {
    let step = runs.len().div_ceil(SAMPLE).max(1);
    runs.into_iter().step_by(step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn names_are_compared_before_directories_are_looked_at() {
        let lab = tempfile::tempdir().unwrap();
        for number in 0..=LOOKED_AT {
            fs::create_dir(lab.path().join(format!("exp_{number:05}"))).unwrap();
        }
        fs::write(lab.path().join("exp_file"), "").unwrap();
        let looks = Cell::new(0);
        let found = |typed: &str| {
            looks.set(0);
            let look = |_: &Path| {
                looks.set(looks.get() + 1);
                looks.get() % 2 == 0
            };
            let names = tops_by(lab.path(), |name| name.starts_with(typed), look);
            (names.len(), looks.get())
        };
        assert_eq!(found("exp_0001"), (5, 10));
        assert_eq!(found("none"), (0, 0));
        assert_eq!(found(""), (LOOKED_AT + 1, 0), "above the limit, all directories count");
    }
}
