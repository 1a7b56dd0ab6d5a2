//! Plans an attempt: its command with placeholders filled in, its program, and the record of its start.

use crate::attempt::Attempt;
use crate::ending::Ending;
use crate::environment::environment;
use crate::options::{Executed, Options};
use crate::resume::Resume;
use crate::told;
use run_common::cli::statuses::STATUSES;
use run_common::error::{Error, Exit};
use run_common::message::warn;
use run_common::process::identity::Place;
use run_common::provenance::device::{NVIDIA_SMI, gpus};
use run_common::provenance::git::Code;
use run_common::provenance::hints::Hints;
use run_common::provenance::python::{Python, find_program, interpreter_of, named_interpreter};
use run_common::provenance::redact::{REDACTED, redact_command};
use run_common::provenance::wrapper::interpreter_of_command;
use run_common::rundir::SCHEMA;
use run_common::rundir::attempts::{AttemptStart, Attempts, StartEvent};
use run_common::rundir::captured::Captured;
use run_common::rundir::environment::of_slot;
use run_common::rundir::fingerprint::fingerprints;
use run_common::rundir::layout::Layout;
use run_common::rundir::meta::Meta;
use run_common::rundir::open::RunDir;
use run_common::rundir::record::offsets;
use run_common::rundir::recorded::Recorded;
use run_common::rundir::template::{Chosen, Filled, Values, fill};
use run_common::text::cut;
use run_common::time::Timestamp;
use run_launch::inside::Inside;
use run_supervise::{Beside, Sources, Task};
use std::env;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The plan of an attempt.
pub(crate) struct Plan {
    pub(crate) task: Task,
    pub(crate) start: AttemptStart,
}

/// A command template, its directory and its program.
struct Source {
    template: Vec<String>,
    cwd: PathBuf,
    /// The program that was found when the command was recorded.
    executable: Option<PathBuf>,
    is_recorded: bool,
}

impl Source {
    /// Returns the command typed now, else that of the last attempt, else that of the run's creation.
    fn find(options: &Options, meta: &Meta, layout: &Layout) -> Result<Self, Error> {
        if !options.command.is_empty() {
            let cwd = env::current_dir().map_err(|error| Error::io("find", Path::new("."), error))?;
            return Ok(Self { template: options.command.clone(), cwd, executable: None, is_recorded: false });
        }
        let attempts =
            Attempts::read(layout).map_err(|error| Error::io("read", &layout.attempts(), error))?;
        // The attempt of an adopted run may have no command.
        let last = attempts.last().map(|last| last.start.clone()).filter(|last| !last.template.is_empty());
        let (template, cwd, executable) = match last {
            Some(last) => (last.template, last.cwd, last.executable),
            None => match meta.command.as_ref().filter(|command| !command.is_empty()) {
                Some(command) => (command.clone(), meta.cwd.clone(), meta.executable.clone()),
                None => {
                    return Err(Error::usage(format!("no command for '{}'", layout.root().display()))
                        .because("no command was recorded, and none was given")
                        .hint("give a command after --"));
                }
            },
        };
        if let Some(at) = template.iter().position(|word| word.contains(REDACTED)) {
            let shown = template[at.saturating_sub(1)..=at].join(" ");
            return Err(Error::usage(format!(
                "cannot execute the recorded command of '{}'",
                layout.root().display()
            ))
            .because(format!("the secret in '{}' was not recorded", cut(&shown, 80)))
            .hint("use {env:NAME} instead of the secret; it is recorded unexpanded"));
        }
        Ok(Self { template, cwd: cwd.into(), executable: executable.map(PathBuf::from), is_recorded: true })
    }
}

impl Plan {
    /// Finds out whether an attempt could be made: the command, its placeholders, its program, the config and the
    /// inputs. Where it will be made other graphics processors are there.
    pub(crate) fn check(
        options: &Options,
        this: &Attempt,
        run: &RunDir,
        meta: &Meta,
        recorded: &Recorded,
    ) -> Result<(), Error> {
        let layout = run.layout();
        let choices = Choices::make(options, this, layout, meta, recorded)?;
        let what = if options.launch.is_some() { "submit" } else { "start" };
        let cannot = || Error::new(Exit::BadRun, format!("cannot {what} '{}'", layout.root().display()));
        if choices.executable.is_none() {
            let name = choices.filled.recorded.first().map_or("", String::as_str);
            return Err(cannot().because(format!("command not found: {name}")));
        }
        if !choices.source.cwd.is_dir() {
            let shown = choices.source.cwd.display();
            return Err(cannot().because(format!("there is no directory '{shown}'")));
        }
        let config = meta.config_file.as_ref().map(|file| layout.root().join(file));
        let inputs = meta.inputs.values().filter_map(|input| input["path"].as_str().map(PathBuf::from));
        match config.into_iter().chain(inputs).find(|path| !path.exists()) {
            Some(missing) => Err(cannot().because(format!("there is no '{}'", missing.display()))),
            None => Ok(()),
        }
    }

