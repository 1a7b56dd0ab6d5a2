//! Forks a process into the monitor and the supervisor of an attempt.

use super::detach::{Detached, detach};
use super::log::Log;
use super::monitor::Monitor;
use super::requirements::{check_files, look_for_proc};
use super::scraped::Scraped;
use super::signals;
use super::start::Report;
use super::streams::Streams;
use super::supervisor::Supervisor;
use super::task::Task;
use super::tee::Tee;
use super::to_caller::{ToCaller, feed_terminal};
use nix::fcntl::OFlag;
use nix::sys::prctl::set_child_subreaper;
use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout, pipe2, setsid};
use run_common::cli::statuses::Ended;
use run_common::error::{Error, Exit, Unfit, plain};
use run_common::fsio::write::open_null;
use run_common::message::complain;
use run_common::process::identity::Process;
use run_common::process::signals::{Held, Signals};
use run_common::process::spawn::{Side, fork};
use run_common::rundir::record::Record;
use std::io;

/// Executes a task, and returns how to exit. Returns in the caller's process, which becomes the monitor, in the
/// supervisor's process, and for a detached run in a third one. A monitor with a `parent` works for this
/// process, and ends with it, as if killed. `caught` has signals that were caught before.
pub fn run(
    task: &Task,
    record: Record,
    parent: Option<Process>,
    caught: Option<Signals>,
) -> Result<Ended, Error> {
    let failed = |what: &'static str| move |error: io::Error| Error::new(Exit::System, what).because(error);
    check_files(task.layout.root())?;
    look_for_proc();
    let started = if task.detach {
        match detach(task.statuses.failed).map_err(failed("cannot detach"))? {
            Detached::Caller(status) => return Ok(Ended::With(status)),
            Detached::Stays(started) => Some(started),
        }
    } else {
        None
    };
    let streams = Streams::open(task).map_err(|error| {
        let exit = if Unfit::is(&error) { Exit::BadRun } else { Exit::System };
        Error::new(exit, format!("cannot start '{}'", task.layout.root().display()))
            .because(format!("its logs cannot be opened: {}", plain(&error)))
    })?;
    let is_heard = !task.quiet && !task.detach;
    let to_caller = is_heard.then(ToCaller::new).transpose().map_err(failed("cannot create a pipe"))?;
    let (report_read, report_write) =
        pipe2(OFlag::O_CLOEXEC).map_err(|error| failed("cannot create a pipe")(error.into()))?;
    let myself = Process::myself().map_err(failed("cannot open a pidfd"))?;
    set_child_subreaper(true).map_err(|error| failed("cannot become a subreaper")(error.into()))?;
    let signals = match caught {
        Some(signals) => signals,
        None => signals::catch().map_err(failed("cannot catch signals"))?,
    };
    let supervisor = match fork().map_err(failed("cannot fork"))? {
        Side::Parent(supervisor) => supervisor,
        Side::Child(held) => {
            drop((started, signals)); // they belong to the monitor
            let report = Report::new(report_write);
            let monitor = if task.detach { None } else { Some(myself) };
            let supervised = supervise(task, record, streams, to_caller, monitor, &report, held);
            return supervised.map(Ended::With).map_err(|error| {
                complain(&failed("cannot supervise")(error));
                std::process::abort() // the monitor notices this, ends the run and records it
            });
        }
    };
    drop(report_write);
    let Streams { sources, combined, stdout, stderr, terminal } = streams;
    drop((stdout, stderr));
    let copied = to_caller.map(ToCaller::copy).transpose().map_err(failed("cannot create a socket"))?;
    if let Some(terminal) = terminal.as_ref().filter(|_| task.stdin) {
        feed_terminal(terminal).map_err(failed("cannot read stdin"))?;
    }
    let monitor = Monitor::new(task, supervisor, parent, signals, report_read, started, terminal);
    monitor.watch(record, sources, combined, copied.as_ref()).map_err(failed("cannot watch the supervisor"))
}

/// The supervisor's process.
fn supervise(
    task: &Task,
    record: Record,
    streams: Streams,
    to_caller: Option<ToCaller>,
    monitor: Option<Process>,
    report: &Report,
    held: Held,
) -> io::Result<u8> {
    setsid()?;
    set_child_subreaper(true)?;
    let signals = signals::catch()?;
    drop(held);
    let null = open_null()?;
    dup2_stdout(&null)?;
    if !task.stdin {
        dup2_stdin(&null)?;
    }
    let Streams { mut sources, combined, stdout, stderr, terminal } = streams;
    drop(terminal);
    if let Some(to_caller) = to_caller {
        to_caller.feed(&mut sources)?;
    }
    let mut supervisor = Supervisor::new(task, record, signals, monitor);
    if let Err(unstarted) = supervisor.start(stdout, stderr, report) {
        return Ok(supervisor.finish_unstarted(unstarted));
    }
    dup2_stdin(&null)?;
    if task.detach {
        dup2_stderr(&null)?;
    }
    let combined = Log::new(combined, "combined.log");
    let tee = Tee::new(sources, combined, Scraped::new(task), task.limits.linger)?;
    supervisor.supervise(tee)
}
