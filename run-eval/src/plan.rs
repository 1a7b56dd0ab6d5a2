//! Which checkpoints of a run are to be evaluated, and which were before.

use crate::cli::{Args, Pick};
use crate::pin::{How, Pins};
use run_checkpoint::{
    self, Checkpoint, Program, State, discover, discover_latest, latest, look_again, passed_over,
};
use run_common::error::{Error, Exit, plain};
use run_common::fsio::lock::{Lock, holder};
use run_common::message::warn;
use run_common::process::identity::{Life, ProcessId};
use run_common::provenance::secret::redact_command;
use run_common::rundir::SCHEMA;
use run_common::rundir::evaluation::{Content, Evaluation};
use run_common::rundir::evaluations::{Evaluations, Identity, directory};
use run_common::rundir::meta::Meta;
use run_common::rundir::observe::Observer;
use run_common::rundir::open::RunDir;
use run_common::rundir::status::Status;
use run_common::rundir::writable::check_evaluations;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// A run whose checkpoints are evaluated.
#[derive(Debug)]
pub(crate) struct Session {
    /// The run, by its absolute path.
    pub(crate) run: RunDir,
    pub(crate) meta: Meta,
    pub(crate) evaluations: Evaluations,
    /// Keeps other run-evals from the directory of the evaluations, as long as one of ours lives.
    _lock: Lock,
    pins: Option<Pins>,
    /// Pins beside checkpoints on other disks, by the name of the link that leads there from the run.
    pins_elsewhere: HashMap<PathBuf, Option<Pins>>,
    /// There may be more checkpoints.
    pub(crate) is_followed: bool,
    /// Checkpoints that were dealt with.
    seen: HashSet<PathBuf>,
}

/// A checkpoint that is to be evaluated.
#[derive(Debug)]
pub(crate) struct Job {
    /// Which session it is of.
    pub(crate) session: usize,
    pub(crate) checkpoint: Checkpoint,
    /// What it has its path below: the run, or the pins.
    pub(crate) root: PathBuf,
    is_pinned: bool,
    /// Its step, or what it is called instead.
    pub(crate) name: String,
    /// Where it lies, for the record.
    pub(crate) shown: String,
}

/// What a look at a run has brought.
#[derive(Debug)]
pub(crate) enum Found {
    Job(Job),
    /// A checkpoint that cannot be evaluated, and why.
    Refused(Job, String),
    /// One that was evaluated before.
    Passed(Job),
    /// Something that was asked for is not there.
    Missing(Error),
}

impl Session {
    /// Takes the directory of the evaluations of a run, and makes it ready.
    pub(crate) fn open(args: &Args, run: &RunDir) -> Result<Self, Error> {
        let run = RunDir::seen(run.absolute());
        let meta = Meta::read(run.layout())?;
        let evaluations = Evaluations::of(&run, &args.label, &directory(&run, args.eval_dir.as_deref()));
        let root = evaluations.root();
        let refused = |cause: String| {
            Error::new(Exit::BadRun, format!("cannot write to '{}'", root.display()))
                .because(cause)
                .hint("--label or --eval-dir names another directory")
        };
        let whose = |is_locked: bool| match evaluations.run_id()? {
            Some(id) if id == meta.run_id => Ok(()),
            Some(_) => Err(refused("it holds evaluations of another run of this name".to_owned())),
            None if holds_something(root) && (is_locked || !evaluations.lock().exists()) => {
                Err(refused("nothing in it says of which run it is".to_owned()))
            }
            None => Ok(()),
        };
        whose(false)?;
        fs::create_dir_all(root).map_err(|error| Error::io("create", root, error))?;
        check_evaluations(&evaluations)?;
        let mut lock = lock(&evaluations)?;
        whose(true)?; // another run-eval may have made it meanwhile
        lock.sign(&ProcessId::myself()).map_err(|error| Error::io("write", &evaluations.lock(), error))?;
        evaluations.identify(&identity(args, &run, &meta))?;
        let pins = Pins::open(run.layout().root())
            .inspect_err(|error| {
                let shown = run.layout().root().display();
                warn(&format!("cannot pin checkpoints of '{shown}': {}; they must stay", plain(error)));
            })
            .ok();
        let is_followed = args.follow;
        let (pins_elsewhere, seen) = (HashMap::new(), HashSet::new());
        Ok(Self { run, meta, evaluations, _lock: lock, pins, pins_elsewhere, is_followed, seen })
    }

