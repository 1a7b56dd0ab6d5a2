//! Directories that a trainer makes anew for every attempt, such as `PPO_1` and `PPO_2` or `version_0`: files in
//! them are of one source. Used by whoever finds the sources of metrics.

use super::resumptions::Resumptions;
use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// Directories that differ in a number and were last written to in different attempts, with files in them.
#[derive(Debug, Default)]
pub(super) struct MadeAnew(HashMap<PathBuf, OfAttempt>);

/// One of them.
#[derive(Debug)]
pub(super) struct OfAttempt {
    /// Its path without the number.
    pub(super) stem: PathBuf,
    /// Number of the attempt, from 0.
    pub(super) attempt: usize,
}

impl MadeAnew {
    /// Finds those that hold some of these files.
    pub(super) fn among<'a>(
        files: impl Iterator<Item = &'a PathBuf>,
        attempts: &dyn Fn() -> Resumptions,
    ) -> Self {
        let mut written: HashMap<&Path, f64> = HashMap::new(); // seconds since 1970
        let mut groups: HashMap<PathBuf, Vec<&Path>> = HashMap::new();
        for file in files {
            let Some((directory, stem)) = file.parent().and_then(|parent| Some((parent, stem(parent)?)))
            else {
                continue;
            };
            let modified = fs::metadata(file).and_then(|file| file.modified()).unwrap_or(UNIX_EPOCH);
            let modified = modified.duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64());
            let last = written.entry(directory).or_insert_with(|| {
                groups.entry(stem).or_default().push(directory);
                0.0
            });
            *last = last.max(modified);
        }
        groups.retain(|_, directories| directories.len() > 1);
        if groups.is_empty() {
            return Self::default();
        }
        let attempts = attempts();
        let mut found = HashMap::new();
        for (stem, directories) in groups {
            let of_each: Vec<usize> =
                directories.iter().map(|directory| attempts.at(written[directory])).collect();
            if of_each.iter().collect::<HashSet<_>>().len() == directories.len() {
                let ones = directories.into_iter().zip(of_each);
                found.extend(ones.map(|(directory, attempt)| {
                    (directory.to_owned(), OfAttempt { stem: stem.clone(), attempt })
                }));
            }
        }
        Self(found)
    }

    /// Returns that of a file.
    pub(super) fn of(&self, file: &Path) -> Option<&OfAttempt> {
        self.0.get(file.parent()?)
    }
}

/// Returns the path of a directory without the numbers at the end of its name, and each other one as `#`.
fn stem(directory: &Path) -> Option<PathBuf> {
    let name = directory.file_name()?.to_str()?;
    let mut shape = String::new();
    for c in name.chars() {
        match c {
            '0'..='9' if shape.ends_with('#') => {}
            '0'..='9' => shape.push('#'),
            c => shape.push(c),
        }
    }
    let end = shape.trim_end_matches(['#', '_', '-']);
    Some(directory.with_file_name(if end.is_empty() { &shape } else { end }))
}

/// Returns the number in the name `version_N` of the directory of a file.
pub(super) fn version(path: &Path) -> Option<u64> {
    path.parent()?.file_name()?.to_str()?.strip_prefix("version_")?.parse().ok()
}

/// Returns the directory above that of a file.
pub(super) fn above(path: &Path) -> Option<&Path> {
    path.parent()?.parent()
}

/// Returns the directory of an event file below a run without what changes from attempt to attempt: a number of
/// the directory, if that is one of the given; `version_N` (Lightning), and what is directly below `runs` (PyTorch,
/// Hugging Face).
pub(super) fn track(file: &Path, root: &Path, made_anew: &MadeAnew) -> PathBuf {
    let file = match made_anew.of(file) {
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

/// Returns when an event file was begun, in seconds since 1970: it is in the name.
pub(super) fn started(path: &Path) -> u64 {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let time = name.split(".tfevents.").nth(1).and_then(|rest| rest.split('.').next()?.parse().ok());
    time.unwrap_or_default()
}

/// Returns what names the process that wrote an event file, `TIME.HOST.PID.NUMBER` being in the
/// name; without a process id there, each file is by one of its own.
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
    fn a_number_at_the_end_makes_no_other_stem() {
        let same = |one: &str, other: &str| stem(Path::new(one)) == stem(Path::new(other));
        assert!(same("a/PPO_1", "a/PPO_12") && same("a/train", "a/train2"));
        assert!(same("a/2026-01-29_12-00-00", "a/2026-02-01_09-10-11"));
        assert!(
            !same("a/PPO_1", "b/PPO_1") && !same("a/PPO_1", "a/A2C_1") && !same("a/train", "a/validation")
        );
    }
}
