//! Which runs are meant: those that operands name, or those below the runs directory, of which most
//! are shown only when they need attention.

use crate::cli::Args;
use run_common::cli::operands::open_runs;
use run_common::error::{Error, Exit};
use run_common::message::warn;
use run_common::rundir::find::{Found, Holders, search};
use run_common::rundir::observe::Observed;
use run_common::rundir::open::RunDir;
use run_common::rundir::status::Status;
use run_common::time::Timestamp;
use std::path::{Path, PathBuf};

/// How long a failed run is listed without being asked for, in seconds.
const FAILED_SHOWN: f64 = 86400.0;

/// What the command line says of which runs it means.
#[derive(Debug)]
pub(crate) struct Scope<'a> {
    runs_dir: PathBuf,
    /// Names and `-`; none for all runs below the runs directory.
    operands: &'a [String],
    null: bool,
    /// Whether all of them are shown that were not named.
    all: bool,
    /// The statuses to show; none for any.
    statuses: Vec<Status>,
}

/// The runs that are meant, and errors in the place of those that cannot be had.
pub(crate) struct Selection {
    pub(crate) runs: Vec<Result<RunDir, Error>>,
    /// Where runs appear; nowhere when runs were named.
    pub(crate) holders: Holders,
}

impl<'a> Scope<'a> {
    /// Takes what the arguments say.
    pub(crate) fn new(args: &'a Args) -> Self {
        let is_asked_for = |status: &Status| args.status.iter().any(|word| word == status.word());
        Self {
            runs_dir: args.runs_dir.path(),
            operands: &args.runs,
            null: args.null,
            all: args.all,
            statuses: Status::ALL.into_iter().filter(is_asked_for).collect(),
        }
    }

    /// Returns the directory that runs are looked for in.
    pub(crate) fn runs_dir(&self) -> &Path {
        &self.runs_dir
    }

    /// Says whether runs were named.
    pub(crate) fn is_named(&self) -> bool {
        !self.operands.is_empty()
    }

    /// Says whether runs of some statuses alone are asked for.
    pub(crate) fn is_filtered(&self) -> bool {
        !self.statuses.is_empty()
    }

    /// Opens the runs that were named.
    pub(crate) fn named(&self) -> Vec<Result<RunDir, Error>> {
        open_runs(self.operands, &self.runs_dir, self.null).collect()
    }

    /// Finds the runs.
    pub(crate) fn select(&self) -> Result<Selection, Error> {
        if self.is_named() {
            return Ok(Selection { runs: self.named(), holders: Holders::default() });
        }
        let search = search(&self.runs_dir);
        let mut runs = Vec::new();
        for found in search.found {
            match found {
                Found::Run(path, ()) => runs.push(Ok(RunDir::seen(path))),
                found => runs.extend(self.fault(found)?.map(Err)),
            }
        }
        Ok(Selection { runs, holders: search.holders })
    }

    /// Returns what is wrong with something that is no run to look at; nothing, when it is none at all.
    /// A runs directory that cannot be read leaves nothing to do.
    pub(crate) fn fault<R>(&self, found: Found<R>) -> Result<Option<Error>, Error> {
        match found {
            Found::Run(..) | Found::Other(_) => Ok(None),
            Found::NotUtf8(path) => Ok(Some(unreadable(Exit::BadRun, &path, "its name is not UTF-8"))),
            Found::Unreadable(path, why) if path == self.runs_dir => {
                Err(unreadable(Exit::System, &path, &why))
            }
            Found::Unreadable(path, why) => Ok(Some(unreadable(Exit::BadRun, &path, &why))),
        }
    }

    /// Says whether a run is to be shown: all of them when runs are named, else those that need attention.
    pub(crate) fn wants(&self, run: &Observed) -> bool {
        if self.is_filtered() {
            return self.statuses.contains(&run.status());
        }
        let lately = || run.end_time().is_some_and(|end| Timestamp::now().seconds_since(end) < FAILED_SHOWN);
        self.all
            || self.is_named()
            || match run.status() {
                Status::Created | Status::Queued | Status::Running | Status::Dead | Status::Stale => true,
                Status::Failed => lately(),
                Status::Completed | Status::Stopped => false,
            }
    }

    /// Returns the batch that a run lies in, as it is seen from the runs directory; none where runs were named.
    pub(crate) fn batch_of(&self, run: &RunDir) -> Option<PathBuf> {
        let parent = run.layout().root().parent()?.strip_prefix(&self.runs_dir).ok()?;
        (!self.is_named() && !parent.as_os_str().is_empty()).then(|| parent.to_owned())
    }

    /// Says why a list is empty: so many runs are not shown, and so many directories are none.
    pub(crate) fn explain_emptiness(&self, hidden: usize, unlike: usize) {
        let shown = self.runs_dir.display();
        let count = |count: usize, one: &str, many: &str| {
            if count == 1 { format!("1 {one}") } else { format!("{count} {many}") }
        };
        let why = if !self.runs_dir.exists() {
            format!("no runs: there is no directory '{shown}'")
        } else if hidden > 0 && self.is_filtered() {
            let statuses: Vec<&str> = self.statuses.iter().map(|status| status.word()).collect();
            format!("{} in '{shown}', none of them {}", count(hidden, "run", "runs"), statuses.join(" or "))
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
}

fn unreadable(exit: Exit, path: &Path, cause: &str) -> Error {
    Error::new(exit, format!("cannot read '{}'", path.display())).because(cause.to_owned())
}