    /// Looks for checkpoints that are to be evaluated and were not seen before, in the order of their
    /// steps.
    pub(crate) fn look(
        &mut self,
        number: usize,
        args: &Args,
        observer: &Observer,
    ) -> Result<Vec<Found>, Error> {
        let status = observer.observe(&self.run)?.status();
        let program = if status.has_ended() { Program::Ended } else { Program::Lives };
        self.is_followed &= program == Program::Lives;
        let recorded = self.meta.checkpoint.as_ref();
        let is_latest = args.checkpoint.is_none() && args.steps == [Pick::Latest];
        let search = if is_latest { discover_latest } else { discover };
        let all = search(self.run.layout(), recorded, program)?;
        let mut found = Vec::new();
        let chosen = match &args.checkpoint {
            Some(path) => vec![self.named(path, args, all, program)?],
            None => {
                let root = self.run.layout().root().to_owned();
                let chosen = self.choose(&args.steps, all, &mut found);
                chosen.into_iter().map(|one| (one, root.clone())).collect()
            }
        };
        for (checkpoint, root) in chosen {
            let identity = root.join(&checkpoint.path);
            if self.seen.contains(&identity) {
                continue;
            }
            self.reach(&checkpoint);
            let below = identity.strip_prefix(self.run.layout().root()).unwrap_or(&identity);
            let job = Job {
                session: number,
                name: name(&checkpoint),
                shown: below.to_string_lossy().into_owned(),
                root,
                is_pinned: false,
                checkpoint,
            };
            if let Some(one) = self.judge(job, args, program, observer) {
                self.seen.insert(identity);
                found.push(one);
            }
        }
        Ok(found)
    }

    /// Returns the checkpoint at a path, below the run or anywhere.
    fn named(
        &self,
        given: &Path,
        args: &Args,
        all: Vec<Checkpoint>,
        program: Program,
    ) -> Result<(Checkpoint, PathBuf), Error> {
        let root = self.run.layout().root();
        let here = std::path::absolute(given).unwrap_or_else(|_| given.to_owned());
        let paths = [here, root.join(given)];
        let steps: Vec<u64> = args
            .steps
            .iter()
            .filter_map(|pick| if let Pick::Step(step) = pick { Some(*step) } else { None })
            .collect();
        let listed = all.into_iter().find(|one| paths.contains(&root.join(&one.path)));
        let (mut one, root) = match listed {
            Some(one) => (one, root.to_owned()),
            None => {
                let path = paths.into_iter().find(|path| path.exists());
                let looked = path.and_then(|path| {
                    let path = if path.file_name().is_none() { path.canonicalize().ok()? } else { path };
                    Some((run_checkpoint::at(&path, program)?, path.parent()?.to_owned()))
                });
                looked.ok_or_else(|| {
                    Error::new(Exit::BadRun, format!("no checkpoint '{}'", given.display()))
                        .because("there is no such file or directory, here or in the run")
                })?
            }
        };
        match steps.as_slice() {
            [] => {}
            [step] => one.step = Some(*step),
            _ => return Err(Error::usage("with --checkpoint, --steps takes one step")),
        }
        Ok((one, root))
    }

