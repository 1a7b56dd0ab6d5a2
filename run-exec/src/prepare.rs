//! Turns a held run into a task for the supervisor, and the record of its start.

use crate::attempt::Attempt;
use crate::held_run::HeldRun;
use crate::options::Options;
use crate::plan::Plan;
use run_common::cli::statuses::Ended;
use run_common::error::Error;
use run_common::fsio::append::end_last_line;
use run_common::fsio::stamp::Stamp;
use run_common::rundir::attempts::checkpoint_of;
use run_common::rundir::meta::{Checkpoint, Meta};
use run_common::rundir::record::Record;
use run_supervise::{Task, run};
use std::fs;
use std::path::Path;

impl Attempt {
    /// Makes the attempt of a held run; returns how to exit.
    pub(crate) fn make(self, options: &Options, held: HeldRun) -> Result<Ended, Error> {
        if let Some(count) = self.free {
            return self.make_when_free(options, held, count, None);
        }
        let (task, record) = self.prepare(options, held)?;
        run(&task, record, self.parent, None)
    }

    /// Plans the attempt, unless a stop was requested.
    pub(crate) fn prepare(&self, options: &Options, mut held: HeldRun) -> Result<(Task, Record), Error> {
        held.active.sign()?; // the parent process may have taken the lock
        let stop = held.layout().stop();
        let asked_before = stamp(&stop);
        let heeds_stop = !self.is_resume || self.is_retry || options.owner.is_some();
        if heeds_stop && asked_before.is_some() {
            return Err(held.refuse_stopped());
        }
        let mut meta = Meta::read(held.layout())?;
        meta.checkpoint = checkpoint_of(&meta, held.layout());
        if let Some(pattern) = &options.checkpoint {
            meta.checkpoint = Some(Checkpoint::with_pattern(meta.checkpoint, pattern));
        }
        // If this fails, readers count the first row of the attempt as damaged.
        let _ = end_last_line(&held.layout().metrics());
        let Plan { task, start } = Plan::make(options, self, held.active.run(), &meta, &held.recorded)?;
        // Remove a stop request that the resume overrides, but not one that came meanwhile.
        match (asked_before, stamp(&stop)) {
            (_, None) => {}
            (Some(before), Some(now)) if before == now => {
                fs::remove_file(&stop).map_err(|error| Error::io("remove", &stop, error))?;
            }
            (_, Some(_)) => return Err(held.refuse_stopped()),
        }
        Ok((task, Record::new(held.active, held.recorded, held.died, start)))
    }
}

/// Returns the stamp of the file at a path, whatever its kind.
fn stamp(path: &Path) -> Option<Stamp> {
    fs::symlink_metadata(path).ok().map(|found| Stamp::of(&found))
}
