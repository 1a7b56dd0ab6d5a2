//! An attempt: from the arguments and the record to a task, which the supervisor executes.

use crate::cli::Args;
use crate::ending::Ending;
use crate::resume::Resume;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use run_common::cli::statuses::STATUSES;
use run_common::error::{Error, Exit};
use run_common::message::warn;
use run_common::process::identity::{Life, Place, Process, ProcessId};
use run_common::process::signals::{Signals, is_request, signal_name};
use run_common::provenance::device::{NVIDIA_SMI, gpus};
use run_common::provenance::git::Code;
use run_common::provenance::python::{Python, find_program, interpreter_of, named_interpreter};
use run_common::provenance::secret::{REDACTED, redact_command};
use run_common::rundir::SCHEMA;
use run_common::rundir::attempts::{AttemptEnd, AttemptStart, Attempts, StartEvent};
use run_common::rundir::environment::{Variable, of_attempt, of_record, of_slot};
use run_common::rundir::layout::Layout;
use run_common::rundir::meta::Meta;
use run_common::rundir::observe::{Observed, Observer};
use run_common::rundir::open::RunDir;
use run_common::rundir::record::{ActiveRun, Record, offsets};
use run_common::rundir::recorded::{AttemptState, Ended, Recorded, State};
use run_common::rundir::status::{Outcome, Status};
use run_common::rundir::stop::StopRequest;
use run_common::rundir::template::{Chosen, Values, fill};
use run_common::time::Timestamp;
use run_supervise::{self, Limits, Output, Retry, Task};
use serde_json::Value;
use signal_hook::consts::SIGTERM;
use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How often the `stop` file is looked for between two attempts.
const STOP_FILE: Duration = Duration::from_secs(1);

/// How an attempt is made, besides what the command line says.
#[derive(Debug, Default)]
pub(crate) struct How {
    /// There may have been attempts before.
    pub(crate) resume: bool,
    /// It is made in place of one that failed: what the command line says of where to begin, and for how
    /// many steps, was said of that one.
    pub(crate) is_retry: bool,
    /// Graphics processors that it has for its own.
    pub(crate) gpu: Option<String>,
    /// When another attempt may follow.
    pub(crate) retry: Option<Retry>,
    /// The process for which this one works.
    pub(crate) parent: Option<Process>,
}

/// A run whose lock this process holds, and its record.
#[derive(Debug)]
pub(crate) struct Taken {
    active: ActiveRun,
    recorded: Recorded,
}

/// Takes a run, if it may be executed.
pub(crate) fn take(run: &RunDir, resume: bool, take_over: bool) -> Result<Taken, Error> {
    let run = RunDir::at(&run.absolute())?;
    let before = Observer::default().observe(&run)?;
    refuse(&before, resume, take_over)?;
    let active = run.activate()?;
    let recorded = Recorded::read(active.layout())?;
    if recorded.attempts() != before.recorded.attempts() {
        return Err(cannot_start(active.run(), Exit::Busy).because("another run-exec has just executed it"));
    }
    Ok(Taken { active, recorded })
}

/// Makes an attempt of a run that was taken; returns the status to exit with.
pub(crate) fn execute(args: &Args, taken: Taken, how: How) -> Result<u8, Error> {
    let (task, record) = prepare(args, taken, &how)?;
    run_supervise::run(&task, record, how.parent, None)
}

/// Decides all about an attempt.
fn prepare(args: &Args, taken: Taken, how: &How) -> Result<(Task, Record), Error> {
    let Taken { mut active, recorded } = taken;
    active.sign()?; // it may have been taken by the process that this one was forked off
    let stop = active.layout().stop();
    let asked_before = fs::symlink_metadata(&stop).ok();
    if (!how.resume || how.is_retry) && asked_before.is_some() {
        return Err(refuse_stopped(&active, recorded));
    }
    let meta = Meta::read(active.layout())?;
    let plan = Plan::make(args, how, active.run(), &meta, &recorded)?;
    // A request that a resume overrules is taken away; one that came meanwhile is not.
    match (asked_before, fs::symlink_metadata(&stop).ok()) {
        (_, None) => {}
        (Some(before), Some(now)) if is_same(&before, &now) => {
            fs::remove_file(&stop).map_err(|error| Error::io("remove", &stop, error))?;
        }
        (_, Some(_)) => return Err(refuse_stopped(&active, recorded)),
    }
    let Plan { task, start } = plan;
    Ok((task, Record::new(active, recorded, start)))
}

