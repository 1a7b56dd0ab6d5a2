//! The backups of one command: the runs that are done, their batches, and the outcomes.

use super::batch::Batches;
use super::follow::Followed;
use super::one::{Options, back_up};
use super::report::Report;
use super::room::{Rooms, check_name};
use crate::clean::Cleaner;
use crate::cli::Backup as Args;
use crate::format::key::STORE;
use crate::format::manifest::SetKind;
use crate::local::subject::Subject;
use crate::store::Store;
use run_common::cli::out::Out;
use run_common::error::{Error, Exit};
use run_common::message::complain;
use run_common::rundir::batch::BatchDir;
use run_common::rundir::evaluations::Finder;
use run_common::rundir::open::RunDir;
use std::collections::HashSet;
use std::fs;
use std::mem;
use std::path::{Path, PathBuf};

/// The backups of one command.
pub(super) struct Session<'a> {
    pub(super) args: &'a Args,
    pub(super) store: &'a dyn Store,
    pub(super) options: &'a Options,
    /// The directory, if the store is one.
    pub(super) directory: Option<&'a Path>,
    /// Finds evaluations, if the backup includes them.
    pub(super) finder: Option<&'a Finder>,
    /// Directories that are backed up already.
    pub(super) seen: HashSet<PathBuf>,
    /// Batches whose own files must be backed up.
    pub(super) batches: Vec<BatchDir>,
    /// Stored contents of batches.
    pub(super) others: Batches,
    /// Checks the names of new sets.
    pub(super) rooms: Rooms,
    /// Runs to back up until they have ended.
    pub(super) followed: Vec<Followed>,
    /// Removes local files after a backup, with `--cleanup`.
    pub(super) cleaner: Option<Cleaner>,
    /// The store is ready for writing.
    pub(super) is_prepared: bool,
    /// Exit status of the command.
    pub(super) exit: Exit,
}

/// The outcome of a backup.
#[derive(Debug)]
pub(super) struct Outcome {
    /// Exit status for this backup.
    pub(super) exit: Exit,
    /// Files that were left for the next backup.
    pub(super) left: Vec<String>,
}

impl Session<'_> {
    /// Reports an error, if there is one.
    pub(super) fn note(&mut self, error: Option<Error>) {
        if let Some(error) = error {
            complain(&error);
            self.exit = self.exit.max(error.exit());
        }
    }

    /// Backs up the runs of a batch.
    pub(super) fn batch(&mut self, batch: BatchDir, out: &mut Out) -> Result<(), Error> {
        if self.args.name.is_some() {
            return Err(Error::usage("--as names one run, and no batch"));
        }
        match batch.runs() {
            Ok(runs) => runs.iter().try_for_each(|run| self.run(run, out))?,
            Err(error) => self.note(Some(error)),
        }
        self.batches.push(batch);
        Ok(())
    }

    /// Backs up a run, unless this was done already. Fails only if the store is unreachable, or the output
    /// cannot be written.
    pub(super) fn run(&mut self, run: &RunDir, out: &mut Out) -> Result<(), Error> {
        if !self.is_new(run.layout().root()) {
            return Ok(());
        }
        if self.args.name.is_none() {
            self.batches.extend(BatchDir::of(&run.by_absolute()));
        }
        let subject = match self.subject(run) {
            Ok(subject) => subject,
            Err(error) => {
                self.note(Some(error));
                return Ok(());
            }
        };
        let outcome = self.one(&subject, out)?;
        let exit = outcome.exit;
        if self.args.follow && !self.args.dry_run && !subject.has_ended {
            let number = self.followed.len();
            self.followed.push(Followed::new(run, number, &subject.checkpoints, &outcome));
        } else {
            self.exit = self.exit.max(exit);
            self.clean(run, exit, out)?;
        }
        Ok(())
    }

    /// Removes local files of a backed-up run, unless a file could not be sent.
    pub(super) fn clean(&mut self, run: &RunDir, exit: Exit, out: &mut Out) -> Result<(), Error> {
        if let Some(cleaner) = &self.cleaner
            && exit == Exit::Ok
            && self.exit < Exit::System
        {
            self.exit = self.exit.max(cleaner.clean(run, out)?);
        }
        Ok(())
    }

    /// Examines a run.
    pub(super) fn subject(&self, run: &RunDir) -> Result<Subject, Error> {
        Subject::run(run, self.args.name.as_deref(), self.finder)
    }

    /// Backs up the files of the batches of all runs.
    pub(super) fn batches(&mut self, out: &mut Out) -> Result<(), Error> {
        for batch in mem::take(&mut self.batches) {
            if self.is_new(batch.layout().root()) {
                match Subject::batch(&batch) {
                    Ok(subject) => self.exit = self.exit.max(self.one(&subject, out)?.exit),
                    Err(error) => self.note(Some(error)),
                }
            }
        }
        Ok(())
    }

    fn is_new(&mut self, path: &Path) -> bool {
        self.seen.insert(fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()))
    }

    /// Returns whether the store answers: after a failure with one run, another run may succeed.
    fn is_reachable(&self) -> bool {
        self.store.list_directories(STORE).is_ok() // unlike HEAD, this fails if the bucket is missing
    }

    /// Refuses a store inside the run, or a run at the path of its set in the store.
    fn check_apart(&self, subject: &Subject) -> Result<(), Error> {
        let Some(store) = self.directory else { return Ok(()) };
        let real =
            |path: &Path| fs::canonicalize(path).or_else(|_| std::path::absolute(path)).unwrap_or_default();
        let store = real(store);
        let set = real(&store.join(subject.name.prefix()));
        for root in &subject.roots {
            let root = real(&root.path);
            let is_inside = subject.kind == SetKind::Run && store.starts_with(&root); // of a batch few files count
            if is_inside || root.starts_with(&set) || root.parent() == Some(&store) {
                let what = format!("cannot back up '{}' to '{}'", root.display(), store.display());
                return Err(Error::usage(what).because("the store lies in the run, or the run in the store"));
            }
        }
        Ok(())
    }

    /// Backs up one run, or the files of a batch, and reports the outcome.
    fn one(&mut self, subject: &Subject, out: &mut Out) -> Result<Outcome, Error> {
        match self.back_up(subject) {
            Err(error) if error.exit() == Exit::System && !self.is_reachable() => Err(error),
            done => self.end(done, out),
        }
    }

    /// Prints the outcome of a backup, or its error. Fails only if the output cannot be written.
    pub(super) fn end(&self, done: Result<Report, Error>, out: &mut Out) -> Result<Outcome, Error> {
        match done {
            Ok(report) => Ok(Outcome { exit: self.print(&report, out)?, left: report.left }),
            Err(error) => {
                complain(&error);
                Ok(Outcome { exit: error.exit(), left: Vec::new() })
            }
        }
    }

    /// Backs up one run, or the files of a batch.
    pub(super) fn back_up(&mut self, subject: &Subject) -> Result<Report, Error> {
        self.check_apart(subject)?;
        check_name(subject)?;
        if !self.args.dry_run && !mem::replace(&mut self.is_prepared, true) {
            self.store.prepare()?;
        }
        back_up(subject, self.store, self.options, &mut self.others, &mut self.rooms)
    }

    fn print(&self, report: &Report, out: &mut Out) -> Result<Exit, Error> {
        if self.args.reach.json {
            out.json(report)?;
        } else {
            report.lines().try_for_each(|line| out.text(&line))?;
        }
        out.flush()?;
        Ok(if report.is_whole() { Exit::Ok } else { Exit::No })
    }
}
