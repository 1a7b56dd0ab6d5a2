//! Resolves the options, opens the runs, and lets the controller evaluate their checkpoints.

use crate::cli::Args;
use crate::controller::Controller;
use crate::launch;
use crate::open_files::OpenFiles;
use crate::options::Options;
use crate::prepare::{Provenance, check_command};
use crate::recorded;
use crate::session::Session;
use run_common::cli::mistakes::check_command_apart;
use run_common::cli::names::Names;
use run_common::cli::operands::open_runs;
use run_common::cli::statuses::Ended;
use run_common::error::{Error, Exit};
use run_common::message::complain;
use run_common::rundir::open::RunDir;
use std::collections::HashSet;

/// Evaluates the requested checkpoints; returns how to exit, also after failures.
#[expect(clippy::unnecessary_wraps, reason = "what executes commands has its own status for failures")]
pub(crate) fn run(args: &Args) -> Result<Ended, Error> {
    Ok(evaluate(args).unwrap_or_else(|error| {
        if error.is_broken_pipe() {
            return Ended::With(Exit::Ok as u8); // the reader of the output is gone
        }
        complain(&error);
        Ended::With(error.exit() as u8)
    }))
}

fn evaluate(args: &Args) -> Result<Ended, Error> {
    let mut options = Options::resolve(args)?;
    let mut names = Names::below(args.runs_dir.path());
    check_command_apart(&mut names, &args.runs, !args.command.is_empty())?;
    let open_files = OpenFiles::raise();
    let provenance = Provenance::find()?;
    let runs: Vec<_> = open_runs(&args.runs, &args.runs_dir.path(), args.null).collect();
    let opened: Vec<&RunDir> = runs.iter().flatten().collect();
    if args.command.is_empty() && !opened.is_empty() {
        options.repeat(recorded::command(&options, &opened)?);
    }
    let (sessions, status) = open(runs, &options, &provenance)?;
    if options.launch.is_some() {
        return launch::submit(&options, sessions, status);
    }
    let Some(submission) = options.submission.clone() else {
        return Controller::new(options, sessions, provenance, open_files, status)?.work();
    };
    let Some(job) = launch::Job::find(&sessions, submission)? else { return Ok(Ended::With(0)) };
    let ended = Controller::new(options, sessions, provenance, open_files, status)?.work();
    job.end(); // each evaluation returns from here, too
    ended
}

/// Opens the runs; returns a session for each, and the exit status for those that cannot be opened.
fn open(
    runs: Vec<Result<RunDir, Error>>,
    options: &Options,
    provenance: &Provenance,
) -> Result<(Vec<Session>, u8), Error> {
    let (mut sessions, mut status) = (Vec::new(), 0);
    let mut known = HashSet::new();
    for run in runs {
        let session = match run {
            Ok(run) if !known.insert(run.absolute()) => continue,
            run => run.and_then(|run| Session::open(options, &run)),
        };
        match session {
            Ok(session) => {
                check_command(options, &session, provenance)?;
                match session.take_label(options) {
                    Ok(()) => sessions.push(session),
                    Err(error) => {
                        complain(&error);
                        status = status.max(error.exit() as u8);
                    }
                }
            }
            Err(error) => {
                complain(&error);
                status = status.max(error.exit() as u8);
            }
        }
    }
    Ok((sessions, status))
}
