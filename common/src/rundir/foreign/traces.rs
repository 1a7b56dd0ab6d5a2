//! Facts from the names, times and last lines of files, for layouts that record nothing else about a run.

use crate::fsio::read::read_end;
use crate::time::Timestamp;
use std::fs;
use std::path::{Path, PathBuf};

/// Number of bytes at the end of a file to search for its last lines.
const END: u64 = 64 << 10;

/// Maximum number of entries to examine in a directory.
const ENTRIES: usize = 10_000;

/// Returns the modification time of a file.
pub(super) fn written(path: &Path) -> Option<Timestamp> {
    Timestamp::of_system(fs::metadata(path).ok()?.modified().ok()?)
}

/// Returns the last lines of a file that are not empty, the last one first.
pub(super) fn last_lines(path: &Path) -> Vec<String> {
    lines_at_end(path, END)
}

/// Returns the last non-empty lines within this number of bytes at the end of a file, the last one first.
pub(super) fn lines_at_end(path: &Path, bytes: u64) -> Vec<String> {
    let end = read_end(path, 0, bytes).unwrap_or_default();
    let text = String::from_utf8_lossy(&end);
    text.lines().rev().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

/// Returns the last line of a log that ends with the traceback of an exception.
pub(super) fn last_words(path: &Path) -> Option<String> {
    let lines = last_lines(path);
    let has_trace = lines.iter().any(|line| line.starts_with("Traceback (most recent call last)"));
    lines.into_iter().next().filter(|_| has_trace)
}

/// Returns the UTF-8 names in a directory, sorted, up to a limit.
pub(super) fn names(directory: &Path) -> Vec<String> {
    some_names(directory, ENTRIES)
}

/// Returns the UTF-8 names in a directory, sorted, at most `most` of them.
pub(super) fn some_names(directory: &Path, most: usize) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten().take(most);
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

/// Returns whether a name is that of an event file of `TensorBoard`.
pub(super) fn is_event_file(name: &str) -> bool {
    name.contains(".tfevents.")
}

/// Returns the event files in a directory.
pub(super) fn event_files(directory: &Path) -> Vec<PathBuf> {
    names(directory).into_iter().filter(|name| is_event_file(name)).map(|name| directory.join(name)).collect()
}

/// Returns the start of an event file, from its name: `events.out.tfevents.SECONDS.HOST…`.
pub(super) fn event_time(path: &Path) -> Option<Timestamp> {
    let (_, rest) = path.file_name()?.to_str()?.split_once(".tfevents.")?;
    Timestamp::of_seconds(rest.split('.').next()?.parse().ok()?)
}

/// Returns the start of the first event file in some directories.
pub(super) fn first_event(directories: impl IntoIterator<Item = PathBuf>) -> Option<Timestamp> {
    let files = directories.into_iter().flat_map(|directory| event_files(&directory));
    files.filter_map(|path| event_time(&path)).min()
}

/// Returns the number after a prefix, as in `checkpoint-500`.
pub(super) fn number_after(prefix: &str, name: &str) -> Option<u64> {
    let digits = name.strip_prefix(prefix)?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}
