//! The watched runs: searched again when runs may have appeared or vanished, and read again when they may
//! have changed.

use crate::select::Scope;
use run_common::error::{Error, Exit};
use run_common::message::complain;
use run_common::rundir::find::Holders;
use run_common::rundir::observe::{Observed, Observer};
use run_common::rundir::open::{RunDir, RunStamp};
use run_common::rundir::status::Status;
use run_launch::settle::settle;
use std::collections::HashMap;
use std::path::PathBuf;

/// The watched runs, and their last known state.
pub(crate) struct Watched<'a> {
    pub(crate) scope: &'a Scope<'a>,
    observer: Observer,
    pub(crate) runs: Vec<Known>,
    /// The directories where runs may appear.
    holders: Holders,
    is_first: bool,
    /// Whether errors are drawn instead of printed.
    pub(crate) is_quiet: bool,
    pub(crate) errors: Vec<String>,
    pub(crate) exit: Exit,
}

/// A run as of the last look.
pub(crate) struct Known {
    pub(crate) dir: RunDir,
    /// The stamp of its record.
    stamp: Option<RunStamp>,
    pub(crate) observed: Option<Observed>,
    /// Whether it was looked at just now.
    pub(crate) is_new: bool,
}

impl<'a> Watched<'a> {
    pub(crate) fn new(scope: &'a Scope, observer: Observer) -> Self {
        Self {
            scope,
            observer,
            runs: Vec::new(),
            holders: Holders::default(),
            is_first: true,
            is_quiet: false,
            errors: Vec::new(),
            exit: Exit::Ok,
        }
    }

    /// Looks at the runs that may have changed.
    pub(crate) fn look(&mut self) -> Result<(), Error> {
        if self.is_first || self.holders.may_have_changed() {
            self.search()?;
        }
        for number in 0..self.runs.len() {
            let known = &mut self.runs[number];
            let stamp = known.dir.stamp();
            // What another system does not write any more stays in doubt until it does.
            let is_foreign = known.dir.layout().foreign().is_some();
            let rests = known.observed.as_ref().is_some_and(|run| match run.status() {
                Status::Queued | Status::Running => false,
                Status::Stale => is_foreign,
                _ => true,
            });
            known.is_new =
                !(rests || known.observed.is_none()) || stamp != known.stamp || known.stamp.is_none();
            if !known.is_new {
                continue;
            }
            known.stamp = stamp;
            match self.observer.observe(&known.dir) {
                Ok(run) => known.observed = Some(run),
                Err(error) => {
                    let had = known.observed.take().is_some();
                    if had || self.is_first {
                        self.fail(&error);
                    }
                }
            }
        }
        let new = self.runs.iter_mut().filter(|run| run.is_new);
        settle(&self.observer, new.filter_map(|run| run.observed.as_mut()));
        self.is_first = false;
        Ok(())
    }

    /// Finds the runs, and keeps the known state of earlier ones.
    fn search(&mut self) -> Result<(), Error> {
        let selection = self.scope.select()?;
        self.holders = selection.holders;
        let mut known: HashMap<PathBuf, Known> =
            self.runs.drain(..).map(|run| (run.dir.layout().root().to_owned(), run)).collect();
        for run in selection.runs {
            match run {
                Ok(dir) => {
                    let old = known.remove(dir.layout().root());
                    self.runs.push(old.unwrap_or(Known { dir, stamp: None, observed: None, is_new: true }));
                }
                Err(error) if self.is_first => self.fail(&error),
                Err(_) => {}
            }
        }
        Ok(())
    }

    pub(crate) fn fail(&mut self, error: &Error) {
        self.exit = self.exit.max(error.exit());
        if self.is_quiet {
            self.errors.push(error.to_string());
        } else {
            complain(error);
        }
    }

    /// Returns whether all named runs have ended.
    pub(crate) fn is_over(&self) -> bool {
        self.scope.is_named() && self.observed().all(|run| run.status().has_ended())
    }

    pub(crate) fn observed(&self) -> impl Iterator<Item = &Observed> {
        self.runs.iter().filter_map(|run| run.observed.as_ref())
    }
}
