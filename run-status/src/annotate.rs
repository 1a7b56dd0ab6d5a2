//! Notes and tags that runs are given after their creation.

use crate::select::Scope;
use run_common::error::{Error, Exit};
use run_common::message::complain;
use run_common::rundir::notes::{Change, record};
use run_common::rundir::open::RunDir;

/// Records the changes in each named run. Reports errors and continues with the other runs.
pub(crate) fn run(scope: &Scope, changes: &[Change]) -> Exit {
    let mut exit = Exit::Ok;
    for run in scope.named() {
        if let Err(error) = run.and_then(|run| change(&run, changes)) {
            exit = exit.max(error.exit());
            complain(&error);
        }
    }
    exit
}

fn change(run: &RunDir, changes: &[Change]) -> Result<(), Error> {
    match run.layout().foreign() {
        Some(foreign) => Err(foreign.refuse("annotate", run)),
        None => record(run.layout(), changes),
    }
}
