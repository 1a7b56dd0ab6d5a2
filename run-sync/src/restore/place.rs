//! Creates the items of a plan under temporary names, and gives them their own names once all of them are
//! complete.

use super::ground::{Ground, busy, staged};
use super::plan::{Original, Plan, Step, Unit};
use super::receive::Received;
use super::tree::timespec;
use crate::fetch::Damage;
use crate::format::entry::{Entry, Kind, Place, ROOT};
use crate::local::root::Stat;
use run_common::error::Error;
use run_common::fsio::atomic::sync_file_system;
use run_common::message::warn;
use rustix::fs::{FileType, FlockOperation, Mode, Timespec, Timestamps, UTIME_OMIT, fchmod, flock, futimens};
use rustix::io::Errno;
use rustix::process::umask;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// The mode of a directory while it is filled.
const OPEN: u32 = 0o700;

/// Returns the permissions to restore. The bits to act as the owner are left out: the local owner may be
/// another.
fn permissions(entry: &Entry) -> u32 {
    match entry.kind {
        Kind::Dir => entry.mode & 0o7777,
        _ => entry.mode & 0o1777,
    }
}

/// Sets the mode and time of a file. A file system without modes keeps its own.
pub(super) fn set_attributes(file: &File, entry: &Entry) -> io::Result<()> {
    ignore_unable(fchmod(file, Mode::from_raw_mode(permissions(entry))).map_err(Into::into))?;
    let times = Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: timespec(entry.mtime),
    };
    ignore_unable(futimens(file, &times).map_err(Into::into))
}

/// Ignores that a file system cannot do something.
fn ignore_unable(done: io::Result<()>) -> io::Result<()> {
    let unable = [Errno::PERM, Errno::OPNOTSUPP, Errno::NOSYS, Errno::INVAL].map(Errno::raw_os_error);
    match done {
        Err(error) if error.raw_os_error().is_some_and(|code| unable.contains(&code)) => Ok(()),
        done => done,
    }
}

/// Locks an existing directory. On a file system without locks, this succeeds without a lock.
pub(super) fn lock(ground: &Ground, path: &Path) -> Result<OwnedFd, Error> {
    let failed = |error| Error::io("lock", &ground.shown(path), error);
    let directory = ground.tree().and_then(|tree| tree.directory(path)).map_err(failed)?;
    match flock(&directory, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => Err(busy(&ground.root)),
        _ => Ok(directory),
    }
}

/// Locks a new place, by the directory in which its content is assembled.
pub(super) fn lock_new(ground: &Ground) -> Result<OwnedFd, Error> {
    let path = staged(&ground.path(Path::new(ROOT)));
    let failed = |error| Error::io("write", &ground.shown(&path), error);
    let tree = ground.tree().map_err(failed)?;
    if tree.look(&path).map_err(failed)?.is_some_and(|found| found.kind != FileType::Directory) {
        tree.remove(&path).map_err(failed)?;
    }
    tree.make_dir(&path, OPEN).map_err(failed)?;
    let directory = lock(ground, &path)?;
    // If another restore has just ended, it has given this directory its own name.
    let locked = Stat::of(&directory).map_err(failed)?;
    match tree.look(&path).map_err(failed)? {
        Some(found) if (found.device, found.inode) == (locked.device, locked.inode) => Ok(directory),
        _ => Err(busy(&ground.root)),
    }
}

/// Creates the directories of a plan, and removes leftovers of an interrupted restore that are of no use.
pub(super) fn prepare(plan: &Plan<'_>, grounds: &[Ground]) -> Result<(), Error> {
    let mut planned: Option<HashMap<(usize, &Path), bool>> = None;
    for unit in &plan.units {
        let ground = &grounds[unit.ground];
        let failed = |error| Error::io("write", &ground.shown(&unit.staged), error);
        if ground.tree().and_then(|tree| tree.look(&unit.staged)).map_err(failed)?.is_some() {
            let planned = planned.get_or_insert_with(|| paths(plan));
            tidy(ground, unit, planned).map_err(failed)?;
        }
    }
    for step in &plan.dirs {
        let ground = &grounds[plan.units[step.unit].ground];
        let made = ground.tree().and_then(|tree| tree.make_dir(&step.path, OPEN));
        made.map_err(|error| Error::io("make", &ground.shown(&step.path), error))?;
    }
    Ok(())
}

/// Returns the paths of the plan's directories and files until they are complete, and whether each is a
/// directory.
fn paths<'a>(plan: &'a Plan<'_>) -> HashMap<(usize, &'a Path), bool> {
    let at = |step: &'a Step<'_>, is_dir| ((plan.units[step.unit].ground, step.path.as_path()), is_dir);
    let dirs = plan.dirs.iter().map(|step| at(step, true));
    dirs.chain(plan.files.iter().map(|file| at(&file.step, false))).collect()
}

