//! What lies in a directory whose name may be that of a checkpoint: state of its own, or checkpoints.

use crate::integrity;
use crate::name::{self, Role, ends_in};
use std::fs;
use std::path::Path;
use walkdir::WalkDir;

/// How deep in a directory its state may lie.
const DEPTH: usize = 4;

/// Entries of a directory that are looked at.
const MOST: usize = 1000;

/// Says whether a directory holds checkpoints and nothing of its own, as `epoch_1/step_500/`; one that is named
/// for an epoch may hold files that are, as `epoch_1/step_500.pt`.
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

/// Says whether a directory holds state of its own, and no checkpoints: those of a seed or a fold may lie in one
/// that is named by a number.
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

/// Says whether a directory is that of a training, as programs make one for each: it holds a log.
pub(crate) fn is_of_run(path: &Path) -> bool {
    fs::read_dir(path).into_iter().flatten().flatten().any(|entry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        name.starts_with("events.out.tfevents") || ends_in(&name, &[".log"]) || name == ".hydra"
    })
}
