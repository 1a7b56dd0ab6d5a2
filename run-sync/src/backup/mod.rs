//! `run-sync backup`: stores what is new of runs, verifies it, and records that.

mod assemble;
mod batch;
mod budget;
mod commit;
mod home;
mod journal;
mod large;
mod objects;
mod one;
mod plan;
mod report;
mod send;
mod subject;
mod writer;

use crate::cli::Backup as Args;
use crate::format::key::ABILITIES;
use crate::format::manifest::SetKind;
use crate::store::url::StoreUrl;
use crate::store::{self, Store};
use crate::sync::{access, address, shown};
use batch::Batches;
use one::{Options, back_up};
use run_common::cli::operands::{Operand, open_all};
use run_common::cli::out::Out;
use run_common::error::{Error, Exit};
use run_common::message::complain;
use run_common::rundir::batch::BatchDir;
use run_common::rundir::evaluations::Finder;
use run_common::rundir::find::{Found, find};
use run_common::rundir::open::RunDir;
use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use subject::Subject;

/// Backs up what the command line names.
pub(crate) fn run(args: &Args, out: &mut Out) -> Result<Exit, Error> {
    if args.name.is_some() && (args.runs.all || args.runs.runs.len() > 1) {
        return Err(Error::usage("--as names one run"));
    }
    let url = address(args.to.to.as_ref())?;
    let store = store::open(&url, &access(&args.reach))?;
    let options = Options {
        url: shown(&url),
        transfers: args.reach.transfers.into(),
        dry_run: args.dry_run,
        read_back: args.read_back,
        evaluations: !args.no_eval,
    };
    let finder = Finder::new(None);
    let mut session = Session {
        args,
        store: &*store,
        options: &options,
        directory: match &url {
            StoreUrl::Directory(root) => Some(root),
            StoreUrl::Cloud { .. } | StoreUrl::Rclone(_) => None,
        },
        finder: (!args.no_eval).then_some(&finder),
        seen: HashSet::new(),
        batches: Vec::new(),
        others: Batches::default(),
        is_prepared: false,
        exit: Exit::Ok,
    };
    let runs_dir = args.runs.runs_dir.path();
    if args.runs.all {
        for found in find(&runs_dir) {
            match found {
                Found::Run(path, ()) => session.run(&RunDir::seen(path), out)?,
                found => session.note(found.fault(&runs_dir)),
            }
        }
    }
    for operand in open_all(&args.runs.runs, &runs_dir, args.runs.null) {
        match operand {
            Ok(Operand::Run(run)) => session.run(&run, out)?,
            Ok(Operand::Batch(batch)) => session.batch(batch, out)?,
            Err(error) => session.note(Some(error)),
        }
    }
    session.batches(out)?;
    Ok(session.exit)
}

struct Session<'a> {
    args: &'a Args,
    store: &'a dyn Store,
    options: &'a Options,
    /// The store, if it is a directory.
    directory: Option<&'a Path>,
    finder: Option<&'a Finder>,
    /// Directories that were backed up.
    seen: HashSet<PathBuf>,
    batches: Vec<BatchDir>,
    /// What is stored of batches.
    others: Batches,
    /// The store was made ready.
    is_prepared: bool,
    exit: Exit,
}

impl Session<'_> {
    fn note(&mut self, error: Option<Error>) {
        if let Some(error) = error {
            complain(&error);
            self.exit = self.exit.max(error.exit());
        }
    }

    fn batch(&mut self, batch: BatchDir, out: &mut Out) -> Result<(), Error> {
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

    fn run(&mut self, run: &RunDir, out: &mut Out) -> Result<(), Error> {
        if !self.is_new(run.layout().root()) {
            return Ok(());
        }
        if self.args.name.is_none() {
            self.batches.extend(BatchDir::of(&RunDir::seen(run.absolute())));
        }
        self.one(Subject::run(run, self.args.name.as_deref(), self.finder), out)
    }

    /// Backs up the files of the batches that runs were of.
    fn batches(&mut self, out: &mut Out) -> Result<(), Error> {
        for batch in std::mem::take(&mut self.batches) {
            if self.is_new(batch.layout().root()) {
                self.one(Subject::batch(&batch), out)?;
            }
        }
        Ok(())
    }

    fn is_new(&mut self, path: &Path) -> bool {
        self.seen.insert(fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()))
    }

    /// Says whether the store answers at all: what has failed with one run may work with the next.
    fn is_reachable(&self) -> bool {
        self.store.head(ABILITIES).is_ok()
    }

    /// Refuses a store that lies in the run, or has the run in the place of its set.
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

    /// Backs up one; only a store that is out of reach, and what cannot be printed, ends all.
    fn one(&mut self, subject: Result<Subject, Error>, out: &mut Out) -> Result<(), Error> {
        let backed_up = subject.and_then(|subject| {
            self.check_apart(&subject)?;
            if !std::mem::replace(&mut self.is_prepared, true) && !self.args.dry_run {
                self.store.prepare()?;
            }
            back_up(&subject, self.store, self.options, &mut self.others)
        });
        let report = match backed_up {
            Ok(report) => report,
            Err(error) if error.exit() == Exit::System && !self.is_reachable() => return Err(error),
            Err(error) => {
                self.note(Some(error));
                return Ok(());
            }
        };
        if !report.unreadable.is_empty() {
            self.exit = self.exit.max(Exit::No);
        }
        if self.args.reach.json {
            out.json(&report)?;
        } else {
            out.text(&report.line())?;
        }
        out.flush()
    }
}
