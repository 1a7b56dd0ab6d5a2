//! Prepares an evaluation: its command with placeholders filled in, its environment and its provenance.

use crate::ending::Ending;
use crate::job::Job;
use crate::launch::job_of;
use crate::options::Options;
use crate::record::{Begun, begin};
use crate::session::Session;
use run_common::cli::statuses::STATUSES;
use run_common::error::{Error, Exit};
use run_common::process::identity::Place;
use run_common::provenance::device::{NVIDIA_SMI, gpus};
use run_common::provenance::git::Code;
use run_common::provenance::python::{Python, find_program, interpreter_of, named_interpreter};
use run_common::rundir::SCHEMA;
use run_common::rundir::attempts::{AttemptStart, StartEvent};
use run_common::rundir::environment::{Variable, of_attempt, of_slot};
use run_common::rundir::evaluation::Evaluation;
use run_common::rundir::layout::Layout;
use run_common::rundir::options::AttemptOptions;
use run_common::rundir::record::{Record, offsets};
use run_common::rundir::template::{Chosen, Filled, Values, fill};
use run_common::time::Timestamp;
use run_launch::inside::{JOB, NOTES};
use run_metrics::scrape::Patterns;
use run_supervise::{Limits, Output, Sources, Task};
use std::collections::BTreeMap;
use std::env;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long processes that outlive an evaluation have to end.
const LINGER: Duration = Duration::from_secs(5);

/// Interval of writes of an evaluation's status.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// The variable that tells CUDA which GPUs to use.
const VISIBLE: &str = "CUDA_VISIBLE_DEVICES";

/// What all evaluations of one run-eval have in common.
#[derive(Debug)]
pub(crate) struct Provenance {
    cwd: PathBuf,
    code: Code,
    gpus: Vec<String>,
    /// The last interpreter that was asked for its version, and the answer.
    python: Option<(PathBuf, Option<String>)>,
}

/// An evaluation that is ready to execute.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) task: Task,
    pub(crate) record: Record,
}

impl Provenance {
    /// Collects the provenance.
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

/// Checks, before anything is started, that the command can be filled in for a run, and that its program
/// exists.
pub(crate) fn check_command(
    options: &Options,
    session: &Session,
    provenance: &Provenance,
) -> Result<(), Error> {
    let somewhere = session.evaluations.root();
    let chosen = Chosen { path: somewhere, step: Some(0), out: Some(somewhere) };
    let filled = filled(options, session, chosen, options.gpu(0))?;
    let has_own_path = session.meta.env.contains_key("PATH");
    let is_sure = |name: &&String| filled.command.first() == Some(*name) && !has_own_path;
    let name = options.command.first().filter(is_sure);
    match name {
        Some(name) if find_program(OsStr::new(name), &provenance.cwd).is_none() => {
            Err(Error::new(Exit::System, format!("cannot execute '{name}'")).because("command not found"))
        }
        _ => Ok(()),
    }
}

fn filled(
    options: &Options,
    session: &Session,
    chosen: Chosen,
    gpu: Option<&String>,
) -> Result<Filled, Error> {
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
    fill(&options.command, &values)
}

/// Prepares the directory of an evaluation, and everything about its command. Files of an earlier evaluation
/// are set aside.
pub(crate) fn prepare(
    options: &Options,
    session: &Session,
    job: &Job,
    gpu: Option<&String>,
    provenance: &mut Provenance,
) -> Result<Prepared, Error> {
    let Begun { active, recorded, evaluation, attempts } = begin(options, session, job)?;
    let layout = active.layout().clone();
    let path = job.path();
    let chosen = Chosen { path: &path, step: job.checkpoint.step, out: Some(layout.root()) };
    let filled = filled(options, session, chosen, gpu)?;
    let Some(name) = filled.command.first() else {
        return Err(Error::usage("the command is empty once its placeholders are filled in"));
    };
    let executable = find_program(OsStr::new(name), &provenance.cwd).map(named_interpreter);
    let is_hidden = options.command.first().is_some_and(|word| word.contains("{env:"));
    let visible = gpu.cloned().or_else(|| env::var(VISIBLE).ok()).unwrap_or_else(|| "0".to_owned());
    let attempt = attempts.saturating_add(1);
    let start = AttemptStart {
        schema: SCHEMA,
        run_id: evaluation.eval_id.clone(),
        event: StartEvent::Start,
        attempt,
        start_time: Timestamp::now(),
        command: filled.recorded,
        template: options.recorded_command.clone(),
        executable: executable
            .as_ref()
            .filter(|_| !is_hidden)
            .map(|path| path.to_string_lossy().into_owned()),
        cwd: provenance.cwd.to_string_lossy().into_owned(),
        host: Place::here().host.clone(),
        pid: 0,
        git_commit: provenance.code.commit.clone(),
        git_dirty: provenance.code.dirty,
        python_version: provenance.python_version(executable.as_deref()),
        device: session.meta.device.clone(),
        gpus: provenance.gpus.clone(),
        cuda_visible_devices: Some(visible.clone()),
        resume_from: None,
        resume_step: None,
        total_steps: None,
        checkpoint_pattern: None,
        job: job_of(options, session),
        options: AttemptOptions::default(),
        offsets: offsets(&layout, attempt, &[]),
        fingerprints: BTreeMap::new(),
    };
    let mut env = environment(session, job, &layout, &evaluation, attempt, filled.env);
    env.push((VISIBLE.into(), Some(visible.into())));
    env.extend([NOTES, JOB].map(|name| (name.into(), None)));
    env.extend(gpu.into_iter().flat_map(|gpu| of_slot(gpu)));
    let task = Task {
        layout: layout.clone(),
        program: executable.map_or_else(|| OsString::from(name), PathBuf::into_os_string),
        arguments: filled.command.iter().map(OsString::from).collect(),
        env,
        cwd: provenance.cwd.clone(),
        stdin: false,
        output: Output::Pipes,
        limits: Limits {
            grace: options.grace,
            linger: LINGER,
            heartbeat: HEARTBEAT,
            timeout: options.timeout,
            stall: None,
        },
        quiet: true,
        detach: false,
        scrape: Patterns { known: false, own: Vec::new() },
        sources: Sources::default(),
        retry: None,
        devices: NVIDIA_SMI,
        statuses: STATUSES,
        beside: None,
        ending: Box::new(Ending(layout)),
    };
    Ok(Prepared { task, record: Record::new(active, recorded, None, start) })
}

/// Returns the variables to set or remove for the command. The `RUN_` variables are those of the evaluation,
/// so that nothing the command writes gets into the run.
fn environment(
    session: &Session,
    job: &Job,
    layout: &Layout,
    evaluation: &Evaluation,
    attempt: u32,
    recorded: Vec<Variable>,
) -> Vec<Variable> {
    let run = session.run.layout().root();
    let mut env = of_attempt(layout, &evaluation.eval_id, attempt, run, &session.meta);
    let own: [(&str, Option<OsString>); 5] = [
        ("EVAL_RUN", Some(run.into())),
        ("EVAL_CHECKPOINT", Some(job.path().into())),
        ("EVAL_STEP", job.checkpoint.step.map(|step| step.to_string().into())),
        ("EVAL_LABEL", Some(evaluation.label.clone().into())),
        ("EVAL_OUT", Some(layout.root().into())),
    ];
    env.extend(own.map(|(name, value)| (name.into(), value)));
    env.extend(recorded);
    env
}