/// Removes leftovers of an interrupted restore, except planned files and directories.
fn tidy(ground: &Ground, unit: &Unit, planned: &HashMap<(usize, &Path), bool>) -> io::Result<()> {
    let tree = ground.tree()?;
    let mut left = vec![unit.staged.clone()];
    while let Some(path) = left.pop() {
        let Some(found) = tree.look(&path)? else { continue };
        match planned.get(&(unit.ground, path.as_path())) {
            Some(true) if found.kind == FileType::Directory => {
                ignore_unable(tree.set_mode(&path, OPEN))?;
                left.extend(tree.names(&path)?.iter().map(|name| path.join(name)));
            }
            Some(false) if found.kind == FileType::RegularFile && found.links == 1 => {
                ignore_unable(tree.set_mode(&path, 0o600))?;
            }
            _ => tree.remove(&path)?,
        }
    }
    Ok(())
}

/// Creates the links and second names of a plan, and sets the modes and times of directories. Returns the
/// damaged files, and the second names of damaged files.
pub(super) fn complete<'a>(
    plan: &Plan<'a>,
    grounds: &[Ground],
    received: &Received,
) -> Result<Vec<(&'a Place, Damage)>, Error> {
    let mut damaged: Vec<_> = Vec::new();
    let each = |step: &Step<'a>, make: &dyn Fn(&Ground) -> io::Result<()>| {
        let ground = &grounds[plan.units[step.unit].ground];
        make(ground).map_err(|error| Error::io("make", &ground.shown(&step.path), error))
    };
    for (step, target) in &plan.links {
        each(step, &|ground| {
            let tree = ground.tree()?;
            remove_old(ground, &step.path)?;
            tree.make_link(target, &step.path)?;
            step.entry.map_or(Ok(()), |entry| ignore_unable(tree.set_mtime(&step.path, entry.mtime)))
        })?;
    }
    for (step, original) in &plan.same {
        let file = match original {
            Original::Here(path) => path,
            Original::Received(number) => match received.damaged.get(number) {
                None => &plan.files[*number].step.path,
                Some(damage) => {
                    damaged.extend(step.entry.map(|entry| (&entry.place, *damage)));
                    continue;
                }
            },
        };
        each(step, &|ground| {
            remove_old(ground, &step.path)?;
            ground.tree()?.make_same(file, &step.path)
        })?;
    }
    for step in plan.dirs.iter().rev() {
        let Some(entry) = step.entry else {
            each(step, &|ground| ignore_unable(ground.tree()?.set_mode(&step.path, usual_mode())))?;
            continue;
        };
        each(step, &|ground| {
            let tree = ground.tree()?;
            ignore_unable(tree.set_mtime(&step.path, entry.mtime))?;
            ignore_unable(tree.set_mode(&step.path, permissions(entry)))
        })?;
    }
    for (number, damage) in &received.damaged {
        damaged.extend(plan.files[*number].step.entry.map(|entry| (&entry.place, *damage)));
    }
    damaged.sort_unstable_by_key(|(place, _)| *place);
    Ok(damaged)
}

/// Returns the mode of a directory that the manifest does not list: that of any new directory.
fn usual_mode() -> u32 {
    let mask = umask(Mode::empty());
    umask(mask); // umask(2) can be read only by setting it
    0o777 & !mask.as_raw_mode()
}

/// Removes a leftover of an interrupted restore at the path of a link or a second name.
fn remove_old(ground: &Ground, path: &Path) -> io::Result<()> {
    match ground.tree()?.look(path)? {
        Some(_) => ground.tree()?.remove(path),
        None => Ok(()),
    }
}

/// Gives the units of a plan their names. Returns the numbers of the units whose names are taken meanwhile.
pub(super) fn publish(plan: &Plan<'_>, grounds: &[Ground]) -> Result<BTreeSet<usize>, Error> {
    let used: BTreeSet<usize> = plan.units.iter().map(|unit| unit.ground).collect();
    for ground in used.iter().map(|ground| &grounds[*ground]) {
        let holder = if ground.exists { Some(ground.root.as_path()) } else { ground.root.parent() };
        let holder = holder.filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."));
        sync_file_system(holder).map_err(|error| Error::io("write to", holder, error))?;
    }
    let mut taken = BTreeSet::new();
    let mut changed: HashSet<(usize, PathBuf)> = HashSet::new();
    // Units of the run itself come last: a reader who sees the run sees all of it.
    let mut order: Vec<(usize, &Unit)> = plan.units.iter().enumerate().collect();
    order.sort_by_key(|(_, unit)| std::cmp::Reverse(unit.ground));
    for (number, unit) in order {
        let ground = &grounds[unit.ground];
        let failed = |error| Error::io("write", &ground.shown(&unit.path), error);
        let tree = ground.tree().map_err(failed)?;
        if tree.look(&unit.staged).map_err(failed)?.is_none() {
            continue; // the file is damaged
        }
        let named = if unit.replaces {
            tree.rename_over(&unit.staged, &unit.path, unit.is_dir)
        } else {
            tree.rename_new(&unit.staged, &unit.path)
        };
        match named {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                taken.insert(number);
            }
            named => {
                named.map_err(failed)?;
                changed.extend(unit.path.parent().map(|parent| (unit.ground, parent.to_owned())));
            }
        }
    }
    for key in changed {
        let Some(mtime) = plan.touched.get(&key) else { continue };
        if let Err(error) = ignore_unable(grounds[key.0].set_mtime(&key.1, *mtime)) {
            warn(&Error::io("set the time of", &grounds[key.0].shown(&key.1), error).to_string());
        }
    }
    Ok(taken)
}