    /// Picks what is asked for.
    fn choose(&self, picks: &[Pick], all: Vec<Checkpoint>, found: &mut Vec<Found>) -> Vec<Checkpoint> {
        let shown = self.run.layout().root().display();
        // Of several with one step, the one whose name says it, and of these the last that is complete.
        let rank = |at: usize| (says_step(&all[at]), all[at].is_complete(), at);
        let mut steps: BTreeMap<u64, usize> = BTreeMap::new();
        for (at, one) in all.iter().enumerate() {
            if let Some(step) = one.step {
                let known = steps.entry(step).or_insert(at);
                if rank(at) > rank(*known) {
                    *known = at;
                }
            }
        }
        let mut wanted: Vec<usize> = Vec::new();
        let mut missing = Vec::new();
        for pick in picks {
            match pick {
                Pick::All | Pick::New => wanted.extend(steps.values()),
                Pick::Latest => {
                    let step = latest(&all).and_then(|latest| latest.step);
                    let is_it = |one: &Checkpoint| step.is_some() && one.step == step && one.is_complete();
                    wanted.extend((0..all.len()).filter(|&at| is_it(&all[at])).max_by_key(|&at| rank(at)));
                }
                Pick::Step(step) => match steps.get(step) {
                    Some(at) => wanted.push(*at),
                    None => missing.push(format!("no checkpoint of step {step}")),
                },
                Pick::Labelled(label) => {
                    let those = all.iter().enumerate().filter(|(_, one)| one.labels.contains(label));
                    match those.max_by_key(|(at, one)| (one.is_complete(), *at)) {
                        Some((at, _)) => wanted.push(at),
                        None => missing.push(format!("no checkpoint is called '{}'", label.word())),
                    }
                }
            }
        }
        if !self.is_followed {
            let is_open = |pick: &Pick| matches!(pick, Pick::All | Pick::Latest | Pick::New);
            if all.is_empty() && picks.iter().any(is_open) {
                missing.push("there are no checkpoints".to_owned());
            } else if wanted.is_empty() && picks.iter().any(is_open) {
                missing.push(match passed_over(&all).max_by_key(|(one, _)| one.step) {
                    Some((one, why)) => {
                        let (path, why) = (one.path.display(), sentence(why));
                        format!("no complete checkpoint has a step; '{path}' is passed over: {why}")
                    }
                    None => "no checkpoint has a step; --steps final, best or last may name one".to_owned(),
                });
            }
            let error = |why: String| {
                Found::Missing(Error::new(Exit::BadRun, format!("cannot evaluate '{shown}'")).because(why))
            };
            found.extend(missing.into_iter().map(error));
        }
        wanted.sort_unstable();
        wanted.dedup();
        let mut all: Vec<Option<Checkpoint>> = all.into_iter().map(Some).collect();
        wanted.into_iter().filter_map(|at| all[at].take()).collect()
    }

    /// Decides about a checkpoint; `None` when it is for a later look.
    fn judge(&self, mut job: Job, args: &Args, program: Program, observer: &Observer) -> Option<Found> {
        if !args.force && self.was_evaluated(&job, args, observer) {
            return Some(Found::Passed(job));
        }
        let is_awaited = program == Program::Lives;
        if let State::Incomplete(why) = &job.checkpoint.state {
            let is_named =
                args.checkpoint.is_some() || args.steps.iter().any(|pick| matches!(pick, Pick::Step(_)));
            return match (self.is_followed, is_awaited && !is_named) {
                (true, _) => None,
                (false, true) => {
                    let why = sentence(why);
                    warn(&format!("'{}' of '{}' is passed over: {why}", job.shown, self.meta.run_name));
                    None
                }
                (false, false) => {
                    let why = format!("the checkpoint is incomplete: {}", sentence(why));
                    Some(Found::Refused(job, why))
                }
            };
        }
        let is_own = job.root == self.run.layout().root();
        let Some(pins) = self.pins_of(&job.checkpoint).filter(|_| is_own) else {
            return Some(Found::Job(job));
        };
        let how = match (program, says_step(&job.checkpoint)) {
            (Program::Ended, _) => How::LinkOnly,
            (Program::Lives, true) => How::Link,
            (Program::Lives, false) => How::Copy,
        };
        match pins.pin(&job.root, &job.checkpoint, how) {
            Ok(()) => {
                let pinned =
                    look_again(&pins.root(), &job.checkpoint, self.meta.checkpoint.as_ref(), program);
                let is_same =
                    |pinned: &Checkpoint| pinned.is_complete() && pinned.size == job.checkpoint.size;
                if pinned.as_ref().is_some_and(is_same) {
                    job.root = pins.root();
                    job.is_pinned = true;
                    return Some(Found::Job(job));
                }
                pins.release(&job.checkpoint);
            }
            Err(_) if how == How::LinkOnly => return Some(Found::Job(job)), // nobody will touch it
            Err(error) if job.root.join(&job.checkpoint.path).exists() => {
                return Some(Found::Refused(
                    job,
                    format!("the checkpoint cannot be pinned: {}", plain(&error)),
                ));
            }
            Err(_) => {}
        }
        // It was deleted or written to before it was pinned.
        if !self.is_followed {
            warn(&format!(
                "'{}' of '{}' is passed over: it was changed or deleted",
                job.shown, self.meta.run_name
            ));
        }
        None
    }

