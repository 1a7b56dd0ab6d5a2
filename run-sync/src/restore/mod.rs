//! `run-sync restore`: brings runs back. Verifies every byte before a file gets its name, and replaces local
//! files only on request.

mod check;
mod choose;
mod ground;
mod place;
mod plan;
mod receive;
mod tree;

use crate::at::{Chosen, choose};
use crate::backup::writer::writer_here;
use crate::bar::Bar;
use crate::cli;
use crate::format::entry::{Entry, Kind, Place};
use crate::set::{Set, SetName};
use crate::source::Source;
use check::{Checks, lock_of};
use choose::Choice;
use ground::Ground;
use plan::{Plan, Planner, Step, Unit};
use receive::Zeros;
use run_common::cli::out::Out;
use run_common::error::{Error, Exit};
use run_common::figures::{counted, human_bytes};
use run_common::fsio::lock::{Held, Lock, ask};
use run_common::message::{complain, warn};
use run_common::rundir::evaluations::{Evaluations, directory};
use run_common::rundir::open::RunDir;
use rustix::fd::OwnedFd;
use serde::Serialize;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};

/// The result of a restore, or of a dry run.
#[derive(Debug, Serialize)]
struct Report {
    name: String,
    /// Directory of the run, absolute.
    path: String,
    number: u64,
    manifest: String,
    dry_run: bool,
    /// Files that were received, or would be.
    files: usize,
    /// Bytes of these files.
    bytes: u64,
    /// Files that were here already.
    equal: usize,
    left: Vec<Left>,
    damaged: Vec<Left>,
    /// With `--dry-run`: a line for each file that would be restored.
    #[serde(skip)]
    marks: Vec<String>,
}

/// A file that was not restored.
#[derive(Debug, Serialize)]
struct Left {
    path: String,
    why: String,
}

impl Left {
    fn new(place: &Place, why: &impl ToString) -> Self {
        Self { path: place.shown().display().to_string(), why: why.to_string() }
    }
}

/// The user's order, for each run.
struct Order<'a> {
    args: &'a cli::Restore,
    choice: Choice,
    into: PathBuf,
    threads: usize,
    /// The store's address in receipts.
    receipts_of: String,
    checks: Checks,
}

/// Restores runs.
pub(crate) fn run(args: &cli::Restore, out: &mut Out) -> Result<Exit, Error> {
    out.outlive_reader();
    let choice = Choice::new(&args.only, args.gone, args.no_eval)?;
    let source = Source::open(args.from.from.as_ref(), &args.reach)?;
    let into = args.into.clone().unwrap_or_else(|| args.runs_dir.path());
    let (threads, receipts_of) = (source.transfers, source.shown.clone());
    let order = Order { args, choice, into, threads, receipts_of, checks: Checks::default() };
    let (sets, mut status) = source.sets(&args.names)?;
    for name in order.with_batches(&source, sets)? {
        let set = source.set(name);
        let chosen = match choose(&set, args.at.as_deref()) {
            Err(error) if matches!(error.exit(), Exit::System | Exit::Usage) => return Err(error),
            chosen => chosen,
        };
        match chosen.and_then(|chosen| order.restore(&set, &chosen)) {
            Ok(report) => {
                report.print(out, args.reach.json, args.force)?;
                status = status.max(report.exit());
            }
            Err(error) => {
                complain(&error);
                status = status.max(error.exit());
            }
        }
    }
    Ok(status)
}

