//! Runs that `--unfinished` skips.

use crate::held_run::refuse;
use crate::options::{Executed, Options};
use run_common::error::{Error, Exit};
use run_common::message::warn;
use run_common::rundir::observe::Observed;
use run_common::rundir::open::RunDir;
use run_common::rundir::status::Status;

/// Why a run is skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// The run has completed.
    Completed,
    /// Another run-exec is executing it, which was reported.
    Busy,
}

impl Left {
    /// Returns the reason to skip a run; `None` if the run is to be executed. Errors: the state of the run is in doubt.
    pub(crate) fn of(options: &Options, before: &Observed) -> Result<Option<Self>, Error> {
        if options.executed != Executed::Unfinished {
            return Ok(None);
        }
        match before.status() {
            Status::Completed => Ok(Some(Self::Completed)),
            // A job waits for its turn instead: nobody else would go on.
            Status::Running if options.owner.is_none() => Ok(Some(Self::busy(&before.run))),
            Status::Stale => refuse(before, true, options.take_over).map(|()| None),
            _ => Ok(None),
        }
    }

    /// Returns why to skip a run that another run-exec has just taken; otherwise the error.
    pub(crate) fn after(options: &Options, run: &RunDir, error: Error) -> Result<Self, Error> {
        let is_busy =
            options.executed == Executed::Unfinished && options.owner.is_none() && error.exit() == Exit::Busy;
        if is_busy { Ok(Self::busy(run)) } else { Err(error) }
    }

    fn busy(run: &RunDir) -> Self {
        let shown = run.layout().root().display();
        warn(&format!("skipping '{shown}': another run-exec is executing it"));
        Self::Busy
    }
}
