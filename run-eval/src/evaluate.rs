//! One evaluation: its directory, its record, and the command that is executed in it.

use crate::cli::Args;
use crate::ending::Ending;
use crate::plan::{Job, Session, content};
use run_common::cli::statuses::STATUSES;
use run_common::error::{Error, Exit};
use run_common::fsio::atomic::{Durability, replace};
use run_common::fsio::write::make_dir;
use run_common::process::identity::Place;
use run_common::provenance::device::{NVIDIA_SMI, gpus};
use run_common::provenance::git::Code;
use run_common::provenance::python::{Python, find_program, interpreter_of, named_interpreter};
use run_common::provenance::secret::redact_command;
use run_common::rundir::SCHEMA;
use run_common::rundir::attempts::{AttemptStart, Attempts, StartEvent};
use run_common::rundir::environment::{Variable, of_attempt, of_record, of_slot};
use run_common::rundir::evaluation::Evaluation;
use run_common::rundir::layout::Layout;
use run_common::rundir::meta::Meta;
use run_common::rundir::record::ActiveRun;
use run_common::rundir::record::{Record, document, offsets};
use run_common::rundir::recorded::{AttemptState, Ended, Recorded, State};
use run_common::rundir::status::{Outcome, Status};
use run_common::rundir::template::{Chosen, Filled, Values, fill};
use run_common::time::Timestamp;
use run_metrics::scrape::Patterns;
use run_supervise::{Limits, Output, Task};
use serde::Serialize;
use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use uuid::Uuid;

/// How long what outlives an evaluation has to end.
const LINGER: Duration = Duration::from_secs(5);

/// Between two writes of an evaluation's status.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// The variable that tells CUDA which graphics processors there are.
const VISIBLE: &str = "CUDA_VISIBLE_DEVICES";

/// What all evaluations of one run-eval have in common.
#[derive(Debug)]
pub(crate) struct Setting {
    cwd: PathBuf,
    code: Code,
    gpus: Vec<String>,
    /// The interpreter that was asked last, and its version.
    python: Option<(PathBuf, Option<String>)>,
}

/// An evaluation that is ready to be executed.
#[derive(Debug)]
pub(crate) struct Ready {
    pub(crate) task: Task,
    pub(crate) record: Record,
}

impl Setting {
    /// Finds out what there is to know.
    pub(crate) fn find() -> Result<Self, Error> {
        let cwd = env::current_dir().map_err(|error| Error::io("find", Path::new("."), error))?;
        Ok(Self { code: Code::at(&cwd, false), gpus: gpus(), cwd, python: None })
    }

    fn python_version(&mut self, executable: Option<&Path>) -> Option<String> {
        let path = executable.and_then(interpreter_of)?;
        if self.python.as_ref().is_none_or(|(known, _)| *known != path) {
            self.python = Some((path.clone(), Python::at(path).version));
        }
        self.python.as_ref()?.1.clone()
    }
}

/// Makes sure, before anything is started, that the command can be filled in for a run, and be found.
pub(crate) fn try_out(args: &Args, session: &Session, setting: &Setting) -> Result<(), Error> {
    let somewhere = session.evaluations.root();
    let chosen = Chosen { path: somewhere, step: Some(0), out: Some(somewhere) };
    let filled = filled(args, session, chosen, args.slots.gpu(0))?;
    let has_own_path = session.meta.env.contains_key("PATH");
    let is_sure = |name: &&String| filled.command.first() == Some(*name) && !has_own_path;
    let name = args.command.first().filter(is_sure);
    match name {
        Some(name) if find_program(OsStr::new(name), &setting.cwd).is_none() => {
            Err(Error::new(Exit::System, format!("cannot execute '{name}'")).because("command not found"))
        }
        _ => Ok(()),
    }
}