    /// Says whether the same content was evaluated by the same command.
    fn was_evaluated(&self, job: &Job, args: &Args, observer: &Observer) -> bool {
        let dir = self.evaluations.evaluation(&job.name);
        let Ok(before) = Evaluation::read(dir.layout()) else { return false };
        let Ok(observed) = observer.observe(&dir) else { return false };
        let has_result = match observed.status() {
            Status::Completed => true,
            Status::Failed => args.steps == [Pick::New] && args.checkpoint.is_none(),
            _ => false,
        };
        has_result
            && before.run_id == self.meta.run_id
            && before.checkpoint == job.shown
            && before.content == content(&job.checkpoint)
            && before.command == redact_command(&args.command)
    }

    /// Lets go of the checkpoint of a job that is done.
    pub(crate) fn release(&self, job: &Job) {
        let mut all = self.pins.iter().chain(self.pins_elsewhere.values().flatten());
        if let Some(pins) = all.find(|pins| job.is_pinned && pins.root() == job.root) {
            pins.release(&job.checkpoint);
        }
    }

    /// Makes a place for pins where a checkpoint lies on another disk, so that they are links there too.
    fn reach(&mut self, checkpoint: &Checkpoint) {
        let Some(top) = top(checkpoint).filter(|top| !self.pins_elsewhere.contains_key(*top)) else { return };
        let path = self.run.layout().root().join(top);
        let is_link = fs::symlink_metadata(&path).is_ok_and(|found| found.is_symlink());
        let pins = if is_link { Pins::open(&path).ok() } else { None };
        self.pins_elsewhere.insert(top.to_owned(), pins);
    }

    /// Returns the pins that a checkpoint of the run is to be among.
    fn pins_of(&self, checkpoint: &Checkpoint) -> Option<&Pins> {
        let elsewhere = top(checkpoint).and_then(|top| self.pins_elsewhere.get(top));
        elsewhere.and_then(Option::as_ref).or(self.pins.as_ref())
    }
}

/// Says whether a directory holds anything but hidden files.
fn holds_something(directory: &Path) -> bool {
    let mut there = fs::read_dir(directory).into_iter().flatten().flatten();
    there.any(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"."))
}

/// How often a lock is tried whose holder does not live, or has not signed it yet.
const AGAIN: Duration = Duration::from_millis(50);

/// How long a run-eval may take to sign the lock that it has taken.
const SIGNING: Duration = Duration::from_secs(2);

