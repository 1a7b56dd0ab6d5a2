//! Discovery: which directories below another are runs.

use super::layout::{Layout, RECORD_DIR};
use crate::error::plain;
use std::collections::HashSet;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
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
/// levels, nor into loops of links. Names that begin with `.` are skipped. A run that links lead
/// to is returned once, by its own name where that is below `root` too.
pub fn find(root: &Path) -> Vec<Found> {
    let mut found = Vec::new();
    let mut linked = Vec::new(); // runs below links, with what identifies them
    let mut seen = HashSet::new();
    let mut link: Option<PathBuf> = None; // the link that the walk is below, or was last
    let mut top: Option<PathBuf> = None; // a directory at the top in which no run was seen so far
    let mut walk =
        WalkDir::new(root).min_depth(1).max_depth(3).follow_links(true).sort_by_file_name().into_iter();
    while let Some(entry) = walk.next() {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                let path = error.path().unwrap_or(root).to_owned();
                match error.io_error() {
                    // It is gone meanwhile, or a link that leads nowhere, or in a circle.
                    None => {}
                    Some(cause) if cause.kind() == io::ErrorKind::NotFound => {}
                    Some(cause) => found.push(Found::Unreadable(path, plain(cause))),
                }
                continue;
            }
        };
        if !entry.file_type().is_dir() {
            continue;
        }
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            walk.skip_current_dir();
            continue;
        }
        if entry.depth() == 1 {
            found.extend(top.take().map(Found::Other));
        }
        let path = entry.path().to_owned();
        if entry.path_is_symlink() {
            link = Some(path.clone());
        }
        let is_linked = link.as_ref().is_some_and(|link| path.starts_with(link));
        match std::fs::metadata(Layout::new(&path).meta()) {
            Ok(meta) => {
                top = None;
                walk.skip_current_dir();
                if is_linked {
                    linked.push((identity(&meta), path));
                } else if seen.insert(identity(&meta)) {
                    found.push(run(path));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                top = None;
                walk.skip_current_dir();
                found.push(Found::Unreadable(path.join(RECORD_DIR), plain(&error)));
            }
            Err(_) if entry.depth() == 1 => top = Some(path),
            Err(_) => {}
        }
    }
    found.extend(top.map(Found::Other));
    found
        .extend(linked.into_iter().filter(|(identity, _)| seen.insert(*identity)).map(|(_, path)| run(path)));
    found
}

fn run(path: PathBuf) -> Found {
    if path.to_str().is_some() { Found::Run(path) } else { Found::NotUtf8(path) }
}

/// Tells one meta.json from all others.
fn identity(meta: &Metadata) -> (u64, u64) {
    (meta.dev(), meta.ino())
}