/// Makes another attempt of a run whose lock was kept, after so many seconds; unless a stop is asked
/// for meanwhile.
pub(crate) fn again(args: &Args, mut taken: Taken, how: How, delay: f64) -> Result<u8, Error> {
    let layout = taken.active.layout().clone();
    let lost = |taken: &Taken| {
        let why = taken.active.loss(&taken.recorded)?;
        Some(Error::new(Exit::BadRun, "cannot make another attempt").because(why))
    };
    match Recorded::read(&layout) {
        Ok(recorded) if recorded.run_id == taken.recorded.run_id => taken.recorded = recorded,
        Ok(_) => {} // that is found below
        Err(error) => return Err(lost(&taken).unwrap_or(error)),
    }
    let mut signals = run_supervise::catch()
        .map_err(|error| Error::new(Exit::System, "cannot catch signals").because(error))?;
    let stopped = |active: &ActiveRun, recorded: &Recorded, signal: Option<i32>| {
        let words = match (StopRequest::read(&layout.stop()), signal) {
            (Some(request), _) => request.words(),
            (None, Some(signal)) => format!("stopped by signal {signal} ({})", signal_name(signal)),
            (None, None) => return Ok(None),
        };
        write_stopped(active, recorded.clone(), words)?;
        Ok(Some(128 + u8::try_from(signal.unwrap_or(SIGTERM)).unwrap_or_default()))
    };
    let asked = |signals: &mut Signals| signals.pending().into_iter().find(|&signal| is_request(signal));
    let until = Instant::now() + Duration::try_from_secs_f64(delay).unwrap_or_default();
    let mut beat = Instant::now();
    loop {
        if let Some(error) = lost(&taken) {
            return Err(error);
        }
        if let Some(status) = stopped(&taken.active, &taken.recorded, asked(&mut signals))? {
            return Ok(status);
        }
        let now = Instant::now();
        if now >= until {
            break;
        }
        if now >= beat {
            taken.active.write_waiting(&mut taken.recorded).map_err(|error| {
                lost(&taken).unwrap_or_else(|| Error::io("write", &layout.status(), error))
            })?;
            beat = now + args.heartbeat;
        }
        let mut fds = vec![PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
        fds.extend(how.parent.as_ref().map(|parent| PollFd::new(parent.as_fd(), PollFlags::POLLIN)));
        let pause = until.min(beat).saturating_duration_since(now).min(STOP_FILE) + Duration::from_millis(1); // poll rounds down
        let _ = poll(&mut fds, PollTimeout::try_from(pause).unwrap_or(PollTimeout::MAX)); // all is looked at anyway
        if fds.get(1).is_some_and(|parent| parent.any().unwrap_or(false)) {
            give_up(&taken, "run-exec was killed before another attempt")?;
            return Ok(STATUSES.failed);
        }
    }
    let before = taken.recorded.clone();
    let (task, record) = prepare(args, taken, &how)?;
    // A signal may have come meanwhile: then there is no other attempt.
    let Some(signal) = asked(&mut signals) else {
        return run_supervise::run(&task, record, how.parent, Some(signals));
    };
    let status = record.give_up().map(|active| stopped(&active, &before, Some(signal)));
    Ok(status.transpose()?.flatten().unwrap_or(STATUSES.failed))
}

/// Records that the attempt which was to follow will not be made: what the last came to stands.
pub(crate) fn give_up(taken: &Taken, why: &str) -> Result<(), Error> {
    let layout = taken.active.layout();
    let mut recorded = Recorded::read(layout)?;
    if let Some(mut end) = AttemptEnd::read(layout, &recorded.run_id, recorded.attempts()) {
        end.reason = Some(format!("{}; {why}", end.reason.unwrap_or_default()));
        recorded.end(&end);
    }
    taken.active.write(&recorded)
}

fn cannot_start(run: &RunDir, exit: Exit) -> Error {
    Error::new(exit, format!("cannot start '{}'", run.layout().root().display()))
}

/// Refuses a run that is at work, or that needs `--resume`.
fn refuse(before: &Observed, resume: bool, take_over: bool) -> Result<(), Error> {
    let recorded = &before.recorded;
    let reason = before.reason().unwrap_or("its state is in doubt");
    match before.status() {
        Status::Created | Status::Queued => Ok(()),
        Status::Running => Err(cannot_start(&before.run, Exit::Busy)
            .because(match recorded.attempt().and_then(|attempt| attempt.supervisor.as_ref()) {
                Some(ProcessId { pid, host, .. }) => {
                    format!("it is running already, by process {pid} on {host}")
                }
                None => "it is running already".to_owned(),
            })
            .hint("run-stop(1) stops it; run-status(1) says what it does")),
        Status::Stale if take_over && resume && is_elsewhere(recorded) => Ok(()),
        Status::Stale => {
            Err(cannot_start(&before.run, Exit::Busy).because(reason.to_owned()).hint(way_out(recorded)))
        }
        Status::Dead | Status::Completed | Status::Failed | Status::Stopped if resume => Ok(()),
        status => Err(cannot_start(&before.run, Exit::No)
            .because(format!("it has been executed, and is {status}"))
            .hint("--resume makes another attempt; run-new makes another run")),
    }
}

/// Says whether the recorded supervisor was one of another host or container.
fn is_elsewhere(recorded: &Recorded) -> bool {
    let supervisor = recorded.attempt().and_then(|attempt| attempt.supervisor.as_ref());
    supervisor.is_none_or(|supervisor| supervisor.life() == Life::Unseen)
}

/// Returns what to do about a run that is in doubt.
pub(crate) fn way_out(recorded: &Recorded) -> &'static str {
    if is_elsewhere(recorded) {
        "if its host or container is known to be gone, --resume --take-over makes another attempt"
    } else {
        "run-stop(1) ends what is left of it"
    }
}