/// Takes the lock of a directory of evaluations, or says who holds it. What a run-eval has left that was
/// killed is waited for.
fn lock(evaluations: &Evaluations) -> Result<Lock, Error> {
    let path = evaluations.lock();
    let start = Instant::now();
    loop {
        if let Some(lock) = Lock::try_take(&path).map_err(|error| Error::io("lock", &path, error))? {
            return Ok(lock);
        }
        let holder = match holder(&path) {
            Some(holder) if holder.life() == Life::Gone => None,
            Some(ProcessId { pid, host, .. }) => Some(format!("process {pid} on {host}")),
            None => Some("another process".to_owned()).filter(|_| start.elapsed() > SIGNING),
        };
        if let Some(holder) = holder {
            let what = format!("cannot write to '{}'", evaluations.root().display());
            return Err(Error::new(Exit::Busy, what)
                .because(format!("{holder} evaluates the run"))
                .hint("--label makes evaluations of another kind beside it"));
        }
        thread::sleep(AGAIN);
    }
}

/// Says whose evaluations these are, and how they are made.
fn identity(args: &Args, run: &RunDir, meta: &Meta) -> Identity {
    let steps: Vec<String> = args.steps.iter().map(|pick| pick.word()).collect();
    Identity {
        schema: SCHEMA,
        run_id: meta.run_id.clone(),
        run_name: meta.run_name.clone(),
        run: run.layout().root().to_string_lossy().into_owned(),
        label: args.label.clone(),
        command: redact_command(&args.command),
        steps: steps.join(","),
        checkpoint: args.checkpoint.as_ref().map(|path| path.to_string_lossy().into_owned()),
        timeout: args.timeout.map(|timeout| timeout.as_secs_f64()),
    }
}

/// Returns the directory at the top of the run that a checkpoint lies in.
fn top(checkpoint: &Checkpoint) -> Option<&Path> {
    let mut components = checkpoint.path.iter();
    let top = components.next()?;
    components.next().map(|_| Path::new(top))
}

/// Makes a sentence of why a checkpoint is incomplete: it is that, or a file in it is.
fn sentence(why: &str) -> String {
    if why.starts_with('\'') { why.to_owned() } else { format!("it {why}") }
}

/// Says whether the name of a checkpoint carries its step.
fn says_step(one: &Checkpoint) -> bool {
    let name = one.path.file_name().unwrap_or_default().to_string_lossy();
    let mut numbers = name.split(|c: char| !c.is_ascii_digit()).filter(|digits| !digits.is_empty());
    one.step.is_some() && numbers.any(|digits| digits.parse().ok() == one.step)
}

/// Returns what a checkpoint is called among the evaluations: its step where its name says it.
fn name(one: &Checkpoint) -> String {
    match (one.step, one.labels.first()) {
        (Some(step), _) if says_step(one) => step.to_string(),
        (Some(step), None) => step.to_string(),
        (_, Some(label)) => label.word().to_owned(),
        (None, None) => one.path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
    }
}

/// Returns what tells the content of a checkpoint from another.
pub(crate) fn content(one: &Checkpoint) -> Content {
    Content {
        bytes: one.size.bytes,
        files: one.size.files,
        modified_ns: i64::try_from(one.size.modified_ns).unwrap_or(i64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use run_checkpoint::{Label, Size};

    fn called(path: &str, step: Option<u64>, labels: &[Label]) -> String {
        let path = PathBuf::from(path);
        let parts = vec![path.clone()];
        let labels = labels.to_vec();
        name(&Checkpoint { path, parts, step, labels, size: Size::default(), state: State::Complete })
    }

    #[test]
    fn an_evaluation_has_the_step_of_a_checkpoint_or_its_name() {
        assert_eq!(called("training_state/step_20", Some(20), &[Label::Last]), "20");
        assert_eq!(called("iter_0000100", Some(100), &[]), "100");
        assert_eq!(called("training_state/step_final", Some(40), &[Label::Final]), "final");
        assert_eq!(called("best.pt", None, &[Label::Best]), "best");
        assert_eq!(called("base_model", Some(0), &[]), "0");
        assert_eq!(called("base_model", None, &[]), "base_model");
    }
}
