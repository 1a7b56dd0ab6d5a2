//! `run-sync clean`: removes local checkpoints after seeing them in stores.

mod copies;
mod keep;
mod plan;
mod prove;
mod receipt;
mod remove;
mod report;
mod values;

use crate::address::shown;
use crate::cli::{self, Keep};
use crate::local::home::Home;
use crate::local::scan::Scan;
use crate::local::subject::Subject;
use crate::store::Access;
use copies::{Copy, copies};
use keep::Policy;
use plan::{Extent, Plan, Removal, plan};
use prove::{Doubt, prove};
use remove::Remover;
use report::{Left, Removed, Report};
use run_checkpoint::{Checkpoint, Program, discover};
use run_common::cli::operands::{Operand, open_all};
use run_common::cli::out::Out;
use run_common::error::{Error, Exit};
use run_common::fsio::lock::Lock;
use run_common::fsio::read::open_file;
use run_common::message::complain;
use run_common::rundir::attempts::checkpoint_of;
use run_common::rundir::find::{Found, find};
use run_common::rundir::meta::Meta;
use run_common::rundir::open::RunDir;
use run_common::rundir::receipts::{self, Receipt};
use run_common::rundir::status::Status;
use std::collections::HashSet;
use std::fs;
use values::Values;

/// Cleans up the runs that the command line names.
pub(crate) fn run(args: &cli::Clean, out: &mut Out) -> Result<Exit, Error> {
    out.outlive_reader();
    let mut cleaner = Cleaner::new(&args.keep, Access::new(&args.reach)?)?;
    cleaner.from = args.from.from.as_ref().map(shown);
    cleaner.dry_run = args.dry_run;
    cleaner.json = args.reach.json;
    if cleaner.from.is_some() && cleaner.count > 1 {
        return Err(Error::usage("--copies asks for several stores, and --from names one"));
    }
    let runs_dir = args.runs.runs_dir.path();
    let (mut seen, mut exit) = (HashSet::new(), Exit::Ok);
    let mut note = |error: Error| {
        complain(&error);
        error.exit()
    };
    let mut runs = Vec::new();
    if args.runs.all {
        for found in find(&runs_dir) {
            match found {
                Found::Run(run, ()) => runs.push(run),
                found => exit = exit.max(found.fault(&runs_dir).map_or(Exit::Ok, &mut note)),
            }
        }
    }
    for operand in open_all(&args.runs.runs, &runs_dir, args.runs.null) {
        match operand {
            Ok(Operand::Run(run)) => runs.push(run),
            Ok(Operand::Batch(batch)) => match batch.runs() {
                Ok(found) => runs.extend(found),
                Err(error) => exit = exit.max(note(error)),
            },
            Ok(Operand::Others(_, found)) => runs.extend(found), // each is refused
            Err(error) => exit = exit.max(note(error)),
        }
    }
    for run in runs {
        let root = run.layout().root();
        if seen.insert(fs::canonicalize(root).unwrap_or_else(|_| root.to_owned())) {
            exit = exit.max(cleaner.clean(&run, out)?);
        }
    }
    Ok(exit)
}

/// Cleans up runs.
pub(crate) struct Cleaner {
    policy: Policy,
    extent: Extent,
    access: Access,
    /// The only store whose receipts count, if given.
    from: Option<String>,
    /// Number of stores that must have what is removed.
    count: usize,
    dry_run: bool,
    /// The backup that would store the files is only planned.
    is_ahead: bool,
    json: bool,
}

impl Cleaner {
    fn new(keep: &Keep, access: Access) -> Result<Self, Error> {
        Ok(Self {
            policy: Policy::new(keep)?,
            extent: Extent::Checkpoints,
            access,
            from: None,
            count: keep.copies.into(),
            dry_run: false,
            is_ahead: false,
            json: false,
        })
    }

    /// Returns the cleaner of `backup --cleanup`, which relies on the store `url` of the backup unless it needs
    /// several; none without this option.
    pub(crate) fn of_backup(args: &cli::Backup, access: &Access, url: &str) -> Result<Option<Self>, Error> {
        let cleaner = Self::new(&args.keep, access.clone())?;
        let Some(cleanup) = &args.cleanup else {
            let is_asked = cleaner.policy.is_given || args.keep.keep_weights || args.keep.copies > 1;
            let error = Error::usage("--keep, --keep-latest, --keep-weights and --copies go with --cleanup");
            return if is_asked { Err(error) } else { Ok(None) };
        };
        let extent = if cleanup == "all" { Extent::All } else { Extent::Checkpoints };
        if extent == Extent::All && cleaner.policy.keeps_weights {
            return Err(Error::usage("--keep-weights is of no use with --cleanup=all"));
        }
        let (dry_run, json) = (args.dry_run, args.reach.json);
        let from = (cleaner.count == 1).then(|| url.to_owned());
        Ok(Some(Self { extent, from, dry_run, is_ahead: dry_run, json, ..cleaner }))
    }

    /// Cleans up a run, and reports the outcome. Fails only if the output cannot be written.
    pub(crate) fn clean(&self, run: &RunDir, out: &mut Out) -> Result<Exit, Error> {
        let report = match self.one(run) {
            Ok(report) => report,
            Err(error) => {
                complain(&error);
                return Ok(error.exit());
            }
        };
        report.say();
        if self.json {
            out.json(&report)?;
        } else {
            report.lines().iter().try_for_each(|line| out.text(line))?;
        }
        out.flush()?;
        Ok(if report.left.is_empty() { Exit::Ok } else { Exit::No })
    }