fn is_same(one: &Metadata, other: &Metadata) -> bool {
    (one.ino(), one.mtime(), one.mtime_nsec()) == (other.ino(), other.mtime(), other.mtime_nsec())
}

/// Records a run that was asked to stop before it started.
fn refuse_stopped(active: &ActiveRun, recorded: Recorded) -> Error {
    let request = StopRequest::read(&active.layout().stop()).unwrap_or_default();
    match write_stopped(active, recorded, request.words()) {
        Ok(()) => cannot_start(active.run(), Exit::No)
            .because(format!("it was {} before it started", request.words()))
            .hint("--resume executes it all the same"),
        Err(error) => error,
    }
}

/// Records that a run was stopped while no attempt was made.
fn write_stopped(active: &ActiveRun, recorded: Recorded, words: String) -> Result<(), Error> {
    let attempt = recorded.attempt().cloned().map(|attempt| AttemptState { resources: None, ..attempt });
    let ended = Ended {
        attempt,
        outcome: Outcome::Stopped,
        reason: Some(words),
        time: Some(Timestamp::now()),
        exit_code: None,
        signal: None,
    };
    active.write(&Recorded { state: State::Ended(ended), ..recorded })
}

/// What was decided about an attempt.
struct Plan {
    task: Task,
    start: AttemptStart,
}

/// A command to be filled in, where from and by what program.
struct Source {
    template: Vec<String>,
    cwd: PathBuf,
    /// The program as it was found when the command was recorded.
    executable: Option<PathBuf>,
    is_recorded: bool,
}

