//! Creates runs: writes each under a scratch name, then moves it into place.

use crate::batch::Home;
use crate::cli::Args;
use crate::guard::{Guard, SCRATCH, clear};
use crate::plan::{Plan, Planned};
use crate::staged::{IfTaken, Staged};
use run_common::error::{Error, Exit};
use run_common::fsio::atomic::{Durability, sync_file_system, sync_parent, write_with_mode};
use run_common::rundir::layout::Layout;
use run_common::rundir::meta::Meta;
use run_common::rundir::open::RunDir;
use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Up to this number, each run is synced by itself: syncing the file system also writes the data of other
/// programs.
const FEW: usize = 4;

/// Creates the runs of one invocation.
pub(crate) struct Maker<'a> {
    args: &'a Args,
    plan: &'a Plan,
    home: &'a Home,
    /// The record of the current run.
    meta: Meta,
    /// The changes of the code, and its source files that git does not track.
    patches: [SharedPatch<'a>; 2],
    /// Tells other processes that the scratch names are in use.
    guard: Option<Guard>,
}

impl<'a> Maker<'a> {
    pub(crate) fn new(args: &'a Args, plan: &'a Plan, home: &'a Home, planned: usize) -> Result<Self, Error> {
        let guard = if planned > 1 { Some(Guard::take(&home.root)?) } else { None };
        let meta = Meta { batch: home.batch.clone(), ..plan.template.clone() };
        let patch = plan.patch.as_ref().map(|patch| patch.bytes.as_slice());
        let untracked = plan.untracked.as_ref().map(String::as_bytes);
        let patches = [patch, untracked].map(|bytes| SharedPatch { bytes, at: None });
        Ok(Self { args, plan, home, meta, patches, guard })
    }

    /// Returns which runs are missing. An existing run with other contents is an error. Runs that an older
    /// version created keep their names.
    pub(crate) fn missing(&mut self, planned: &mut [Planned]) -> Result<Vec<bool>, Error> {
        let mut names = HashSet::new();
        if self.home.existed {
            let entries = fs::read_dir(&self.home.root)
                .map_err(|error| Error::io("read", &self.home.root, error))?
                .filter_map(|entry| entry.ok()?.file_name().into_string().ok());
            names.extend(entries);
            clear(&self.home.root, &names);
        }
        self.plan.rename_known(self.args, planned, &names);
        let mut missing = Vec::with_capacity(planned.len());
        for one in planned {
            let exists = names.contains(&one.name);
            if exists {
                self.plan.fill(&mut self.meta, self.args, one);
                self.check_same(&one.name)?;
            }
            missing.push(!exists);
        }
        Ok(missing)
    }

    /// Refuses an existing run that differs from the run that would be created.
    fn check_same(&self, name: &str) -> Result<(), Error> {
        let path = self.home.root.join(name);
        let what = || {
            Error::new(Exit::No, format!("cannot continue with '{}'", self.home.shown.join(name).display()))
        };
        let layout = Layout::new(path);
        if RunDir::at(layout.root()).is_err() {
            return Err(what().because("not a run"));
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
            ("another --scrape", there.options != here.options),
            ("another seed", there.seed != here.seed),
            ("another number of steps", there.total_steps != here.total_steps),
        ];
        match differs.iter().find(|(_, differs)| *differs) {
            None => Ok(()),
            Some((what_differs, _)) => Err(what().because(format!("it exists with {what_differs}"))),
        }
    }

    /// Creates the missing runs of a block, and returns the names of all its runs.
    pub(crate) fn make(&mut self, planned: &[Planned], missing: &[bool]) -> Result<Vec<String>, Error> {
        let number = missing.iter().filter(|is_missing| **is_missing).count();
        let durability = if number > FEW { Durability::Process } else { Durability::Power };
        let mut staged = Vec::with_capacity(number);
        for (one, _) in planned.iter().zip(missing).filter(|(_, is_missing)| **is_missing) {
            staged.push(self.stage(one, durability)?);
        }
        let root = &self.home.root;
        let failed = |error| Error::io("write to", root, error);
        if number > FEW {
            sync_file_system(root).map_err(failed)?;
        }
        let taken = match (&self.home.batch, &self.args.name) {
            (Some(_), _) if self.args.exist_ok => IfTaken::Accepted,
            (None, None) => IfTaken::Numbered,
            _ => IfTaken::Refused,
        };
        let mut staged = staged.into_iter();
        let mut names = Vec::with_capacity(planned.len());
        for (one, is_missing) in planned.iter().zip(missing) {
            let run = if *is_missing { staged.next() } else { None };
            let placed = match run {
                None => None,
                Some(run) => {
                    let written = run.path().to_owned();
                    let placed = run.put_in_place(taken)?;
                    for patch in &mut self.patches {
                        patch.moved(&written, placed.as_ref().map(|name| root.join(name)).as_deref());
                    }
                    if placed.is_none() {
                        self.plan.fill(&mut self.meta, self.args, one);
                        self.check_same(&one.name)?;
                    }
                    placed
                }
            };
            names.push(placed.unwrap_or_else(|| one.name.clone()));
        }
        if number > 0 {
            sync_parent(&root.join(SCRATCH)).map_err(failed)?;
        }
        Ok(names)
    }

    fn stage(&mut self, one: &Planned, durability: Durability) -> Result<Staged, Error> {
        self.plan.fill(&mut self.meta, self.args, one);
        let scratch = match &mut self.guard {
            Some(guard) => guard.next(),
            None => format!("{SCRATCH}{}", self.meta.run_id),
        };
        let config = self.plan.config(one);
        let [patch, untracked] = &mut self.patches;
        let patches = |layout: &Layout| {
            patch.write(&layout.patch(), durability)?;
            untracked.write(&layout.untracked(), durability)
        };
        Staged::write(&self.home.root, &scratch, &self.meta, config, patches, durability)
    }
}

/// A patch, the same for every run: written once, then linked.
struct SharedPatch<'a> {
    bytes: Option<&'a [u8]>,
    at: Option<PathBuf>,
}

impl SharedPatch<'_> {
    /// Links the patch, or writes a copy if the link is refused or its source is gone.
    fn write(&mut self, target: &Path, durability: Durability) -> io::Result<()> {
        let Some(bytes) = self.bytes else { return Ok(()) };
        if self.at.as_ref().is_some_and(|known| fs::hard_link(known, target).is_ok()) {
            return Ok(());
        }
        write_with_mode(target, bytes, 0o600, durability)?; // code may hold secrets
        self.at = Some(target.to_owned());
        Ok(())
    }

    /// Records that a run has moved, or is gone.
    fn moved(&mut self, from: &Path, to: Option<&Path>) {
        if let Some(inside) = self.at.as_ref().and_then(|known| known.strip_prefix(from).ok()) {
            self.at = to.map(|to| to.join(inside));
        }
    }
}