    fn one(&self, run: &RunDir) -> Result<Report, Error> {
        if let Some(foreign) = run.layout().foreign() {
            return Err(foreign.refuse("clean", run));
        }
        let subject = Subject::run(run, None, None)?;
        let what = || format!("cannot clean '{}'", subject.path().display());
        if !subject.has_ended && (subject.is_live || subject.status != Status::Created.word()) {
            let error = Error::new(Exit::Busy, what()).because(format!("it is {}", subject.status));
            return Err(error.hint("what is active is never cleaned"));
        }
        let mut report = Report {
            name: subject.name.to_string(),
            path: run.absolute().display().to_string(),
            result: "nothing",
            ..Report::default()
        };
        let values = Values::of(run, &subject.run_id, self.policy.metrics())?;
        let kept = match self.extent {
            Extent::All if !self.policy.is_given => vec![false; subject.checkpoints.len()],
            _ => self.policy.kept(&subject.checkpoints, &|metric, step| values.at(metric, step)).map_err(
                |why| {
                    let hint = format!("'run-status {}' lists its metrics", subject.path().display());
                    Error::new(Exit::No, what()).because(why).hint(hint)
                },
            )?,
        };
        let scan = Scan::of(&subject.roots);
        let Plan { removals: planned, behind } =
            plan(&scan, subject.path(), &subject.checkpoints, &kept, &self.policy, self.extent);
        report.kept = paths(&subject.checkpoints, &kept);
        report.left.extend(behind.iter().map(|path| Left {
            path: path.display().to_string(),
            why: "lies behind a link, and is in no backup".to_owned(),
        }));
        if planned.is_empty() {
            return Ok(report);
        }
        let receipts = receipts::read(&subject.record)
            .map_err(|error| Error::io("read", &receipts::path(&subject.record), error))?;
        let copies = if self.is_ahead {
            Vec::new()
        } else {
            copies(&receipts, self.from.as_deref(), &subject.run_id, self.count, &self.access)
                .map_err(|error| explained(&what(), &error))?
        };
        report.stores = copies.iter().map(|copy| copy.url.clone()).collect();
        if let Some(copy) = copies.first() {
            report.name = copy.name();
        }
        if self.dry_run {
            report.result = "planned";
            report.add(&planned);
            return Ok(report);
        }
        let home = Home::open(&subject, "clean")?;
        if !home.is_writable() {
            return Err(Error::new(Exit::System, what()).because("no receipt can be written"));
        }
        let doubts = prove(&subject.roots[0], &planned, &copies, self.access.transfers, &report.name)?;
        let is_damaged = doubts.values().any(|doubt| matches!(doubt, Doubt::Damaged(_)));
        let mut doubtful = HashSet::new();
        for ((number, path), doubt) in doubts {
            doubtful.insert(number);
            let (Doubt::Left(why) | Doubt::Damaged(why)) = doubt;
            report.left.push(Left { path, why });
        }
        let numbered = planned.into_iter().enumerate();
        let proven: Vec<Removal> = numbered
            .filter(|(number, _)| !is_damaged && !doubtful.contains(number))
            .map(|(_, removal)| removal)
            .collect();
        report.result = if proven.is_empty() { "refused" } else { "removed" };
        if !proven.is_empty() {
            remove(run, &subject, &home, &proven, &copies, &mut report)
                .map_err(|error| explained(&what(), &error))?;
        }
        Ok(report)
    }
}

/// Removes what the stores are proven to have. No attempt can begin meanwhile.
fn remove(
    run: &RunDir,
    subject: &Subject,
    home: &Home,
    proven: &[Removal],
    copies: &[Copy],
    report: &mut Report,
) -> Result<(), Error> {
    let layout = run.layout();
    let lock = Lock::try_take(&layout.lock()).map_err(|error| Error::io("lock", &layout.lock(), error))?;
    let Some(_lock) = lock else {
        return Err(Error::new(Exit::Busy, "it was started meanwhile"));
    };
    let recorded = Meta::read(layout).ok().and_then(|meta| checkpoint_of(&meta, layout));
    if discover(layout, recorded.as_ref(), Program::Ended)? != subject.checkpoints {
        return Err(Error::new(Exit::No, "its checkpoints have changed meanwhile"));
    }
    // Written before the first file is removed: a listed file that still exists is harmless.
    if let Some(copy) = copies.first() {
        let mut listed = receipt::all(copy, proven).into_iter().map(Receipt::Clean);
        listed.try_for_each(|receipt| home.add(&receipt))?;
    }
    let path = receipts::path(&subject.record);
    let synced = open_file(&path).and_then(|file| file.sync_all());
    synced.map_err(|error| Error::io("write", &path, error))?;
    let mut remover = Remover::new(&subject.roots[0]);
    for removal in proven {
        let left = remover.remove(removal);
        if left.is_empty() {
            report.add(std::slice::from_ref(removal));
        }
        report.left.extend(left.into_iter().map(|(path, why)| Left { path, why }));
    }
    Ok(())
}

impl Report {
    fn add(&mut self, removals: &[Removal]) {
        for removal in removals {
            let (path, bytes) = (removal.path.display().to_string(), removal.bytes());
            self.removed.push(Removed { path, files: removal.files().count(), bytes });
            self.bytes = self.bytes.saturating_add(bytes);
        }
    }
}

fn paths(checkpoints: &[Checkpoint], kept: &[bool]) -> Vec<String> {
    let kept = checkpoints.iter().zip(kept).filter(|(_, kept)| **kept);
    kept.map(|(one, _)| one.path.display().to_string()).collect()
}

/// Returns the error with what could not be done, and why.
fn explained(what: &str, error: &Error) -> Error {
    let explained = Error::new(error.exit(), what).because(error.to_string());
    match error.advice() {
        Some(advice) => explained.hint(advice),
        None => explained,
    }
}
