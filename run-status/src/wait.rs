//! `--wait`: returns when every run has ended, and prints each then.

use crate::entry::{Format, entry};
use crate::select::Scope;
use run_common::cli::out::Out;
use run_common::error::{Error, Exit};
use run_common::message::complain;
use run_common::rundir::observe::{Observed, Observer};
use run_common::rundir::open::RunDir;
use run_common::rundir::status::Status;
use run_common::rundir::wait::Waiter;
use run_common::time::human;
use run_launch::settle::settle;
use std::mem;
use std::time::{Duration, Instant};

/// Waits for the named runs, or for all active runs.
pub(crate) fn run(
    scope: &Scope,
    format: Format,
    timeout: Option<Duration>,
    observer: &Observer,
    out: &mut Out,
) -> Result<Exit, Error> {
    let mut exit = Exit::Ok;
    let mut runs: Vec<RunDir> = Vec::new();
    for run in scope.select()?.runs {
        match run {
            Ok(run) => runs.push(run),
            Err(error) => fail(&mut exit, &error),
        }
    }
    let mut waits_for_all = scope.is_named();
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let mut waiter = Waiter::new();
    loop {
        let mut looked: Vec<Observed> = Vec::new();
        for run in mem::take(&mut runs) {
            match observer.observe(&run) {
                Ok(run) => looked.push(run),
                Err(error) => fail(&mut exit, &error),
            }
        }
        settle(observer, looked.iter_mut());
        let mut pending: Vec<Observed> = Vec::new();
        for run in looked {
            if !waits_for_all && !is_at_work(run.status()) {
                continue;
            }
            if !run.status().has_ended() {
                pending.push(run);
                continue;
            }
            exit = exit.max(print(&run, format, scope.is_named(), out)?);
            if run.status() != Status::Completed {
                exit = exit.max(Exit::No);
            }
        }
        waits_for_all = true;
        out.flush()?;
        let Some(first) = pending.first() else { return Ok(exit) };
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if let (Some(timeout), true) = (timeout, left.is_some_and(|left| left.is_zero())) {
            let shown = first.run.layout().root().display();
            let what = match pending.len() {
                1 => format!("'{shown}' has not ended after {}", human(timeout)),
                count => format!("{count} runs have not ended after {}, such as '{shown}'", human(timeout)),
            };
            fail(&mut exit, &Error::new(Exit::No, what).because(format!("it is {}", first.status())));
            return Ok(exit);
        }
        waiter.pause(&pending, left);
        runs = pending.into_iter().map(|run| run.run).collect();
    }
}

fn fail(exit: &mut Exit, error: &Error) {
    *exit = (*exit).max(error.exit());
    complain(error);
}

/// Returns whether to wait for a run that was not named.
fn is_at_work(status: Status) -> bool {
    matches!(status, Status::Queued | Status::Running | Status::Stale)
}

fn print(run: &Observed, format: Format, is_named: bool, out: &mut Out) -> Result<Exit, Error> {
    let Format::Json { full } = format else {
        let line = format!("{}: {}", run.run.layout().root().display(), run.status());
        return out.text(&line).map(|()| Exit::Ok);
    };
    let mut exit = Exit::Ok;
    let (entry, damage) = entry(run, full, is_named);
    out.bytes(&entry.json()?)?;
    if let Some(damage) = damage {
        fail(&mut exit, &damage);
    }
    Ok(exit)
}
