//! Takes the directory of the evaluations of a run: it is of this run, and no other run-eval is at it.

use crate::aside::retire;
use crate::options::Options;
use run_common::error::{Error, Exit};
use run_common::fsio::lock::{Lock, holder};
use run_common::message::warn;
use run_common::process::identity::{Life, ProcessId};
use run_common::provenance::redact::redact_command;
use run_common::rundir::SCHEMA;
use run_common::rundir::evaluation::Evaluation;
use run_common::rundir::evaluations::{Evaluations, Identity};
use run_common::rundir::meta::Meta;
use run_common::rundir::observe::Observer;
use run_common::rundir::open::RunDir;
use run_common::rundir::status::Status;
use run_common::rundir::writable::check_evaluations;
use run_common::shell::shell_line;
use run_common::text::cut;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// How often a lock is tried whose holder does not live, or has not signed it yet.
const AGAIN: Duration = Duration::from_millis(50);

/// How long a run-eval may take to sign the lock that it has taken.
const SIGNING: Duration = Duration::from_secs(2);

/// Takes the directory for a run. The lock keeps other run-evals away. A directory of another run, or of none,
/// is not touched.
pub(crate) fn claim(meta: &Meta, evaluations: &Evaluations) -> Result<Lock, Error> {
    let root = evaluations.root();
    check(meta, evaluations, false)?;
    fs::create_dir_all(root).map_err(|error| Error::io("create", root, error))?;
    check_evaluations(evaluations)?;
    let mut lock = lock(evaluations)?;
    lock.sign(&ProcessId::myself()).map_err(|error| Error::io("write", &evaluations.lock(), error))?;
    check(meta, evaluations, true)?; // another run-eval may have made it meanwhile
    Ok(lock)
}

/// Records how a run at `run`, whose directory was taken, is evaluated from now on. A label belongs to one
/// command: results of two are not to be mixed in one table. With `--force` those of the other are set aside.
pub(crate) fn take_label(
    options: &Options,
    run: &Path,
    meta: &Meta,
    evaluations: &Evaluations,
) -> Result<(), Error> {
    let others = of_another_command(options, evaluations)?;
    if let Some((_, other)) = others.first() {
        let (root, command) = (evaluations.root().display(), shown(other));
        if !options.force {
            let why = format!("the label '{}' belongs to another command: {command}", options.label);
            let hint = "another --label keeps both; --force evaluates again, and sets the old results aside";
            return Err(Error::new(Exit::BadRun, format!("cannot write to '{root}'"))
                .because(why)
                .hint(hint));
        }
        let count = others.len();
        warn(&format!(
            "results in '{root}' that are set aside, since another command made them: {count} ({command})"
        ));
    }
    others.into_iter().try_for_each(|(dir, _)| retire(dir))?;
    evaluations.identify(&Identity {
        schema: SCHEMA,
        run_id: meta.run_id.clone(),
        run_name: meta.run_name.clone(),
        run: run.to_string_lossy().into_owned(),
        label: options.label.clone(),
        command: options.recorded_command.clone(),
        steps: options.steps.clone(),
        checkpoint: options.checkpoint(),
        timeout: options.timeout.map(|timeout| timeout.as_secs_f64()),
    })
}

/// Refuses a directory that is not this run's. One that holds things and says nothing may be in the making
/// by another run-eval, which has made its lock first, as long as that is not ours.
fn check(meta: &Meta, evaluations: &Evaluations, is_locked: bool) -> Result<(), Error> {
    let why = match evaluations.run_id()? {
        Some(id) if id == meta.run_id => return Ok(()),
        Some(_) => "it holds evaluations of another run of this name",
        None if !holds_something(evaluations.root()) => return Ok(()),
        None if !is_locked && evaluations.lock().exists() => return Ok(()),
        None => "nothing in it says of which run it is",
    };
    Err(Error::new(Exit::BadRun, format!("cannot write to '{}'", evaluations.root().display()))
        .because(why)
        .hint("--label or --eval-dir names another directory"))
}

/// Returns the results that another command has left under this label.
fn of_another_command(
    options: &Options,
    evaluations: &Evaluations,
) -> Result<Vec<(RunDir, Evaluation)>, Error> {
    let observer = Observer::default();
    let has_completed =
        |dir: &RunDir| observer.observe(dir).is_ok_and(|seen| seen.status() == Status::Completed);
    let is_of_another = |of: &Evaluation| redact_command(&of.command) != options.recorded_command;
    let all = evaluations.intact()?.into_iter();
    Ok(all.filter(|(dir, of)| is_of_another(of) && has_completed(dir)).collect())
}

/// Returns the command of an evaluation, for people.
fn shown(of: &Evaluation) -> String {
    cut(&shell_line(&redact_command(&of.command)), COMMAND).into_owned()
}

/// Characters of another command that are shown.
const COMMAND: usize = 120;

/// Says whether a directory holds anything but hidden files.
fn holds_something(directory: &Path) -> bool {
    let mut there = fs::read_dir(directory).into_iter().flatten().flatten();
    there.any(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"."))
}

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