fn filled(args: &Args, session: &Session, chosen: Chosen, gpu: Option<&String>) -> Result<Filled, Error> {
    let env = |name: &str| match env::var(name) {
        Err(_) if name == VISIBLE => Some("0".to_owned()),
        value => value.ok(),
    };
    let run = session.run.layout().root();
    let values = Values {
        run,
        meta: &session.meta,
        gpu: gpu.map(String::as_str),
        checkpoint: Some(chosen),
        total_steps: None,
        env,
    };
    fill(&args.command, &values)
}

/// Makes the directory of an evaluation ready, and decides everything about its command. What an
/// earlier evaluation wrote there is kept, aside.
pub(crate) fn prepare(
    args: &Args,
    session: &Session,
    job: &Job,
    gpu: Option<&String>,
    setting: &mut Setting,
) -> Result<Ready, Error> {
    let Begun { active, recorded, evaluation, attempts } = begin(args, session, job)?;
    let layout = active.layout().clone();
    let path = job.root.join(&job.checkpoint.path);
    let chosen = Chosen { path: &path, step: job.checkpoint.step, out: Some(layout.root()) };
    let filled = filled(args, session, chosen, gpu)?;
    let Some(name) = filled.command.first() else {
        return Err(Error::usage("no command: nothing is left of it when its placeholders are filled in"));
    };
    let executable = find_program(OsStr::new(name), &setting.cwd).map(named_interpreter);
    let is_hidden = args.command.first().is_some_and(|word| word.contains("{env:"));
    let visible = gpu.cloned().or_else(|| env::var(VISIBLE).ok()).unwrap_or_else(|| "0".to_owned());
    let attempt = attempts + 1;
    let start = AttemptStart {
        schema: SCHEMA,
        run_id: evaluation.eval_id.clone(),
        event: StartEvent::Start,
        attempt,
        start_time: Timestamp::now(),
        command: filled.recorded,
        template: redact_command(&args.command),
        executable: executable
            .as_ref()
            .filter(|_| !is_hidden)
            .map(|path| path.to_string_lossy().into_owned()),
        cwd: setting.cwd.to_string_lossy().into_owned(),
        host: Place::here().host.clone(),
        pid: 0,
        git_commit: setting.code.commit.clone(),
        git_dirty: setting.code.dirty,
        python_version: setting.python_version(executable.as_deref()),
        device: session.meta.device.clone(),
        gpus: setting.gpus.clone(),
        cuda_visible_devices: Some(visible.clone()),
        resume_from: None,
        resume_step: None,
        total_steps: None,
        offsets: offsets(&layout, attempt),
    };
    let mut env = environment(session, job, &layout, &evaluation, attempt);
    env.push((VISIBLE.into(), Some(visible.into())));
    env.extend(gpu.into_iter().flat_map(|gpu| of_slot(gpu)));
    let task = Task {
        layout: layout.clone(),
        program: executable.map_or_else(|| OsString::from(name), PathBuf::into_os_string),
        arguments: filled.command.iter().map(OsString::from).collect(),
        env,
        cwd: setting.cwd.clone(),
        stdin: false,
        output: Output::Pipes,
        limits: Limits {
            grace: args.grace,
            linger: LINGER,
            heartbeat: HEARTBEAT,
            timeout: args.timeout,
            stall: None,
        },
        quiet: true,
        detach: false,
        scrape: Patterns { known: false, own: Vec::new() },
        retry: None,
        devices: NVIDIA_SMI,
        statuses: STATUSES,
        ending: Box::new(Ending(layout)),
    };
    Ok(Ready { task, record: Record::new(active, recorded, start) })
}

/// Records that a checkpoint cannot be evaluated, unless it was before.
pub(crate) fn refuse(args: &Args, session: &Session, job: &Job, why: &str) -> Result<(), Error> {
    let dir = session.evaluations.evaluation(&job.name);
    if Recorded::read(dir.layout()).is_ok_and(|before| before.status() == Status::Completed) {
        return Ok(());
    }
    let Begun { active, recorded, attempts, .. } = begin(args, session, job)?;
    let ended = Ended {
        attempt: (attempts > 0).then(|| AttemptState::new(attempts)),
        outcome: Outcome::Failed,
        reason: Some(why.to_owned()),
        time: Some(Timestamp::now()),
        exit_code: None,
        signal: None,
    };
    active.write(&Recorded { state: State::Ended(ended), ..recorded })
}