impl Order<'_> {
    /// Adds, before the runs, their batches whose own files are missing here.
    fn with_batches(&self, source: &Source, sets: Vec<SetName>) -> Result<Vec<SetName>, Error> {
        let mut all: Vec<SetName> = Vec::with_capacity(sets.len());
        for set in sets {
            if let Some(batch) = set.batch.clone().filter(|_| self.choice.is_all() && self.args.at.is_none())
            {
                let path = self.into.join(&batch);
                let batch = SetName { batch: None, name: batch };
                if !path.exists() && !all.contains(&batch) && source.names().has(&batch)? {
                    all.push(batch);
                }
            }
            if !all.contains(&set) {
                all.push(set);
            }
        }
        Ok(all)
    }

    /// Restores a run.
    fn restore(&self, set: &Set<'_>, chosen: &Chosen) -> Result<Report, Error> {
        let path = match &set.name.batch {
            Some(batch) => self.into.join(batch).join(&set.name.name),
            None => self.into.join(&set.name.name),
        };
        self.checks.check(set, &path, chosen)?;
        let entries = self.choice.of(&chosen.manifest);
        if entries.is_empty() && !self.choice.is_all() {
            let what = format!("nothing in backup {} of '{}' matches --only", chosen.commit.number, set.name);
            return Err(Error::new(Exit::No, what));
        }
        let (mut grounds, entries) = grounds(&path, &entries)?;
        let record = RunDir::seen(&path).layout().record();
        let writer = writer_here(&self.receipts_of, &set.name, &path, &record);
        let is_own = writer.is_some_and(|writer| writer == chosen.manifest.head.writer);
        let plan = Planner::new(&grounds, self.args.force, is_own).plan(&entries, self.threads)?;
        check_space(set, &plan, &grounds)?;
        let mut report = self.report(set, chosen, &path, &plan);
        if self.args.dry_run || plan.units.is_empty() {
            return Ok(report);
        }
        for ground in plan.units.iter().map(|unit| unit.ground).collect::<BTreeSet<_>>() {
            grounds[ground].prepare()?;
        }
        let _lock = lock(&plan, &grounds)?;
        place::prepare(&plan, &grounds)?;
        let bar = Bar::new(&set.name.to_string(), report.bytes);
        let received = receive::receive(set, &plan, &grounds, self.threads, &bar)?;
        drop(bar);
        let damaged = place::complete(&plan, &grounds, &received)?;
        let _idle = if grounds[0].exists { keep_idle(&path, chosen)? } else { None };
        let taken = place::publish(&plan, &grounds)?;
        let here = "something has taken its name here meanwhile";
        report.left.extend(taken.iter().map(|unit| {
            let Unit { ground, path, .. } = &plan.units[*unit];
            Left { path: grounds[*ground].shown(path).display().to_string(), why: here.to_owned() }
        }));
        let without: HashSet<&Place> = damaged.iter().map(|(place, _)| *place).collect();
        let is_restored = |step: &&Step<'_>| {
            !taken.contains(&step.unit) && step.entry.is_none_or(|entry| !without.contains(&entry.place))
        };
        report.files = plan.made().filter(is_restored).count();
        report.bytes = received.bytes;
        report.damaged = damaged.iter().map(|(place, damage)| Left::new(place, damage)).collect();
        Ok(report)
    }

    fn report(&self, set: &Set<'_>, chosen: &Chosen, path: &Path, plan: &Plan<'_>) -> Report {
        let mut zeros = Zeros::default();
        let sizes = plan.files.iter().map(|receipt| zeros.bytes(receipt.file));
        let mut marks: Vec<_> =
            plan.made().filter_map(|step| Some((step.entry?, plan.units[step.unit].replaces))).collect();
        marks.sort_by_cached_key(|(entry, _)| entry.place.shown());
        let mark = |(entry, replaces): (&Entry, bool)| {
            let verb = if replaces { "replace" } else { "restore" };
            let line = format!("{}: would {verb} {}", set.name, entry.place.shown().display());
            match &entry.kind {
                Kind::File(file) => format!("{line} ({})", human_bytes(file.size)),
                Kind::Dir | Kind::Link(_) => line,
            }
        };
        Report {
            name: set.name.to_string(),
            path: std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string(),
            number: chosen.commit.number,
            manifest: chosen.commit.digest.to_string(),
            dry_run: self.args.dry_run,
            files: marks.len(),
            bytes: sizes.fold(0, u64::saturating_add),
            equal: plan.equal,
            left: plan.left.iter().map(|(place, why)| Left::new(place, why)).collect(),
            damaged: Vec::new(),
            marks: if self.args.dry_run { marks.into_iter().map(mark).collect() } else { Vec::new() },
        }
    }
}

impl Report {
    fn exit(&self) -> Exit {
        if self.left.is_empty() && self.damaged.is_empty() { Exit::Ok } else { Exit::No }
    }