impl Source {
    /// Takes the command typed now, else that of the last attempt, else that of the creation.
    fn find(args: &Args, meta: &Meta, layout: &Layout) -> Result<Self, Error> {
        if !args.command.is_empty() {
            let cwd = env::current_dir().map_err(|error| Error::io("find", Path::new("."), error))?;
            return Ok(Self { template: args.command.clone(), cwd, executable: None, is_recorded: false });
        }
        let attempts =
            Attempts::read(layout).map_err(|error| Error::io("read", &layout.attempts(), error))?;
        let last = attempts.last().map(|last| last.start.clone());
        let (template, cwd, executable) = match last {
            Some(last) => (last.template, last.cwd, last.executable),
            None => match &meta.command {
                Some(command) => (command.clone(), meta.cwd.clone(), meta.executable.clone()),
                None => {
                    return Err(Error::usage(format!("no command for '{}'", layout.root().display()))
                        .because("none was recorded, and none is given")
                        .hint("give one after --"));
                }
            },
        };
        if template.iter().any(|word| word.contains(REDACTED)) {
            return Err(Error::usage(format!(
                "cannot execute the recorded command of '{}'",
                layout.root().display()
            ))
            .because("a secret in it was not recorded")
            .hint("write {env:NAME} in its place, which is recorded unexpanded"));
        }
        Ok(Self { template, cwd: cwd.into(), executable: executable.map(PathBuf::from), is_recorded: true })
    }
}

impl Plan {
    fn make(args: &Args, how: &How, run: &RunDir, meta: &Meta, recorded: &Recorded) -> Result<Self, Error> {
        let layout = run.layout();
        let source = Source::find(args, meta, layout)?;
        let env = |name: &str| env::var(name).ok();
        let resume = if how.resume && recorded.attempts() > 0 {
            Resume::find(args, how.is_retry, layout, meta, recorded)?
        } else {
            Resume::none(args, layout, meta)?
        };
        let values = Values {
            run: layout.root(),
            meta,
            gpu: how.gpu.as_deref(),
            checkpoint: resume.from.as_ref().map(|(path, step)| Chosen {
                path: Path::new(path),
                step: *step,
                out: None,
            }),
            total_steps: resume.total_steps,
            env,
        };
        let filled = fill(&source.template, &values)?;
        let Some(name) = filled.command.first() else {
            return Err(Error::usage(format!("no command for '{}'", layout.root().display()))
                .because("nothing is left of it when its placeholders are filled in"));
        };
        let found = find_program(OsStr::new(name), &source.cwd);
        let is_hidden = source.template.first().is_some_and(|word| word.contains("{env:"));
        let executable = source.executable.clone().filter(|file| file.exists());
        let executable = executable.or_else(|| found.clone().map(named_interpreter));
        let code = Code::at(&source.cwd, false);
        let attempt = recorded.attempts() + 1;
        let start = AttemptStart {
            schema: SCHEMA,
            run_id: meta.run_id.clone(),
            event: StartEvent::Start,
            attempt,
            start_time: Timestamp::now(),
            command: filled.recorded,
            template: redact_command(&source.template),
            executable: executable
                .as_ref()
                .filter(|_| !is_hidden)
                .map(|path| path.to_string_lossy().into_owned()),
            cwd: source.cwd.to_string_lossy().into_owned(),
            host: Place::here().host.clone(),
            pid: 0,
            git_commit: code.commit,
            git_dirty: code.dirty,
            python_version: python_version(executable.as_deref(), meta),
            device: meta.device.clone(),
            gpus: gpus(),
            cuda_visible_devices: how.gpu.clone().or_else(|| env::var("CUDA_VISIBLE_DEVICES").ok()),
            resume_from: resume.from.as_ref().map(|(checkpoint, _)| checkpoint.clone()),
            resume_step: resume.from.as_ref().and_then(|(_, step)| *step),
            total_steps: resume.total_steps,
            offsets: offsets(layout, attempt),
        };
        let interpreter =
            Some(meta).filter(|_| source.is_recorded).and_then(|meta| meta.python_executable.as_deref());
        let mut env = environment(layout, meta, &resume, attempt, interpreter)?;
        if let Some(gpu) = &how.gpu {
            env.extend(of_slot(gpu));
        }
        let task = Task {
            layout: layout.clone(),
            arguments: arguments(&filled.command, executable.as_deref(), found.as_deref()),
            program: executable.map_or_else(|| OsString::from(name), PathBuf::into_os_string),
            env,
            cwd: source.cwd,
            stdin: args.stdin,
            output: match (args.pty, args.merge) {
                (true, _) => Output::Terminal,
                (false, true) => Output::Merged,
                (false, false) => Output::Pipes,
            },
            limits: Limits {
                grace: args.grace,
                linger: args.linger,
                heartbeat: args.heartbeat,
                timeout: args.timeout,
                stall: args.stall_timeout,
            },
            quiet: args.quiet || args.detach,
            detach: args.detach && how.parent.is_none(), // the front of several has left already
            scrape: args.patterns(),
            retry: how.retry.clone(),
            devices: NVIDIA_SMI,
            statuses: STATUSES,
            ending: Box::new(Ending {
                layout: layout.clone(),
                checkpoint: meta.checkpoint.clone(),
                on_end: args.on_end.clone(),
            }),
        };
        if args.resume && recorded.attempts() == 0 {
            warn(&format!(
                "'{}' starts from the beginning: there was no attempt before",
                layout.root().display()
            ));
        }
        Ok(Self { task, start })
    }
}