    /// Makes the plan.
    pub(crate) fn make(
        options: &Options,
        this: &Attempt,
        run: &RunDir,
        meta: &Meta,
        recorded: &Recorded,
    ) -> Result<Self, Error> {
        let choices = Choices::make(options, this, run.layout(), meta, recorded)?;
        let python = choices.python();
        let start = choices.start(python.as_ref());
        let task = choices.task(python)?;
        if options.executed == Executed::Resume && recorded.attempts() == 0 {
            let shown = run.layout().root().display();
            warn(&format!("'{shown}' starts from the beginning: no attempt has been made yet"));
        }
        Ok(Self { task, start })
    }
}

/// Facts and choices that a plan needs.
struct Choices<'a> {
    options: &'a Options,
    this: &'a Attempt,
    layout: &'a Layout,
    meta: &'a Meta,
    /// Number of the attempt.
    number: u32,
    source: Source,
    resume: Resume,
    filled: Filled,
    /// The program that the command's name means now.
    found: Option<PathBuf>,
    /// The program to execute, if found.
    executable: Option<PathBuf>,
    /// Files that the metrics of earlier attempts were read from.
    metrics_from: Vec<String>,
}

impl<'a> Choices<'a> {
    fn make(
        options: &'a Options,
        this: &'a Attempt,
        layout: &'a Layout,
        meta: &'a Meta,
        recorded: &Recorded,
    ) -> Result<Self, Error> {
        let source = Source::find(options, meta, layout)?;
        let mut resume = if this.is_resume && recorded.attempts() > 0 {
            Resume::find(options, this.is_retry, layout, meta)?
        } else {
            Resume::none(options, layout, meta)?
        };
        let chosen = |(path, step): &'_ (String, Option<u64>)| (PathBuf::from(path), *step);
        let checkpoint = resume.from.as_ref().map(chosen);
        let values = Values {
            run: layout.root(),
            meta,
            gpu: this.gpu.as_deref(),
            checkpoint: checkpoint.as_ref().map(|(path, step)| Chosen { path, step: *step, out: None }),
            total_steps: resume.total_steps,
            env: if options.launch.is_some() { value_in_job } else { |name| env::var(name).ok() },
        };
        let filled = fill(&source.template, &values)?;
        if !source.is_recorded && options.additional_steps.is_none() {
            let known = Hints { total_steps: resume.total_steps, ..Hints::default() };
            resume.total_steps = Hints::of_command(&filled.command).or(known).total_steps;
        }
        if !this.is_retry {
            if !source.is_recorded {
                told::of_typed(&source.template, meta, layout);
            }
            told::of_resume(&source.template, &source.cwd, meta, layout, &resume);
        }
        let Some(name) = filled.command.first() else {
            return Err(Error::usage(format!("no command for '{}'", layout.root().display()))
                .because("the command is empty once its placeholders are filled in"));
        };
        let found = find_program(OsStr::new(name), &source.cwd);
        let executable = source.executable.clone().filter(|file| file.exists());
        let executable = executable.or_else(|| found.clone().map(named_interpreter));
        let number = recorded.attempts().checked_add(1).ok_or_else(|| {
            Error::new(Exit::BadRun, format!("cannot start '{}'", layout.root().display()))
                .because("its record is damaged: the number of attempts is too large")
        })?;
        let metrics_from = recorded.attempt().and_then(|attempt| attempt.metrics_from.clone());
        let metrics_from = metrics_from.unwrap_or_default();
        Ok(Self {
            options,
            this,
            layout,
            meta,
            number,
            source,
            resume,
            filled,
            found,
            executable,
            metrics_from,
        })
    }

    /// Returns the interpreter that the command comes to, and its version.
    fn python(&self) -> Option<(PathBuf, Option<String>)> {
        python(&self.filled.command, &self.source, self.executable.as_deref(), self.meta)
    }

