//! Creates runs: everything is decided first, then written aside, then put in place, in blocks that
//! become durable together.

use crate::batch::{self, Home};
use crate::cli::Args;
use crate::plan::{Cell, Plan};
use crate::staged::{Staged, Taken, remove_dir};
use run_common::cli::out::Out;
use run_common::error::{Error, Exit};
use run_common::fsio::atomic::{Durability, sync_file_system, sync_parent, write_with_mode};
use run_common::fsio::lock::{Held, Lock, ask, holder};
use run_common::fsio::read_small;
use run_common::process::identity::{Place, ProcessId};
use run_common::provenance::git::Patch;
use run_common::rundir::layout::Layout;
use run_common::rundir::meta::Meta;
use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// Runs that become durable together, at most.
const BLOCK: usize = 1024;

/// How many more runs a block has than the one before it: the first is one run, so that a reader of
/// the output can begin at once.
const GROWTH: usize = 4;

/// Runs up to which each is synced by itself: to sync the file system writes what others have
/// written, too.
const FEW: usize = 4;

/// What a name begins with that no listing shows.
const SCRATCH: &str = ".new-";

/// Creates a run for every config and every cell of the sweeps, and prints their paths.
pub(crate) fn run(args: &Args, out: &mut Out) -> Result<Exit, Error> {
    let args = &args.settled();
    let plan = Plan::make(args)?;
    let (home, cells) = batch::open(args, &plan)?;
    let mut maker = Maker::new(args, &plan, &home, cells.len())?;
    let missing = maker.missing(&cells)?;
    let (mut at, mut size) = (0, 1);
    while at < cells.len() {
        let end = cells.len().min(at + size);
        for name in maker.make(&cells[at..end], &missing[at..end])? {
            print(args, &home, &name, out)?;
        }
        out.flush()?;
        (at, size) = (end, BLOCK.min(size * GROWTH));
    }
    Ok(Exit::Ok)
}

fn print(args: &Args, home: &Home, name: &str, out: &mut Out) -> Result<(), Error> {
    if !args.json {
        out.bytes(home.shown.join(name).to_string_lossy().as_bytes())?;
        return out.bytes(if args.null { b"\0" } else { b"\n" });
    }
    let path = home.root.join(name);
    let file = Layout::new(&path).meta();
    let read = || -> io::Result<Vec<u8>> {
        let mut line = read_small(&file)?;
        line.truncate(line.trim_ascii_end().len().saturating_sub(1)); // the brace that closes it
        line.extend_from_slice(b",\"path\":");
        serde_json::to_writer(&mut line, &path.to_string_lossy())?;
        line.extend_from_slice(b"}\n");
        Ok(line)
    };
    out.bytes(&read().map_err(|error| Error::io("read", &file, error))?)
}

/// Creates the runs of one call.
struct Maker<'a> {
    args: &'a Args,
    plan: &'a Plan,
    home: &'a Home,
    /// The record of the run at hand.
    meta: Meta,
    patch: SharedPatch<'a>,
    /// Says to others that what is below the scratch names is being written.
    guard: Option<Guard>,
}

impl<'a> Maker<'a> {
    fn new(args: &'a Args, plan: &'a Plan, home: &'a Home, cells: usize) -> Result<Self, Error> {
        let guard = if cells > 1 { Some(Guard::take(&home.root)?) } else { None };
        let meta = Meta { batch: home.batch.clone(), ..plan.template.clone() };
        let patch = SharedPatch { patch: plan.patch.as_ref(), at: None };
        Ok(Self { args, plan, home, meta, patch, guard })
    }

    /// Says which runs are missing; one that exists and is another is an error.
    fn missing(&mut self, cells: &[Cell]) -> Result<Vec<bool>, Error> {
        let mut names = HashSet::new();
        if self.home.existed {
            let entries = fs::read_dir(&self.home.root)
                .map_err(|error| Error::io("read", &self.home.root, error))?
                .filter_map(|entry| entry.ok()?.file_name().into_string().ok());
            names.extend(entries);
            clear(&self.home.root, &names);
        }
        let mut missing = Vec::with_capacity(cells.len());
        for cell in cells {
            let exists = names.contains(&cell.name);
            if exists {
                self.plan.fill(&mut self.meta, self.args, cell);
                self.check_same(&cell.name)?;
            }
            missing.push(!exists);
        }
        Ok(missing)
    }

    /// Refuses the run that exists under a name, if it is not the one that would be created.
    fn check_same(&self, name: &str) -> Result<(), Error> {
        let path = self.home.root.join(name);
        let what = || {
            Error::new(Exit::No, format!("cannot continue with '{}'", self.home.shown.join(name).display()))
        };
        let layout = Layout::new(path);
        if !layout.meta().exists() {
            return Err(what().because("it is no run"));
        }
        let (there, here) = (Meta::shown(&layout)?, &self.meta); // an older version recorded secrets
        let differs = [
            ("other overrides", there.overrides != here.overrides),
            (
                "another config",
                (&there.config_sha256, &there.config_file) != (&here.config_sha256, &here.config_file),
            ),
            ("another command", (&there.command, &there.resume_args) != (&here.command, &here.resume_args)),
            ("another environment", there.env != here.env),
            ("another seed", there.seed != here.seed),
            ("another number of steps", there.total_steps != here.total_steps),
        ];
        match differs.iter().find(|(_, differs)| *differs) {
            None => Ok(()),
            Some((what_differs, _)) => Err(what().because(format!("it exists with {what_differs}"))),
        }
    }

