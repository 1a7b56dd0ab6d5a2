//! Evaluations of RL practice, in `eval_runs/<run>_<dataset>/` beside the directory of the runs
//! (`eval_batch.py`).

use super::cached::Cached;
use super::{Foreign, ForeignEvaluations};
use crate::error::plain;
use crate::fsio::{open_if_there, read_small};
use crate::provenance::config;
use crate::rundir::layout::RECORD_DIR;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// The directory of evaluations, and those of runs beside it.
const EVALUATIONS: &str = "eval_runs";
const RUNS: [&str; 2] = ["training_runs", "rl_runs"];

/// Maximum depth of tables below the evaluations of a run, and maximum number of entries to examine.
const DEPTH: usize = 4;
const ENTRIES: usize = 100_000;

/// The names in a directory, sorted, or why it cannot be read.
type Names = Result<Vec<String>, String>;

/// Returns the evaluations of a run, by label.
pub(super) fn of_run(run: &Path) -> Vec<ForeignEvaluations> {
    static NAMES: Cached<Names> = Cached::new();
    let absolute = std::path::absolute(run).unwrap_or_else(|_| run.to_owned());
    let above = |run: &Path| {
        let runs = run.parent().filter(|runs| runs.file_name().is_some())?; // not `.` or `..`
        Some((run.file_name()?.to_str()?.to_owned(), runs.parent()?.to_owned()))
    };
    let Some((name, top)) = above(run).or_else(|| above(&absolute)) else { return Vec::new() };
    let directory = top.join(EVALUATIONS);
    let Some(names) = NAMES.get(&directory, names) else { return Vec::new() };
    let names = match &*names {
        Ok(names) => names,
        Err(why) => return vec![unread(String::new(), why.clone())],
    };
    let prefix = format!("{name}_");
    let first = names.partition_point(|known| *known < prefix);
    let named = names[first..].iter().take_while(|known| known.starts_with(&prefix));
    let mut found: Vec<ForeignEvaluations> = named
        .flat_map(|full| {
            let (label, path) = (&full[prefix.len()..], directory.join(full));
            match owner(&path) {
                Ok(Owner::Run(named)) if !is_called(&name, &named) => Vec::new(),
                Ok(Owner::Nobody) if is_of_another(full, &name, &absolute, &top) => Vec::new(),
                Ok(Owner::Suite) => Vec::new(),
                Ok(Owner::Run(_) | Owner::Nobody) => tables(label, &path, ENTRIES),
                Err(why) => vec![unread(label.to_owned(), why)],
            }
        })
        .collect();
    found.sort_by(|one, other| one.label.cmp(&other.label));
    found
}

/// The run to which evaluations belong.
enum Owner {
    /// The run that their config names.
    Run(String),
    /// Their config names no run.
    Nobody,
    /// They are evaluations of the suite, or none.
    Suite,
}

/// Reads to which run evaluations belong; the error says what cannot be read.
fn owner(path: &Path) -> Result<Owner, String> {
    let config = path.join("eval_config.yaml");
    let bytes = match read_small(&config) {
        Ok(bytes) => bytes,
        Err(error) if [ErrorKind::NotFound, ErrorKind::NotADirectory].contains(&error.kind()) => {
            let is_one = path.is_dir() && !path.join(".eval").exists();
            return Ok(if is_one { Owner::Nobody } else { Owner::Suite });
        }
        Err(error) => {
            fs::read_dir(path).map_err(|error| unreadable(path, &error))?;
            return Err(unreadable(&config, &error));
        }
    };
    let values = config::parse(&config, &bytes).unwrap_or_default();
    if values.get("run_id").is_some() {
        return Ok(Owner::Suite);
    }
    let named = values.get("training_run").and_then(Value::as_str);
    Ok(named.map_or(Owner::Nobody, |named| Owner::Run(named.to_owned())))
}

/// Returns whether this is what a config calls a run of this name.
fn is_called(name: &str, named: &str) -> bool {
    name == named || name.strip_prefix("run_") == Some(named)
}

/// Returns whether the name of evaluations also begins with the name of another run, which is longer than that
/// of this run.
fn is_of_another(full: &str, name: &str, run: &Path, top: &Path) -> bool {
    let longer =
        full.match_indices('_').map(|(end, _)| &full[..end]).filter(|other| other.len() > name.len());
    let beside = run.parent().map(Path::to_owned).into_iter().chain(RUNS.map(|runs| top.join(runs)));
    let beside: Vec<PathBuf> = beside.collect();
    longer.into_iter().any(|other| beside.iter().any(|runs| is_run(&runs.join(other))))
}

/// Returns whether a directory is a run, of the suite or another system.
fn is_run(path: &Path) -> bool {
    fs::symlink_metadata(path.join(RECORD_DIR)).is_ok() || Foreign::of(path).is_some()
}

/// Returns the UTF-8 names in a directory, sorted.
fn names(directory: &Path) -> Names {
    let entries = fs::read_dir(directory).map_err(|error| unreadable(directory, &error))?;
    let mut names: Vec<String> =
        entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    Ok(names)
}

