//! Writes a run under a scratch name that no listing shows, makes the run durable, and moves it into place at
//! once.

use crate::config::Config;
use run_common::error::{Error, Exit, plain};
use run_common::fsio::atomic::{Durability, sync_parent, write_whole};
use run_common::fsio::rename::rename_new;
use run_common::message::warn;
use run_common::rundir::layout::Layout;
use run_common::rundir::meta::Meta;
use run_common::rundir::record::document;
use run_common::rundir::recorded::Recorded;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// A run that is complete, but not yet in its place.
#[derive(Debug)]
pub(crate) struct Staged {
    root: PathBuf,
    path: PathBuf,
    name: String,
    is_placed: bool,
}

/// What to do if a name is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IfTaken {
    /// Fail.
    Refused,
    /// Append `-2`, `-3`, … to the name.
    Numbered,
    /// Use the existing run.
    Accepted,
}

impl Staged {
    /// Writes a run below `root` under the name `scratch`.
    pub(crate) fn write(
        root: &Path,
        scratch: &str,
        meta: &Meta,
        config: Option<&Config>,
        patches: impl FnOnce(&Layout) -> io::Result<()>,
        durability: Durability,
    ) -> Result<Self, Error> {
        let (path, name) = (root.join(scratch), meta.run_name.clone());
        let staged = Self { root: root.to_owned(), path, name, is_placed: false };
        let filled = staged.fill(meta, config, patches, durability);
        filled.map_err(|error| Error::io("create a run in", root, error))?;
        Ok(staged)
    }

    fn fill(
        &self,
        meta: &Meta,
        config: Option<&Config>,
        patches: impl FnOnce(&Layout) -> io::Result<()>,
        durability: Durability,
    ) -> io::Result<()> {
        let layout = Layout::new(&self.path);
        fs::DirBuilder::new().mode(0o777).create(&self.path)?;
        fs::create_dir(layout.record())?;
        if let Some(config) = config {
            config.write(&self.path, durability)?;
        }
        patches(&layout)?;
        self.write_record(meta, durability)
    }

    /// Writes the files that hold the run's name, and makes the whole run survive a power cut if asked to.
    fn write_record(&self, meta: &Meta, durability: Durability) -> io::Result<()> {
        let layout = Layout::new(&self.path);
        write_whole(&layout.meta(), &document(meta)?, durability)?;
        write_whole(&layout.lock(), b"", Durability::Process)?;
        write_whole(&layout.status(), &document(&Recorded::created(meta))?, Durability::Process)?;
        if durability == Durability::Power {
            sync_parent(&layout.meta())?;
            sync_parent(&layout.record())?;
        }
        Ok(())
    }

    /// Gives the run its name and returns the name; `None` if an existing run is used instead.
    pub(crate) fn put_in_place(mut self, taken: IfTaken) -> Result<Option<String>, Error> {
        let wanted = self.name.clone();
        let mut number = 1;
        loop {
            let target = self.root.join(&self.name);
            match (rename_new(&self.path, &target), taken) {
                (Ok(()), _) => {
                    self.is_placed = true;
                    return Ok(Some(std::mem::take(&mut self.name)));
                }
                (Err(error), IfTaken::Refused) if is_taken(&error) => {
                    return Err(Error::new(Exit::No, format!("cannot create '{wanted}'"))
                        .because("a run of this name exists"));
                }
                (Err(error), IfTaken::Accepted) if is_taken(&error) => return Ok(None),
                (Err(error), IfTaken::Numbered) if is_taken(&error) => {
                    number = self.next_free(&wanted, number);
                    self.name = format!("{wanted}-{number}");
                    self.rename_record()?;
                }
                (Err(error), _) => return Err(Error::io("create", &target, error)),
            }
        }
    }

    /// Returns where the run was written.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn rename_record(&self) -> Result<(), Error> {
        let mut meta = Meta::read(&Layout::new(&self.path))?;
        meta.run_name.clone_from(&self.name);
        let written = self.write_record(&meta, Durability::Power);
        written.map_err(|error| Error::io("create a run in", &self.root, error))
    }

    /// Returns the next number that seems free, so that a taken name costs no fsync.
    fn next_free(&self, wanted: &str, after: u32) -> u32 {
        let is_free = |number: &u32| !self.root.join(format!("{wanted}-{number}")).exists();
        (after + 1..u32::MAX).find(is_free).unwrap_or(u32::MAX)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.is_placed {
            remove_dir(&self.path);
        }
    }
}

/// Removes a directory that still has its scratch name.
pub(crate) fn remove_dir(path: &Path) {
    if let Err(error) = fs::remove_dir_all(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        warn(&format!("cannot remove '{}': {}", path.display(), plain(&error)));
    }
}

/// Returns whether an error means that a name is taken.
pub(crate) fn is_taken(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AlreadyExists
}