    /// Creates the record of the start.
    fn start(&self, python: Option<&(PathBuf, Option<String>)>) -> AttemptStart {
        let Self { this, meta, source, resume, .. } = self;
        let code = Code::at(&source.cwd, false);
        let is_hidden = source.template.first().is_some_and(|word| word.contains("{env:"));
        let executable = self.executable.as_ref().filter(|_| !is_hidden);
        let (resume_from, resume_step) = resume.from.clone().unzip();
        let offsets = offsets(self.layout, self.number, &self.metrics_from);
        AttemptStart {
            schema: SCHEMA,
            run_id: meta.run_id.clone(),
            event: StartEvent::Start,
            attempt: self.number,
            start_time: Timestamp::now(),
            command: self.filled.recorded.clone(),
            template: redact_command(&source.template),
            executable: executable.map(|path| path.to_string_lossy().into_owned()),
            cwd: source.cwd.to_string_lossy().into_owned(),
            host: Place::here().host.clone(),
            pid: 0,
            git_commit: code.commit,
            git_dirty: code.dirty,
            python_version: python.and_then(|(_, version)| version.clone()),
            device: meta.device.clone(),
            gpus: gpus(),
            cuda_visible_devices: this.gpu.clone().or_else(|| env::var("CUDA_VISIBLE_DEVICES").ok()),
            resume_from,
            resume_step: resume_step.flatten(),
            total_steps: resume.total_steps,
            checkpoint_pattern: meta.checkpoint.as_ref().and_then(|recorded| recorded.pattern.clone()),
            job: self.options.job.clone().or_else(|| Inside::find().map(|job| job.start)),
            options: this.settings.recorded.clone(),
            fingerprints: fingerprints(self.layout, &offsets),
            offsets,
        }
    }

    /// Creates the task of the supervisor.
    fn task(self, python: Option<(PathBuf, Option<String>)>) -> Result<Task, Error> {
        let Self { options, this, layout, meta, .. } = self;
        let beside =
            capture(layout.clone(), meta.run_id.clone(), self.number, python, self.source.cwd.clone());
        let interpreter = meta.python_executable.as_deref().filter(|_| self.source.is_recorded);
        let mut env = environment(layout, meta, &self.resume, self.number, interpreter, self.filled.env)?;
        if let Some(gpu) = &this.gpu {
            env.extend(of_slot(gpu));
        }
        let arguments = arguments(&self.filled.command, self.executable.as_deref(), self.found.as_deref());
        let name = self.filled.command.first().map(OsString::from).unwrap_or_default();
        Ok(Task {
            layout: layout.clone(),
            program: self.executable.map_or(name, PathBuf::into_os_string),
            arguments,
            env,
            cwd: self.source.cwd,
            stdin: options.stdin,
            output: options.output,
            limits: this.settings.limits,
            quiet: options.quiet,
            detach: options.detach && this.parent.is_none(), // the controller of several runs has detached already
            scrape: this.settings.scrape.clone(),
            sources: Sources {
                trainer: true,
                metrics: this.settings.recorded.metrics.clone(),
                step_key: this.settings.recorded.step_key.clone(),
                checkpoint: meta.checkpoint.clone(),
            },
            retry: this.retry.clone(),
            devices: NVIDIA_SMI,
            statuses: STATUSES,
            beside: Some(beside),
            ending: Box::new(Ending {
                layout: layout.clone(),
                checkpoint: meta.checkpoint.clone(),
                on_end: this.settings.on_end(layout),
                job: Inside::find(),
                kill_wait: options.kill_wait,
                warning: this.settings.warning(),
            }),
        })
    }
}

/// Returns the value of a variable for a run that is submitted; any for what Slurm sets in the job.
fn value_in_job(name: &str) -> Option<String> {
    env::var(name).ok().or_else(|| name.starts_with("SLURM").then(String::new))
}

/// Returns the capture of the environment of an attempt, which is no part of what the attempt needs.
fn capture(
    layout: Layout,
    run_id: String,
    attempt: u32,
    python: Option<(PathBuf, Option<String>)>,
    cwd: PathBuf,
) -> Beside {
    Beside(Arc::new(move || {
        let known = python.as_ref().and_then(|(path, version)| Some((path.as_path(), version.as_deref()?)));
        let _ = Captured::now(&run_id, attempt, known, &cwd).write(&layout); // a full disk is reported elsewhere
    }))
}

/// Returns the interpreter that a command comes to, and its version, as was recorded where it is the same. Of the
/// command that the run was created with the interpreter is known, whatever the search path is now.
fn python(
    command: &[String],
    source: &Source,
    executable: Option<&Path>,
    meta: &Meta,
) -> Option<(PathBuf, Option<String>)> {
    let known = meta.python_executable.as_ref().map(PathBuf::from);
    let path = if meta.command.as_ref() == Some(&source.template) {
        executable.and_then(interpreter_of).or_else(|| known.clone())
    } else {
        interpreter_of_command(command, executable, &source.cwd)
    }?;
    let version = if Some(&path) == known.as_ref() {
        meta.python_version.clone()
    } else {
        Python::at(path.clone()).version
    };
    Some((path, version))
}

/// Returns the arguments as the command gets them. It is called by the name that was typed, unless
/// the program `found` by it is another one: Python finds its libraries by its name.
fn arguments(command: &[String], executable: Option<&Path>, found: Option<&Path>) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = command.iter().map(OsString::from).collect();
    if let (Some(name), Some(executable)) = (arguments.first_mut(), executable)
        && found != Some(executable)
    {
        *name = executable.into();
    }
    arguments
}
