//! What to remove from a run: the files of checkpoints that are not kept, or of the whole run. Pure, except
//! that it resolves links.

use super::keep::Policy;
use crate::format::entry::ROOT;
use crate::local::scan::{Found, Scan};
use run_checkpoint::{Checkpoint, Program, at, is_optimizer_state};
use run_common::rundir::layout::RECORD_DIR;
use rustix::fs::FileType;
use std::fs;
use std::path::{Path, PathBuf};

/// How much of a run may be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// Checkpoints.
    Checkpoints,
    /// All but the record.
    All,
}

/// A checkpoint, or the whole run, which is removed as a whole or not at all.
#[derive(Debug)]
pub(super) struct Removal {
    /// Path below the run; `.` for the run itself.
    pub(super) path: PathBuf,
    /// Files, directories and links, in order.
    pub(super) found: Vec<Found>,
}

impl Removal {
    /// Returns the files.
    pub(super) fn files(&self) -> impl Iterator<Item = &Found> {
        self.found.iter().filter(|found| found.stat.kind == FileType::RegularFile)
    }

    /// Returns the total size of the files.
    pub(super) fn bytes(&self) -> u64 {
        self.files().map(|file| file.stat.size).fold(0, u64::saturating_add)
    }
}

/// What to remove from a run.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// The removals.
    pub(super) removals: Vec<Removal>,
    /// Checkpoints behind links, which backups do not follow.
    pub(super) behind: Vec<PathBuf>,
}

/// Returns what to remove. `kept` tells for each checkpoint whether it stays.
pub(super) fn plan(
    scan: &Scan,
    root: &Path,
    checkpoints: &[Checkpoint],
    kept: &[bool],
    policy: &Policy,
    extent: Extent,
) -> Plan {
    let own = || scan.found.iter().filter(|found| found.place.evaluation.is_none());
    let stays: Vec<&PathBuf> =
        checkpoints.iter().zip(kept).filter(|(_, kept)| **kept).flat_map(|(one, _)| &one.parts).collect();
    let is_kept = |path: &Path| stays.iter().any(|part| path.starts_with(part));
    let mut plan = Plan::default();
    if extent == Extent::All {
        let is_removed = |path: &Path| {
            let is_needed = path == Path::new(ROOT) || path.starts_with(RECORD_DIR);
            !is_needed && !is_kept(path) && !stays.iter().any(|part| part.starts_with(path))
        };
        let found: Vec<Found> = own().filter(|found| is_removed(&found.place.path)).cloned().collect();
        plan.removals.extend((!found.is_empty()).then_some(Removal { path: ROOT.into(), found }));
        return plan;
    }
    for (one, _) in checkpoints.iter().zip(kept).filter(|(_, kept)| !**kept) {
        let part_of = |path: &Path| one.parts.iter().find(|part| path.starts_with(part));
        let parts: Vec<&Found> = own().filter(|found| part_of(&found.place.path).is_some()).collect();
        if parts.is_empty() {
            plan.behind.push(one.path.clone());
        }
        let is_removed = |found: &&Found| {
            let path = &found.place.path;
            if policy.keeps_weights {
                return part_of(path).is_some_and(|part| is_state(one, part, found));
            }
            part_of(path).is_some() || leads_to(root, found, &one.parts) || is_other_name(root, found, &parts)
        };
        let found: Vec<Found> =
            own().filter(|found| !is_kept(&found.place.path)).filter(is_removed).cloned().collect();
        plan.removals.extend((!found.is_empty()).then_some(Removal { path: one.path.clone(), found }));
    }
    plan
}

/// Returns whether a file is a part of a checkpoint that its weights do not need.
fn is_state(one: &Checkpoint, part: &Path, found: &Found) -> bool {
    let path = &found.place.path;
    let below = path.strip_prefix(part).ok().filter(|below| !below.as_os_str().is_empty());
    let name = path.file_name().map(Path::new);
    found.stat.kind == FileType::RegularFile
        && *path != one.path
        && below.or(name).is_some_and(is_optimizer_state)
}

/// Returns whether an item is a link to a checkpoint, and would lead nowhere after its removal.
fn leads_to(root: &Path, found: &Found, parts: &[PathBuf]) -> bool {
    let target = || fs::canonicalize(root.join(&found.place.path)).ok();
    found.target.is_some()
        && target().is_some_and(|target| {
            parts.iter().any(|part| fs::canonicalize(root.join(part)).is_ok_and(|part| part == target))
        })
}

/// Returns whether a file is another name of a checkpoint's file that is itself named as a checkpoint.
fn is_other_name(root: &Path, found: &Found, parts: &[&Found]) -> bool {
    let identity = |found: &Found| (found.stat.kind, found.stat.device, found.stat.inode);
    let is_file = found.stat.kind == FileType::RegularFile && found.stat.links > 1;
    is_file
        && parts.iter().any(|part| identity(part) == identity(found))
        && at(&root.join(&found.place.path), Program::Ended)
            .is_some_and(|other| other.is_named || !other.labels.is_empty())
}
