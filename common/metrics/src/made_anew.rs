//! Files and directories that a trainer creates for every attempt, such as `PPO_1` and `PPO_2`, `version_0`,
//! or with a date in their names: they form one source. Used to find the sources of metrics.

use super::resumptions::Resumptions;
use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// Files, or directories with files, whose paths differ only in numbers, and each of which was last written in
/// an attempt of its own.
#[derive(Debug, Default)]
pub(super) struct MadeAnew(HashMap<PathBuf, OfAttempt>);

/// One of these files or directories.
#[derive(Debug)]
pub(super) struct OfAttempt {
    /// Its path without the numbers.
    pub(super) stem: PathBuf,
    /// Number of the attempt, from 0.
    pub(super) attempt: usize,
}

impl MadeAnew {
    /// Finds such files among the files below a run.
    pub(super) fn files<'a>(
        files: impl Iterator<Item = &'a PathBuf>,
        root: &Path,
        attempts: &dyn Fn() -> Resumptions,
    ) -> Self {
        Self::among(files.map(|file| (file.as_path(), file.as_path())), root, attempts)
    }

    /// Finds such directories among the directories of these files.
    pub(super) fn directories<'a>(
        files: impl Iterator<Item = &'a PathBuf>,
        root: &Path,
        attempts: &dyn Fn() -> Resumptions,
    ) -> Self {
        Self::among(files.filter_map(|file| Some((file.parent()?, file.as_path()))), root, attempts)
    }

    /// Finds such paths, given pairs of a path and a file at or below that path.
    fn among<'a>(
        paths: impl Iterator<Item = (&'a Path, &'a Path)>,
        root: &Path,
        attempts: &dyn Fn() -> Resumptions,
    ) -> Self {
        let mut written: HashMap<&Path, f64> = HashMap::new(); // seconds since 1970
        let mut groups: HashMap<PathBuf, Vec<&Path>> = HashMap::new();
        for (path, file) in paths {
            let Some(stem) = stem(path, root) else { continue };
            let modified = fs::metadata(file).and_then(|file| file.modified()).unwrap_or(UNIX_EPOCH);
            let modified = modified.duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64());
            let last = written.entry(path).or_insert_with(|| {
                groups.entry(stem).or_default().push(path);
                0.0
            });
            *last = last.max(modified);
        }
        groups.retain(|_, paths| paths.len() > 1);
        if groups.is_empty() {
            return Self::default();
        }
        let attempts = attempts();
        let mut found = HashMap::new();
        for (stem, paths) in groups {
            let of_each: Vec<usize> = paths.iter().map(|path| attempts.at(written[path])).collect();
            if of_each.iter().collect::<HashSet<_>>().len() == paths.len() {
                let ones = paths.into_iter().zip(of_each);
                found.extend(
                    ones.map(|(path, attempt)| (path.to_owned(), OfAttempt { stem: stem.clone(), attempt })),
                );
            }
        }
        Self(found)
    }

    /// Returns the entry of a path.
    pub(super) fn of(&self, path: &Path) -> Option<&OfAttempt> {
        self.0.get(path)
    }
}

/// Returns a path below a run with a `#` for each number in its names, and without numbers at the ends of
/// names.
fn stem(path: &Path, root: &Path) -> Option<PathBuf> {
    let names = path.strip_prefix(root).ok()?.components();
    let shapes: Option<Vec<String>> = names.map(|name| name.as_os_str().to_str().map(shape)).collect();
    Some(root.join(shapes?.iter().collect::<PathBuf>()))
}

/// Returns a name with `#` for each number, and without numbers before its extensions.
fn shape(name: &str) -> String {
    let mut shape = String::new();
    for c in name.chars() {
        match c {
            '0'..='9' if shape.ends_with('#') => {}
            '0'..='9' => shape.push('#'),
            c => shape.push(c),
        }
    }
    let endings = shape.find('.').unwrap_or(shape.len());
    match shape[..endings].trim_end_matches(['#', '_', '-']) {
        "" => shape,
        bare => format!("{bare}{}", &shape[endings..]),
    }
}

/// Returns the number in the name `version_N` of the directory of a file.
pub(super) fn version(path: &Path) -> Option<u64> {
    path.parent()?.file_name()?.to_str()?.strip_prefix("version_")?.parse().ok()
}

/// Returns the directory above that of a file.
pub(super) fn above(path: &Path) -> Option<&Path> {
    path.parent()?.parent()
}

/// Returns the directory of an event file below a run, without the parts that change with each attempt: the
/// number of a directory in `made_anew`, `version_N` (Lightning), and the directory directly below `runs`
/// (PyTorch, Hugging Face).
pub(super) fn track(file: &Path, root: &Path, made_anew: &MadeAnew) -> PathBuf {
    let file = match file.parent().and_then(|directory| made_anew.of(directory)) {
        Some(one) => one.stem.join("events"),
        None => file.to_owned(),
    };
    let file = file.strip_prefix(root).unwrap_or(&file);
    let mut track = PathBuf::new();
    let mut is_below_runs = false;
    for part in file.parent().into_iter().flat_map(Path::components) {
        let name = part.as_os_str().to_string_lossy();
        let is_version =
            name.strip_prefix("version_").is_some_and(|number| number.bytes().all(|b| b.is_ascii_digit()));
        if !is_version && !std::mem::replace(&mut is_below_runs, name == "runs") {
            track.push(part);
        }
    }
    track
}

/// Returns the time at which an event file was started, from its name, in seconds since 1970.
pub(super) fn started(path: &Path) -> u64 {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let time = name.split(".tfevents.").nth(1).and_then(|rest| rest.split('.').next()?.parse().ok());
    time.unwrap_or_default()
}

/// Returns the part of an event file's name that identifies its writer, HOST.PID of `TIME.HOST.PID.NUMBER`. A
/// name without a process id identifies only itself.
pub(super) fn process(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let words: Vec<&str> = name.split(".tfevents.").nth(1).unwrap_or(&name).split('.').collect();
    let is_number = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    match words.windows(2).skip(1).rposition(|pair| pair.iter().all(|word| is_number(word))) {
        Some(at) => words[1..at + 2].join("."),
        None => path.to_string_lossy().into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_makes_no_other_stem() {
        let stem = |path: &str| stem(&Path::new("/runs/7").join(path), Path::new("/runs/7")).unwrap();
        let same = |one: &str, other: &str| stem(one) == stem(other);
        assert!(same("a/PPO_1", "a/PPO_12") && same("a/train", "a/train2"));
        assert!(same("a/2026-01-29_12-00-00", "a/2026-02-01_09-10-11"));
        assert!(same(
            "2026-01-29/12-00-00/vis_data/scalars.json",
            "2026-02-01/09-10-11/vis_data/scalars.json"
        ));
        assert!(same("20260129_120000.log.json", "20260201_091011.log.json"));
        assert!(same("exp/results.csv", "exp2/results.csv") && !same("exp/a.csv", "exp/b.csv"));
        assert_eq!(stem("a1/b"), Path::new("/runs/7/a/b"));
        assert!(
            !same("a/PPO_1", "b/PPO_1") && !same("a/PPO_1", "a/A2C_1") && !same("a/train", "a/validation")
        );
    }
}