/// The directory of an evaluation that is about to be made.
struct Begun {
    active: ActiveRun,
    recorded: Recorded,
    evaluation: Evaluation,
    /// How many attempts were made before.
    attempts: u32,
}

/// Takes the directory of an evaluation and records what is to be evaluated.
fn begin(args: &Args, session: &Session, job: &Job) -> Result<Begun, Error> {
    let dir = session.evaluations.evaluation(&job.name);
    let layout = dir.layout().clone();
    for path in [layout.root(), &layout.record()] {
        make_dir(path).map_err(|error| Error::io("write to", path, error))?;
    }
    let active = dir.activate()?;
    let before = Attempts::read(&layout).map_err(|error| Error::io("read", &layout.attempts(), error))?;
    let attempts = before.last().map_or(0, |last| last.start.attempt);
    set_aside(&layout, attempts).map_err(|error| Error::io("move what is in", layout.root(), error))?;
    let evaluation = Evaluation {
        schema: SCHEMA,
        eval_id: Uuid::now_v7().to_string(),
        run_id: session.meta.run_id.clone(),
        run_name: session.meta.run_name.clone(),
        label: args.label.clone(),
        step: job.checkpoint.step,
        checkpoint: job.shown.clone(),
        content: content(&job.checkpoint),
        command: redact_command(&args.command),
        created: Timestamp::now(),
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let meta = Meta { total_steps: None, command: Some(evaluation.command.clone()), ..session.meta.clone() };
    let recorded = Recorded {
        run_id: evaluation.eval_id.clone(),
        run_name: layout.name(),
        created: evaluation.created,
        ..Recorded::created(&meta)
    };
    write(&layout.status(), &recorded)?; // first: what was evaluated before is not taken for this
    if let Err(error) = fs::remove_file(layout.measured())
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(Error::io("remove", &layout.measured(), error));
    }
    write(&layout.meta(), &evaluation)?;
    Ok(Begun { active, recorded, evaluation, attempts })
}

fn write<T: Serialize>(path: &Path, what: &T) -> Result<(), Error> {
    let written = document(what).and_then(|bytes| replace(path, &bytes, Durability::Process));
    written.map_err(|error| Error::io("write", path, error))
}

/// Moves everything but the record into a directory of the attempt that wrote it.
fn set_aside(layout: &Layout, attempt: u32) -> io::Result<()> {
    let aside = layout.record().join(format!("attempt-{attempt}"));
    for entry in fs::read_dir(layout.root())? {
        let entry = entry?;
        if entry.path() == layout.record() {
            continue;
        }
        make_dir(&aside)?;
        let to = aside.join(entry.file_name());
        if fs::rename(entry.path(), &to).is_err() {
            fs::remove_dir_all(&to)?; // of a run-eval that was killed while it did this
            fs::rename(entry.path(), &to)?;
        }
    }
    Ok(())
}

/// Returns the variables that the command is given, or that are taken from it. Those of a run are the
/// evaluation's: what it writes is not to get into the run.
fn environment(
    session: &Session,
    job: &Job,
    layout: &Layout,
    evaluation: &Evaluation,
    attempt: u32,
) -> Vec<Variable> {
    let run = session.run.layout().root();
    let mut env = of_attempt(layout, &evaluation.eval_id, attempt, run, &session.meta);
    let own: [(&str, Option<OsString>); 5] = [
        ("EVAL_RUN", Some(run.into())),
        ("EVAL_CHECKPOINT", Some(job.root.join(&job.checkpoint.path).into())),
        ("EVAL_STEP", job.checkpoint.step.map(|step| step.to_string().into())),
        ("EVAL_LABEL", Some(evaluation.label.clone().into())),
        ("EVAL_OUT", Some(layout.root().into())),
    ];
    env.extend(own.map(|(name, value)| (name.into(), value)));
    env.extend(of_record(&session.meta));
    env
}
