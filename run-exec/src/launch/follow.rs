//! `--wait`: waits until the submitted runs have ended.

use crate::launch::waiting::{Caller, top_up};
use crate::tally::{Done, Tally};
use run_common::cli::statuses::Ended;
use run_common::error::{Error, Exit};
use run_common::message::{complain, warn};
use run_common::rundir::observe::{Observed, Observer};
use run_common::rundir::open::RunDir;
use run_common::rundir::wait::Waiter;
use run_launch::settle::settle;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Time after which runs that wait are submitted although no job of their list has ended: other jobs may have.
const AGAIN: Duration = Duration::from_secs(20);

/// Waits for runs, and reports the end of each run that has not completed; returns the exit status. Submits the runs of
/// a `list` that wait until the launcher takes more jobs.
pub(crate) fn follow(
    mut runs: Vec<RunDir>,
    mut tally: Tally,
    mut list: Option<PathBuf>,
) -> Result<Ended, Error> {
    let observer = Observer::of_many(None);
    let mut waiter = Waiter::new();
    let mut looked = (runs.len(), Instant::now());
    loop {
        if let Some(waits) = &list
            && (runs.len() < looked.0 || looked.1.elapsed() > AGAIN)
        {
            looked = (runs.len(), Instant::now());
            if let Err(error) = top_up(waits, Caller::Submitter) {
                complain(&error.hint("the other runs are waited for"));
                list = None;
            }
        }
        let mut observed: Vec<Observed> = Vec::new();
        for run in runs {
            match observer.observe(&run) {
                Ok(run) => observed.push(run),
                Err(error) => {
                    complain(&error);
                    tally.fail(error.exit());
                }
            }
        }
        settle(&observer, observed.iter_mut());
        observed.retain(|run| {
            let status = run.status();
            if status.has_ended() {
                say(run);
                tally.add(Done { code: Exit::No as u8, status, was_executed: true });
            }
            !status.has_ended()
        });
        if observed.is_empty() {
            return Ok(Ended::With(tally.status(None)));
        }
        waiter.pause(&observed, None);
        runs = observed.into_iter().map(|run| run.run).collect();
    }
}

fn say(run: &Observed) {
    use run_common::rundir::status::Status;
    if run.status() != Status::Completed {
        let why = run.reason().map(|why| format!(": {why}")).unwrap_or_default();
        warn(&format!("'{}' is {}{why}", run.run.layout().root().display(), run.status()));
    }
}
