//! Executes the command line: this process makes a single attempt of a single run; a controller makes several.

use crate::attempt::Attempt;
use crate::cli::Args;
use crate::controller::Controller;
use crate::detached;
use crate::held_run::{HeldRun, observer};
use crate::launch;
use crate::options::Options;
use crate::queue::single;
use crate::settings::Settings;
use crate::unfinished::Left;
use nix::unistd::{dup2_stderr, dup2_stdout, setsid};
use run_common::cli::mistakes::check_command_apart;
use run_common::cli::names::Names;
use run_common::cli::statuses::Ended;
use run_common::error::{Error, Exit};
use run_common::fsio::write::open_null;
use run_common::message::warn;
use run_common::process::spawn::{Side, check_open, fork};
use run_common::rundir::open::RunDir;
use std::io;
use std::process;
use std::slice;

/// Executes a command in one or several runs; returns how to exit.
pub(crate) fn run(args: &Args) -> Result<Ended, Error> {
    let mut options = Options::resolve(args)?;
    let mut names = Names::below(options.runs_dir.clone());
    check_command_apart(&mut names, &options.operands, !options.command.is_empty())?;
    if options.detach {
        (options.operands, options.listed) = detached::named(&options)?;
    }
    if !options.quiet && check_open(1).is_err() {
        warn("stdout is closed: output goes only to the logs");
    }
    if options.launch.is_some() {
        return launch::submit::submit(&options);
    }
    if options.submission.is_some() {
        return launch::job::execute(options, execute);
    }
    execute(&options)
}

/// Executes a command in one run or several, by processes of this one.
pub(crate) fn execute(options: &Options) -> Result<Ended, Error> {
    match single(options)? {
        Some(run) => match Settings::of(options, &run) {
            // A detached run waits for GPUs without the caller.
            settings if settings.retries == 0 && (options.free_gpus.is_none() || !options.detach) => {
                execute_one(options, &run, settings)
            }
            _ => execute_several(options, true),
        },
        None => execute_several(options, false),
    }
}

fn execute_one(options: &Options, run: &RunDir, settings: Settings) -> Result<Ended, Error> {
    if options.slots.gpu(1).is_some() {
        return Err(Error::usage("a single run takes a single slot of --gpus"));
    }
    if Left::of(options, &observer(options).observe(run)?)?.is_some() {
        return Ok(Ended::With(0));
    }
    let held = match HeldRun::take(run, options) {
        Ok(held) => held,
        Err(error) => return Left::after(options, run, error).map(|_| Ended::With(0)),
    };
    let attempt = Attempt {
        is_resume: options.resumes(),
        is_retry: options.is_again,
        gpu: options.gpu(0),
        free: options.free_gpus,
        settings,
        retry: None,
        parent: None,
    };
    let caller = process::id();
    let ended = attempt.make(options, held)?;
    if options.detach && process::id() == caller && ended == Ended::With(0) {
        detached::report(options, slice::from_ref(run));
    }
    Ok(ended)
}

/// Executes several runs, or one run several times.
fn execute_several(options: &Options, is_one: bool) -> Result<Ended, Error> {
    if options.stdin {
        return Err(Error::usage("--stdin needs a single run"));
    }
    let slots = options.slots.count()?;
    if options.detach {
        let (runs, exit) = detached::open(options);
        if runs.is_empty() {
            return Ok(Ended::With(exit as u8));
        }
        if let Side::Parent(_) = detach()? {
            detached::report(options, &runs);
            return Ok(Ended::With(exit as u8));
        }
    }
    Ok(Controller::new(options, slots, is_one)?.control())
}

/// Detaches from the caller's process.
fn detach() -> Result<Side, Error> {
    let failed = |error: io::Error| Error::new(Exit::System, "cannot detach").because(error);
    let side = fork().map_err(failed)?;
    if let Side::Child(_) = side {
        let null = open_null().map_err(failed)?;
        let moved = setsid().and_then(|_| dup2_stdout(&null)).and_then(|()| dup2_stderr(&null));
        moved.map_err(|error| failed(error.into()))?;
    }
    Ok(side)
}
