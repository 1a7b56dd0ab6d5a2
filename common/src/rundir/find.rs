//! Discovery: which directories below another are runs.

use super::layout::{Layout, RECORD_DIR};
use crate::error::plain;
use std::io;
use std::path::{Path, PathBuf};
use walkdir::WalkDir;

/// What discovery comes upon.
#[derive(Debug)]
pub enum Found {
    /// A run.
    Run(PathBuf),
    /// A run whose name no record and no JSON can hold.
    NotUtf8(PathBuf),
    /// A directory at the top that is no run and holds none.
    Other(PathBuf),
    /// What could not be looked into, and why.
    Unreadable(PathBuf, String),
}

/// Returns the runs below `root`, by name; it does not descend into a run, nor deeper than three
/// levels, nor into loops of links. Names that begin with `.` are skipped.
pub fn find(root: &Path) -> impl Iterator<Item = Found> {
    let mut walk =
        WalkDir::new(root).min_depth(1).max_depth(3).follow_links(true).sort_by_file_name().into_iter();
    let mut pending: Option<PathBuf> = None; // a top directory in which no run was seen so far
    let mut queue: Vec<Found> = Vec::new();
    std::iter::from_fn(move || {
        loop {
            if let Some(found) = queue.pop() {
                return Some(found);
            }
            let Some(entry) = walk.next() else {
                return pending.take().map(Found::Other);
            };
            let (path, depth) = match &entry {
                Ok(entry) => (entry.path().to_owned(), entry.depth()),
                Err(error) => (error.path().unwrap_or(Path::new("")).to_owned(), error.depth()),
            };
            let found = match entry {
                Ok(entry) if entry.file_name().as_encoded_bytes().starts_with(b".") => {
                    if entry.file_type().is_dir() {
                        walk.skip_current_dir();
                    }
                    continue;
                }
                Ok(entry) if !entry.file_type().is_dir() => continue,
                Ok(_) => match look(&path) {
                    None if depth == 1 => {
                        if let Some(other) = pending.replace(path) {
                            return Some(Found::Other(other));
                        }
                        continue;
                    }
                    None => continue,
                    Some(found) => {
                        walk.skip_current_dir();
                        found
                    }
                },
                Err(error) => match error.io_error() {
                    Some(cause) if cause.kind() == io::ErrorKind::NotFound => continue, // gone meanwhile, or a dangling link
                    Some(cause) => Found::Unreadable(path, plain(cause)),
                    None => continue, // a loop of links
                },
            };
            if let Some(other) = pending.take_if(|_| depth == 1) {
                queue.push(found);
                return Some(Found::Other(other));
            }
            pending = None;
            return Some(found);
        }
    })
}

/// Says what a directory is, or `None` when it is no run.
fn look(path: &Path) -> Option<Found> {
    match std::fs::metadata(Layout::new(path).meta()) {
        Ok(_) if path.to_str().is_none() => Some(Found::NotUtf8(path.to_owned())),
        Ok(_) => Some(Found::Run(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Some(Found::Unreadable(path.join(RECORD_DIR), plain(&error)))
        }
        Err(_) => None,
    }
}
