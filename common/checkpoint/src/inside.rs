//! Examines the contents of a directory whose name may be that of a checkpoint: its own state, or other
//! checkpoints.

use crate::integrity;
use crate::name::{self, Role, ends_in};
use std::fs;
use std::path::Path;
use walkdir::WalkDir;

/// Maximum depth of state in a directory.
const DEPTH: usize = 4;

/// Maximum number of entries to examine.
const MOST: usize = 1000;

/// Returns whether a directory contains only checkpoints, as in `epoch_1/step_500/`; a directory named after
/// an epoch may contain checkpoint files, as in `epoch_1/step_500.pt`.
pub(crate) fn is_container(path: &Path, name: &str) -> bool {
    let is_of_epoch = name::epoch_directory(name).is_some();
    let mut holds_step = false;
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => {
                holds_step |= name::of_directory(&name).is_some_and(|name| name.step.is_some());
            }
            Ok(kind) if kind.is_symlink() => {}
            Ok(_) if is_of_epoch => match name::of_file(&name) {
                Some(name) if name.step.is_some() => holds_step |= name.role == Role::Main,
                _ => return false,
            },
            _ => return false,
        }
    }
    holds_step
}

/// Returns whether a directory contains its own state, and no checkpoints. A directory named by a number may
/// also belong to a seed or a fold.
pub(crate) fn holds_state(path: &Path) -> bool {
    let mut holds_state = false;
    for entry in WalkDir::new(path).min_depth(1).max_depth(DEPTH).into_iter().take(MOST).flatten() {
        let name = entry.file_name().to_string_lossy().to_lowercase();
        let found = if entry.file_type().is_dir() {
            name::of_directory(&name)
        } else {
            holds_state |= integrity::holds_state(&name);
            name::of_file(&name).filter(|found| found.role == Role::Main)
        };
        if found.is_some_and(|found| found.step.is_some() || !name::labels_in(&name).is_empty()) {
            return false;
        }
    }
    holds_state
}

/// Returns whether a directory belongs to a whole training run, as some programs create one per run: it
/// contains a log.
pub(crate) fn is_of_run(path: &Path) -> bool {
    fs::read_dir(path).into_iter().flatten().flatten().any(|entry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        name.starts_with("events.out.tfevents") || ends_in(&name, &[".log"]) || name == ".hydra"
    })
}
