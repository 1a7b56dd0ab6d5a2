//! What is wrong with the metrics of a run, and how that is said.

use run_common::error::{Error, Exit};
use run_common::message::{complain, warn};
use std::io;
use std::path::Path;

/// What is wrong with the metrics of a run.
#[derive(Debug)]
pub(crate) enum Fault {
    /// They cannot be read.
    Unread(Error),
    /// Some lines are no rows, in these words.
    Damaged(String),
}

impl Fault {
    /// Judges how reading ended: with an error, or with the number of lines that are no rows.
    pub(crate) fn of(root: &Path, read: io::Result<u64>) -> Option<Self> {
        let root = root.display();
        match read {
            Ok(0) => None,
            Ok(1) => Some(Self::Damaged(format!("1 line of '{root}' cannot be read and is left out"))),
            Ok(many) => {
                Some(Self::Damaged(format!("{many} lines of '{root}' cannot be read and are left out")))
            }
            Err(error) => {
                let what = format!("cannot read the metrics of '{root}'");
                Some(Self::Unread(Error::new(Exit::BadRun, what).because(error)))
            }
        }
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
            Self::Damaged(what) => {
                warn(what);
                Exit::Ok
            }
        }
    }
}