/// Returns the version of the interpreter that the program is or names, as was recorded where it is the
/// same.
fn python_version(executable: Option<&Path>, meta: &Meta) -> Option<String> {
    let known = meta.python_executable.as_ref().map(PathBuf::from);
    let path = executable.and_then(interpreter_of).or_else(|| known.clone())?;
    if Some(&path) == known.as_ref() { meta.python_version.clone() } else { Python::at(path).version }
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

/// Returns the variables that the command is given, or that are taken from it.
fn environment(
    layout: &Layout,
    meta: &Meta,
    resume: &Resume,
    attempt: u32,
    interpreter: Option<&str>,
) -> Result<Vec<Variable>, Error> {
    let missing = |(name, value): &(&String, &Value)| {
        value.as_str().is_some_and(|value| value.contains(REDACTED)) && env::var_os(name).is_none()
    };
    if let Some((name, _)) = meta.env.iter().find(missing) {
        return Err(Error::usage(format!("cannot execute '{}'", layout.root().display()))
            .because(format!("the value of {name} was a secret, and not recorded"))
            .hint("set it in the environment of run-exec"));
    }
    let mut env = of_attempt(layout, &meta.run_id, attempt, layout.root(), meta);
    let (from, step) = resume.from.clone().unzip();
    let number = |number: Option<u64>| number.map(|number| number.to_string().into());
    env.push(("RUN_TOTAL_STEPS".into(), number(resume.total_steps)));
    env.push(("RUN_RESUME_FROM".into(), from.map(OsString::from)));
    env.push(("RUN_RESUME_STEP".into(), number(step.flatten())));
    env.extend(interpreter.and_then(path_with).map(|path| ("PATH".into(), Some(path))));
    env.extend(of_record(meta));
    Ok(env)
}

/// Returns a search path on which the recorded interpreter is found, when it is not on this one:
/// cron(8) gives a short one.
fn path_with(interpreter: &str) -> Option<OsString> {
    let directory = Path::new(interpreter).parent()?;
    let path = env::var_os("PATH").unwrap_or_default();
    let mut directories: Vec<PathBuf> = env::split_paths(&path).collect();
    if directories.iter().any(|known| known == directory) {
        return None;
    }
    directories.insert(0, directory.to_owned());
    env::join_paths(directories).ok()
}
