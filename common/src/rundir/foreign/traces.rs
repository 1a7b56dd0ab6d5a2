//! What files tell by their names, times and last lines, where a layout says nothing else of a run.

use crate::fsio::read::read_end;
use crate::time::Timestamp;
use std::fs;
use std::path::{Path, PathBuf};

/// Bytes at the end of a file in which its last lines are looked for.
const END: u64 = 64 << 10;

/// Entries that are looked at in a directory.
const ENTRIES: usize = 10_000;

/// Returns when a file was written last.
pub(super) fn written(path: &Path) -> Option<Timestamp> {
    Timestamp::of_system(fs::metadata(path).ok()?.modified().ok()?)
}

/// Returns the last lines of a file that are not empty, the last one first.
pub(super) fn last_lines(path: &Path) -> Vec<String> {
    lines_at_end(path, END)
}

/// Returns the same of the lines in this number of bytes at its end.
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

/// Returns the names in a directory that are UTF-8, in order, a bounded number of them.
pub(super) fn names(directory: &Path) -> Vec<String> {
    some_names(directory, ENTRIES)
}

/// Returns the names in a directory that are UTF-8, in order, at most this number of them.
pub(super) fn some_names(directory: &Path, most: usize) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten().take(most);
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

/// Says whether a name is that of an event file of `TensorBoard`.
pub(super) fn is_event_file(name: &str) -> bool {
    name.contains(".tfevents.")
}

/// Returns the event files in a directory.
pub(super) fn event_files(directory: &Path) -> Vec<PathBuf> {
    names(directory).into_iter().filter(|name| is_event_file(name)).map(|name| directory.join(name)).collect()
}

/// Returns when an event file was begun, which is in its name: `events.out.tfevents.SECONDS.HOST…`.
pub(super) fn event_time(path: &Path) -> Option<Timestamp> {
    let (_, rest) = path.file_name()?.to_str()?.split_once(".tfevents.")?;
    Timestamp::of_seconds(rest.split('.').next()?.parse().ok()?)
}

/// Returns when the first of the event files in some directories was begun.
pub(super) fn first_event(directories: impl IntoIterator<Item = PathBuf>) -> Option<Timestamp> {
    let files = directories.into_iter().flat_map(|directory| event_files(&directory));
    files.filter_map(|path| event_time(&path)).min()
}

/// Returns the number after a prefix, as in `checkpoint-500`.
pub(super) fn number_after(prefix: &str, name: &str) -> Option<u64> {
    let digits = name.strip_prefix(prefix)?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}