    fn print(&self, out: &mut Out, json: bool, force: bool) -> Result<(), Error> {
        for left in &self.damaged {
            warn(&format!("'{}' of '{}' is not restored: {}", left.path, self.name, left.why));
        }
        for left in &self.left {
            warn(&format!("'{}' of '{}' is left as it is: {}", left.path, self.name, left.why));
        }
        if !self.left.is_empty() && !force {
            warn("--force replaces files and links that differ here");
        }
        if json {
            return out.json(self);
        }
        for mark in &self.marks {
            out.text(mark)?;
        }
        let verb = if self.dry_run { "would restore" } else { "restored" };
        let what = match (self.files, self.equal) {
            (0, _) => "nothing to restore".to_owned(),
            (files, 0) => format!("{verb} {} ({})", counted(files, "file"), human_bytes(self.bytes)),
            (files, equal) => {
                format!("{verb} {} ({}), {equal} were here", counted(files, "file"), human_bytes(self.bytes))
            }
        };
        let left = match self.left.len() {
            0 => String::new(),
            left => format!(", {left} left"),
        };
        out.text(&format!("{}: backup {}, {what}{left}", self.name, self.number))
    }
}

/// Keeps a local run or batch from becoming active while files get their names. Fails if it is active.
fn keep_idle(root: &Path, chosen: &Chosen) -> Result<Option<Lock>, Error> {
    let path = lock_of(root, chosen.manifest.head.kind);
    if ask(&path).is_ok_and(|held| held == Held::Unknown) {
        return Ok(None); // no run, or no locks on this file system
    }
    match Lock::try_take(&path) {
        Ok(Some(lock)) => Ok(Some(lock)),
        Ok(None) => {
            let error = Error::new(Exit::Busy, format!("cannot restore to '{}'", root.display()));
            Err(error
                .because("it was started meanwhile")
                .hint("the same command continues when it has ended"))
        }
        Err(error) => Err(Error::io("lock", &path, error)),
    }
}

/// Entries, each with the index of its directory in a list.
type Placed<'a> = Vec<(usize, &'a Entry)>;

/// Returns the directories to restore to, and the entries with their directories.
fn grounds<'a>(path: &Path, entries: &[&'a Entry]) -> Result<(Vec<Ground>, Placed<'a>), Error> {
    let run = RunDir::seen(path);
    let mut grounds = vec![Ground::new(path.to_owned())?];
    let mut labels: HashMap<&str, usize> = HashMap::new();
    let mut placed = Vec::with_capacity(entries.len());
    for entry in entries {
        let ground = match entry.place.evaluation.as_deref() {
            None => 0,
            Some(label) => match labels.get(label) {
                Some(ground) => *ground,
                None => {
                    let evaluations = Evaluations::of(&run, label, &directory(&run, None));
                    grounds.push(Ground::new(evaluations.root().to_owned())?);
                    labels.insert(label, grounds.len() - 1);
                    grounds.len() - 1
                }
            },
        };
        placed.push((ground, *entry));
    }
    Ok((grounds, placed))
}

/// Locks the run; a new run is locked by the directory in which it is assembled.
fn lock(plan: &Plan<'_>, grounds: &[Ground]) -> Result<Option<OwnedFd>, Error> {
    match grounds.first() {
        Some(run) if run.exists => place::lock(run, Path::new("")).map(Some),
        Some(run) if plan.units.iter().any(|unit| unit.ground == 0) => place::lock_new(run).map(Some),
        _ => Ok(None),
    }
}

/// Fails if the disk has too little room.
fn check_space(set: &Set<'_>, plan: &Plan<'_>, grounds: &[Ground]) -> Result<(), Error> {
    let mut zeros = Zeros::default();
    let mut needed: HashMap<u64, (u64, u64, usize)> = HashMap::new();
    let spaces: Vec<_> = grounds.iter().map(Ground::space).collect();
    let units = plan.units.iter().enumerate();
    let begun = units.filter(|(_, unit)| grounds[unit.ground].taken(&unit.staged) > 0);
    let begun: HashSet<usize> = begun.map(|(number, _)| number).collect();
    for receipt in &plan.files {
        let ground = plan.units[receipt.step.unit].ground;
        let Some(space) = spaces[ground] else { continue };
        let (bytes, _, _) = needed.entry(space.device).or_insert((0, space.free, ground));
        let is_begun = begun.contains(&receipt.step.unit);
        let taken = if is_begun { grounds[ground].taken(&receipt.step.path) } else { 0 };
        *bytes = bytes.saturating_add(zeros.bytes(receipt.file).saturating_sub(taken));
    }
    for (bytes, free, ground) in needed.into_values() {
        if bytes > free {
            let what = format!("cannot restore '{}' to '{}'", set.name, grounds[ground].root.display());
            let why = format!("{} are needed there, and {} are free", human_bytes(bytes), human_bytes(free));
            return Err(Error::new(Exit::System, what).because(why));
        }
    }
    Ok(())
}
