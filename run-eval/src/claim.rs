//! Claims the directory of a run's evaluations: checks that it belongs to the run, and locks out other
//! run-evals.

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

/// How often to retry a lock whose holder is dead, or has not signed the lock yet.
const AGAIN: Duration = Duration::from_millis(50);

/// How long a run-eval may take to sign its lock.
const SIGNING: Duration = Duration::from_secs(2);

/// Claims the directory for a run and locks it against other run-evals. Leaves a directory alone that belongs
/// to another run or holds other files.
pub(crate) fn claim(meta: &Meta, evaluations: &Evaluations) -> Result<Lock, Error> {
    let root = evaluations.root();
    check(meta, evaluations, false)?;
    fs::create_dir_all(root).map_err(|error| Error::io("create", root, error))?;
    check_evaluations(evaluations)?;
    let mut lock = lock(evaluations)?;
    lock.sign(&ProcessId::myself()).map_err(|error| Error::io("write", &evaluations.lock(), error))?;
    check(meta, evaluations, true)?; // another run-eval may have created it meanwhile
    Ok(lock)
}

/// Records how the run at `run` is evaluated from now on; its directory must be claimed. A label belongs to one
/// command, so that no table mixes the results of two. `--force` sets the results of another command aside.
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
            let hint = "use another --label to keep both, or --force to set the old results aside";
            return Err(Error::new(Exit::BadRun, format!("cannot write to '{root}'"))
                .because(why)
                .hint(hint));
        }
        let count = others.len();
        warn(&format!("set aside {count} results in '{root}', made by another command: {command}"));
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

/// Refuses a directory that does not belong to this run. If the directory has a lock but no identity, another
/// run-eval may be creating it, unless the lock is ours.
fn check(meta: &Meta, evaluations: &Evaluations, is_locked: bool) -> Result<(), Error> {
    let why = match evaluations.run_id()? {
        Some(id) if id == meta.run_id => return Ok(()),
        Some(_) => "it holds evaluations of another run of this name",
        None if !holds_something(evaluations.root()) => return Ok(()),
        None if !is_locked && evaluations.lock().exists() => return Ok(()),
        None => "it holds files, and none names its run",
    };
    Err(Error::new(Exit::BadRun, format!("cannot write to '{}'", evaluations.root().display()))
        .because(why)
        .hint("choose another directory with --label or --eval-dir"))
}

/// Returns the results of another command under this label.
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

/// Maximum length of a command in a message, in characters.
const COMMAND: usize = 120;

/// Returns whether a directory holds anything but hidden files.
fn holds_something(directory: &Path) -> bool {
    let mut there = fs::read_dir(directory).into_iter().flatten().flatten();
    there.any(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"."))
}

/// Locks a directory of evaluations; the error names the holder. Waits for the evaluations of a killed
/// run-eval.
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
                .because(format!("{holder} is evaluating the run"))
                .hint("use another --label to evaluate at the same time"));
        }
        thread::sleep(AGAIN);
    }
}