    /// Creates the runs of a block that are missing, and returns the names of all.
    fn make(&mut self, cells: &[Cell], missing: &[bool]) -> Result<Vec<String>, Error> {
        let number = missing.iter().filter(|is_missing| **is_missing).count();
        let durability = if number > FEW { Durability::Process } else { Durability::Power };
        let mut staged = Vec::with_capacity(number);
        for (cell, _) in cells.iter().zip(missing).filter(|(_, is_missing)| **is_missing) {
            staged.push(self.stage(cell, durability)?);
        }
        let root = &self.home.root;
        let failed = |error| Error::io("write to", root, error);
        if number > FEW {
            sync_file_system(root).map_err(failed)?;
        }
        let taken = match (&self.home.batch, &self.args.name) {
            (Some(_), _) if self.args.exist_ok => Taken::Accepted,
            (None, None) => Taken::Numbered,
            _ => Taken::Refused,
        };
        let mut staged = staged.into_iter();
        let mut names = Vec::with_capacity(cells.len());
        for (cell, is_missing) in cells.iter().zip(missing) {
            let run = if *is_missing { staged.next() } else { None };
            let placed = match run {
                None => None,
                Some(run) => {
                    let written = run.path().to_owned();
                    let placed = run.put_in_place(taken)?;
                    self.patch.moved(&written, placed.as_ref().map(|name| root.join(name)).as_deref());
                    if placed.is_none() {
                        self.plan.fill(&mut self.meta, self.args, cell);
                        self.check_same(&cell.name)?;
                    }
                    placed
                }
            };
            names.push(placed.unwrap_or_else(|| cell.name.clone()));
        }
        if number > 0 {
            sync_parent(&root.join(SCRATCH)).map_err(failed)?;
        }
        Ok(names)
    }

    fn stage(&mut self, cell: &Cell, durability: Durability) -> Result<Staged, Error> {
        self.plan.fill(&mut self.meta, self.args, cell);
        let scratch = match &mut self.guard {
            Some(guard) => guard.next(),
            None => format!("{SCRATCH}{}", self.meta.run_id),
        };
        let config = self.plan.config(cell);
        let patch = |target: &Path| self.patch.write(target, durability);
        Staged::write(&self.home.root, &scratch, &self.meta, config, patch, durability)
    }
}

/// The changes of the code, which are the same for every run: written once, then linked.
struct SharedPatch<'a> {
    patch: Option<&'a Patch>,
    at: Option<PathBuf>,
}

impl SharedPatch<'_> {
    /// Writes it, as a link where that can be: one that is refused, or leads nowhere, is a copy.
    fn write(&mut self, target: &Path, durability: Durability) -> io::Result<()> {
        let Some(patch) = self.patch else { return Ok(()) };
        if self.at.as_ref().is_some_and(|known| fs::hard_link(known, target).is_ok()) {
            return Ok(());
        }
        write_with_mode(target, &patch.bytes, 0o600, durability)?; // code may hold secrets
        self.at = Some(target.to_owned());
        Ok(())
    }

    /// Notes that a run has moved, or is gone.
    fn moved(&mut self, from: &Path, to: Option<&Path>) {
        if let Some(inside) = self.at.as_ref().and_then(|known| known.strip_prefix(from).ok()) {
            self.at = to.map(|to| to.join(inside));
        }
    }
}

/// A file that is locked while this process writes runs, under scratch names that begin with its
/// own: whoever finds it unlocked may remove what a run-new that was killed has left.
struct Guard {
    root: PathBuf,
    name: String,
    used: usize,
    _lock: Lock,
}

impl Guard {
    fn take(root: &Path) -> Result<Self, Error> {
        let name = format!("{SCRATCH}{}", Uuid::now_v7());
        let taken =
            Lock::try_take(&root.join(&name)).and_then(|lock| lock.ok_or(io::ErrorKind::WouldBlock.into()));
        let mut lock = taken.map_err(|error| Error::io("write to", root, error))?;
        let _ = lock.sign(&ProcessId::myself()); // an unsigned one is left alone
        Ok(Self { root: root.to_owned(), name, used: 0, _lock: lock })
    }

    /// Returns the next scratch name.
    fn next(&mut self) -> String {
        self.used += 1;
        format!("{}-{}", self.name, self.used)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.root.join(&self.name)); // who finds it unlocked removes it
    }
}

/// Removes what a run-new that was killed on this host has left: not every file system knows of the
/// locks of another.
fn clear(root: &Path, names: &HashSet<String>) {
    let scratch: Vec<&String> = names.iter().filter(|name| name.starts_with(SCRATCH)).collect();
    let is_free = |guard: &Path| guard.is_file() && ask(guard).is_ok_and(|held| held == Held::No);
    for guard in scratch.iter().filter(|name| is_free(&root.join(name))) {
        let signed = holder(&root.join(guard)).map(|holder| holder.host);
        if signed.as_ref().is_some_and(|host| *host != Place::here().host) {
            continue;
        }
        // Before it is signed nothing is written.
        let is_its = |name: &str| name.strip_prefix(guard.as_str()).is_some_and(|rest| rest.starts_with('-'));
        for left in scratch.iter().filter(|name| signed.is_some() && is_its(name)) {
            remove_dir(&root.join(left));
        }
        let _ = fs::remove_file(root.join(guard)); // another one may have been quicker
    }
}
