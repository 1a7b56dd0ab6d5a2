//! Faults found while reading the metrics of a run, and how they are reported.

use run_common::error::{Error, Exit};
use run_common::message::{complain, warn};
use run_common::rundir::observe::Damage;
use run_metrics::read::RowCounts;
use std::io;
use std::path::Path;

/// How many lines and rows of a run are left out.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LeftOut {
    /// Lines that are not rows.
    pub(crate) skipped: u64,
    /// Rows that later rows superseded.
    pub(crate) superseded: u64,
}

impl From<RowCounts> for LeftOut {
    fn from(counts: RowCounts) -> Self {
        Self { skipped: counts.skipped, superseded: counts.superseded }
    }
}

/// A fault of the metrics of a run.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The metrics cannot be read.
    Unread(Error),
    /// Some lines or rows are left out, as this message says.
    LeftOut(String),
}

impl Fault {
    /// Returns the faults of a read: its error, or what was left out.
    pub(crate) fn of(root: &Path, read: io::Result<LeftOut>) -> Vec<Self> {
        let root = root.display();
        let left_out = match read {
            Ok(left_out) => left_out,
            Err(error) => {
                let what = format!("cannot read the metrics of '{root}'");
                return vec![Self::Unread(Error::new(Exit::BadRun, what).because(error))];
            }
        };
        let lines = match left_out.skipped {
            0 => None,
            1 => Some(format!("1 line of '{root}' cannot be read and is left out")),
            many => Some(format!("{many} lines of '{root}' cannot be read and are left out")),
        };
        let rows = match left_out.superseded {
            0 => None,
            1 => Some(format!("1 row of '{root}' is superseded by a later one and left out")),
            many => Some(format!("{many} rows of '{root}' are superseded by later ones and left out")),
        };
        lines.into_iter().chain(rows).map(Self::LeftOut).collect()
    }

    /// Returns the fault that was found when the run was observed.
    pub(crate) fn seen(damage: &Damage) -> Self {
        match damage.exit {
            Exit::Ok => Self::LeftOut(damage.words.clone()),
            _ => Self::Unread(damage.error()),
        }
    }

    /// Reports faults; returns the larger of `exit` and the status of the faults.
    pub(crate) fn say_all<'a>(faults: impl IntoIterator<Item = &'a Self>, exit: Exit) -> Exit {
        faults.into_iter().map(Self::say).fold(exit, Exit::max)
    }

    fn say(&self) -> Exit {
        match self {
            Self::Unread(error) => {
                complain(error);
                error.exit()
            }
            Self::LeftOut(what) => {
                warn(what);
                Exit::Ok
            }
        }
    }
}
