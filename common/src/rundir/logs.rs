//! The logs that another system wrote: of runs without a record, and of adopted runs, in whose `meta.json` they are
//! named. Used by run-new, and by the tools that show logs.

use super::foreign::Logs;
use super::layout::Layout;
use super::meta::Meta;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};

/// The logs of an adopted run, as they were at the adoption. Each may be missing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EarlierLogs {
    /// Both streams.
    pub combined: Option<EarlierLog>,
    /// The command's stdout.
    pub stdout: Option<EarlierLog>,
    /// The command's stderr.
    pub stderr: Option<EarlierLog>,
}

/// A log of an adopted run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EarlierLog {
    /// Its path below the run.
    pub path: String,
    /// Its length at the adoption, in bytes: attempts after the adoption may append to it.
    pub bytes: u64,
}

impl EarlierLogs {
    /// Returns the logs of a run that is adopted; `None` if it has none.
    pub fn of(logs: &Logs, run: &Path) -> Option<Self> {
        let log = |path: &Option<PathBuf>| {
            let path = path.as_ref()?;
            Some(EarlierLog {
                path: path.strip_prefix(run).ok()?.to_str()?.to_owned(),
                bytes: fs::metadata(path).map_or(0, |file| file.len()),
            })
        };
        let logs =
            Self { combined: log(&logs.combined), stdout: log(&logs.stdout), stderr: log(&logs.stderr) };
        Some(logs).filter(|logs| *logs != Self::default())
    }

    /// Returns the paths of the logs of the run in `run`.
    fn paths(&self, run: &Path) -> Logs {
        let path = |log: &Option<EarlierLog>| log.as_ref().map(|log| run.join(&log.path));
        Logs { combined: path(&self.combined), stdout: path(&self.stdout), stderr: path(&self.stderr) }
    }
}

/// Returns the logs of the last attempt, if another system made it. `attempts` is the number of attempts: the first
/// one of an adopted run is that of its system.
pub fn of_other_system(layout: &Layout, meta: Option<&Meta>, attempts: u32) -> Option<Logs> {
    match layout.foreign() {
        Some(foreign) => Some(foreign.logs(layout.root())),
        None if attempts <= 1 => Some(meta?.logs.as_ref()?.paths(layout.root())),
        None => None,
    }
}