fn unreadable(path: &Path, error: &io::Error) -> String {
    format!("cannot read '{}': {}", path.display(), plain(error))
}

/// Creates evaluations that cannot be read for this reason.
fn unread(label: String, why: String) -> ForeignEvaluations {
    ForeignEvaluations { label, tables: Vec::new(), is_cut: false, unread: vec![why] }
}

/// Finds the tables below the evaluations of a run: directly in the directory of a step, or one level deeper,
/// in a directory for the sampling method. Each of several methods gets a label of its own. Examines at most
/// `most` entries.
fn tables(label: &str, root: &Path, most: usize) -> Vec<ForeignEvaluations> {
    let mut by_way: BTreeMap<String, Vec<(Option<u64>, PathBuf)>> = BTreeMap::new();
    let (mut left, mut unread) = (most, Vec::new());
    let mut directories = vec![(root.to_owned(), 0, None, String::new())];
    while let Some((directory, depth, step, way)) = directories.pop() {
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) => {
                unread.push(unreadable(&directory, &error));
                continue;
            }
        };
        for entry in entries.flatten().take(left) {
            left -= 1;
            let (name, path) = (entry.file_name().to_string_lossy().into_owned(), entry.path());
            let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if let ("metrics.csv", Some(step)) = (name.as_str(), step) {
                match open_if_there(&path) {
                    Ok(Some(_)) => by_way.entry(way.clone()).or_default().push((step, path)),
                    Ok(None) => {}
                    Err(error) => unread.push(unreadable(&path, &error)),
                }
            } else if is_dir && depth < DEPTH {
                let (step, way) = match step {
                    Some(step) => (Some(step), name),
                    None => (step_of(&name), way.clone()),
                };
                directories.push((path, depth + 1, step, way));
            }
        }
    }
    unread.sort();
    let is_one = by_way.len() == 1;
    if by_way.is_empty() && !unread.is_empty() {
        by_way.insert(String::new(), Vec::new());
    }
    let named = by_way.into_iter().map(|(way, mut tables)| {
        tables.sort_by_cached_key(|(step, path)| (step.is_none(), *step, path.clone()));
        let is_plain = is_one || way.is_empty();
        ForeignEvaluations {
            label: if is_plain { label.to_owned() } else { format!("{label}/{way}") },
            tables,
            is_cut: left == 0,
            unread: std::mem::take(&mut unread),
        }
    });
    named.collect()
}

/// Returns the step of a directory such as `step_10_gsm8k`, `Some(None)` for `step_final`, and `None` for other
/// directories.
#[expect(clippy::option_option, reason = "a final step has no number")]
fn step_of(name: &str) -> Option<Option<u64>> {
    let rest = name.strip_prefix("step_")?;
    let word = rest.split('_').next()?;
    if word == "final" { Some(None) } else { word.parse().ok().map(Some) }
}

/// Returns whether a name is that of a directory of a step.
pub(super) fn is_step(name: &str) -> bool {
    step_of(name).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    #[test]
    fn evaluations_of_too_many_files_say_that_some_are_missing() {
        let dir = TempDir::new().unwrap();
        for step in 0..10 {
            let directory = dir.path().join(format!("step_{step}"));
            fs::create_dir(&directory).unwrap();
            fs::write(directory.join("metrics.csv"), "correct\n1\n").unwrap();
        }
        let found = |most| {
            let all = tables("gsm8k", dir.path(), most);
            all.iter().map(|of| (of.label.clone(), of.tables.len(), of.is_cut)).collect::<Vec<_>>()
        };
        assert_eq!(found(100), [("gsm8k".to_owned(), 10, false)]);
        assert_eq!(found(15), [("gsm8k".to_owned(), 5, true)]);
    }

    #[test]
    fn the_directory_of_evaluations_is_read_once_for_all_runs() {
        let dir = TempDir::new().unwrap();
        let (runs, evaluations) = (dir.path().join("training_runs"), dir.path().join(EVALUATIONS));
        fs::create_dir_all(evaluations.join("run_1_x/step_1_x")).unwrap();
        fs::write(evaluations.join("run_1_x/step_1_x/metrics.csv"), "correct\n1\n").unwrap();
        let count = |run: &str| of_run(&runs.join(run)).len();
        assert_eq!((count("run_1"), count("run_2")), (1, 0));
        // Unless the directory seems to have changed, its names are known.
        let modified = fs::metadata(&evaluations).unwrap().modified().unwrap();
        fs::rename(evaluations.join("run_1_x"), evaluations.join("run_2_x")).unwrap();
        let changed = fs::File::open(&evaluations).unwrap();
        changed.set_modified(modified).unwrap();
        assert_eq!((count("run_1"), count("run_2")), (0, 0));
        changed.set_modified(modified + std::time::Duration::from_secs(1)).unwrap();
        assert_eq!((count("run_1"), count("run_2")), (0, 1));
    }
}
