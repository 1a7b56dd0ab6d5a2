//! The backups of one command: which runs are done, what batches they are of, and what came of it.

use super::batch::Batches;
use super::follow::Followed;
use super::one::{Options, back_up};
use super::report::Report;
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
    /// The store, if it is a directory.
    pub(super) directory: Option<&'a Path>,
    /// What finds evaluations, where these count.
    pub(super) finder: Option<&'a Finder>,
    /// Directories that were backed up.
    pub(super) seen: HashSet<PathBuf>,
    /// Batches whose own files are to be backed up.
    pub(super) batches: Vec<BatchDir>,
    /// What is stored of batches.
    pub(super) others: Batches,
    /// Runs that are backed up until they have ended.
    pub(super) followed: Vec<Followed>,
    /// What removes local files after a backup, if anything does.
    pub(super) cleaner: Option<Cleaner>,
    /// The store was made ready.
    pub(super) is_prepared: bool,
    /// What the command ends with.
    pub(super) exit: Exit,
}

/// The outcome of a backup.
#[derive(Debug)]
pub(super) struct Outcome {
    /// What the command ends with, for this one.
    pub(super) exit: Exit,
    /// Files that were left for the next backup.
    pub(super) left: Vec<String>,
}

impl Session<'_> {
    /// Records an error, if there is one.
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

    /// Backs up a run, unless that was done. Only a store that is out of reach, and what cannot be printed, ends all.
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

    /// Removes local files of a run that was backed up, unless anything could not be sent.
    pub(super) fn clean(&mut self, run: &RunDir, exit: Exit, out: &mut Out) -> Result<(), Error> {
        if let Some(cleaner) = &self.cleaner
            && exit == Exit::Ok
            && self.exit < Exit::System
        {
            self.exit = self.exit.max(cleaner.clean(run, out)?);
        }
        Ok(())
    }

    /// Looks at a run.
    pub(super) fn subject(&self, run: &RunDir) -> Result<Subject, Error> {
        Subject::run(run, self.args.name.as_deref(), self.finder)
    }

    /// Backs up the files of the batches that runs were of.
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

    /// Returns whether the store answers at all: what has failed with one run may work with the next.
    fn is_reachable(&self) -> bool {
        self.store.list_directories(STORE).is_ok() // unlike HEAD, this tells a bucket that is missing
    }

    /// Refuses a store that lies in the run, or has the run at the path of its set.
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

    /// Backs up one run, or the files of a batch, and says what came of it.
    fn one(&mut self, subject: &Subject, out: &mut Out) -> Result<Outcome, Error> {
        match self.back_up(subject) {
            Err(error) if error.exit() == Exit::System && !self.is_reachable() => Err(error),
            done => self.end(done, out),
        }
    }

    /// Prints what came of a backup, or its error. Only what cannot be printed is an error.
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
        if !self.args.dry_run && !mem::replace(&mut self.is_prepared, true) {
            self.store.prepare()?;
        }
        back_up(subject, self.store, self.options, &mut self.others)
    }

    fn print(&self, report: &Report, out: &mut Out) -> Result<Exit, Error> {
        if self.args.reach.json {
            out.json(report)?;
        } else {
            report.lines().try_for_each(|line| out.text(&line))?;
        }
        out.flush()?;
        Ok(if report.unreadable.is_empty() { Exit::Ok } else { Exit::No })
    }
}
