//! What is wrong with the metrics of a run, and how that is said.

use run_common::error::{Error, Exit};
use run_common::message::{complain, warn};
use run_metrics::read::RowCounts;
use std::io;
use std::path::Path;

/// How much of the metrics of a run does not count.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LeftOut {
    /// Lines that are no rows.
    pub(crate) skipped: u64,
    /// Rows that later ones superseded.
    pub(crate) superseded: u64,
}

impl From<RowCounts> for LeftOut {
    fn from(counts: RowCounts) -> Self {
        Self { skipped: counts.skipped, superseded: counts.superseded }
    }
}

/// What is wrong with the metrics of a run, or left out of them.
#[derive(Debug)]
pub(crate) enum Fault {
    /// They cannot be read.
    Unread(Error),
    /// Some lines or rows are left out, in these words.
    LeftOut(String),
}

impl Fault {
    /// Judges how reading ended: with an error, or with what was left out.
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

    /// Says what is wrong; returns the worse of a status and that which the faults lead to.
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
