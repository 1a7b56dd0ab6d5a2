//! Which runs are meant: those that operands name, or those below the runs directory, of which most
//! are shown only when they need an eye.

use crate::cli::Args;
use run_common::cli::operands::open_runs;
use run_common::error::{Error, Exit};
use run_common::message::warn;
use run_common::rundir::find::{Found, search};
use run_common::rundir::observe::Observed;
use run_common::rundir::open::RunDir;
use run_common::rundir::status::Status;
use run_common::time::Timestamp;
use std::path::{Path, PathBuf};

/// How long a failed run is listed without being asked for, in seconds.
const FAILED_SHOWN: f64 = 86400.0;

/// The runs that the command line means, and errors in the place of those that cannot be had.
pub(crate) struct Selection {
    pub(crate) runs: Vec<Result<RunDir, Error>>,
    /// Directories in which runs appear; none when runs were named.
    pub(crate) holders: Vec<PathBuf>,
}

impl Selection {
    /// Finds the runs.
    pub(crate) fn make(args: &Args) -> Result<Self, Error> {
        let runs_dir = args.runs_dir.path();
        if !args.runs.is_empty() {
            let runs = open_runs(&args.runs, &runs_dir, args.null).collect();
            return Ok(Self { runs, holders: Vec::new() });
        }
        let search = search(&runs_dir);
        let mut runs = Vec::new();
        for found in search.found {
            match found {
                Found::Run(path, ()) => runs.push(Ok(RunDir::seen(path))),
                found => runs.extend(fault(found, &runs_dir)?.map(Err)),
            }
        }
        Ok(Self { runs, holders: search.holders })
    }
}

/// Returns what is wrong with something that is no run to look at; nothing, when it is none at all.
/// A runs directory that cannot be read leaves nothing to do.
pub(crate) fn fault<R>(found: Found<R>, runs_dir: &Path) -> Result<Option<Error>, Error> {
    match found {
        Found::Run(..) | Found::Other(_) => Ok(None),
        Found::NotUtf8(path) => Ok(Some(unreadable(Exit::BadRun, &path, "its name is not UTF-8"))),
        Found::Unreadable(path, why) if path == runs_dir => Err(unreadable(Exit::System, &path, &why)),
        Found::Unreadable(path, why) => Ok(Some(unreadable(Exit::BadRun, &path, &why))),
    }
}

/// Says why a list is empty: so many runs are not shown, and so many directories are none.
pub(crate) fn explain_emptiness(args: &Args, hidden: usize, unlike: usize) {
    let runs_dir = args.runs_dir.path();
    let shown = runs_dir.display();
    let count = |count: usize, one: &str, many: &str| {
        if count == 1 { format!("1 {one}") } else { format!("{count} {many}") }
    };
    let why = if !runs_dir.exists() {
        format!("no runs: there is no directory '{shown}'")
    } else if hidden > 0 && !args.status.is_empty() {
        let statuses = args.status.join(" or ");
        format!("{} in '{shown}', none of them {statuses}", count(hidden, "run", "runs"))
    } else if hidden > 0 {
        format!("{} in '{shown}' not shown; -a shows all", count(hidden, "run", "runs"))
    } else if unlike > 0 {
        let unlike = count(unlike, "directory that is no run", "directories that are no runs");
        format!("no runs: '{shown}' holds {unlike}")
    } else {
        format!("no runs: '{shown}' is empty")
    };
    warn(&why);
}

fn unreadable(exit: Exit, path: &Path, cause: &str) -> Error {
    Error::new(exit, format!("cannot read '{}'", path.display())).because(cause.to_owned())
}

/// Says whether a run is to be shown: all of them when runs are named, else those that need an eye.
pub(crate) fn is_wanted(run: &Observed, args: &Args) -> bool {
    if !args.status.is_empty() {
        return args.status.iter().any(|status| status == run.status().word());
    }
    let lately = || run.end_time().is_some_and(|end| Timestamp::now().seconds_since(end) < FAILED_SHOWN);
    args.all
        || !args.runs.is_empty()
        || match run.status() {
            Status::Created | Status::Queued | Status::Running | Status::Dead | Status::Stale => true,
            Status::Failed => lately(),
            Status::Completed | Status::Stopped => false,
        }
}

/// Returns the batch that a run lies in, as it is seen from the runs directory.
pub(crate) fn batch(run: &RunDir, runs_dir: &Path) -> Option<PathBuf> {
    let parent = run.layout().root().parent()?.strip_prefix(runs_dir).ok()?;
    (!parent.as_os_str().is_empty()).then(|| parent.to_owned())
}
