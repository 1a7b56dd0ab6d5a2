//! The launchers that the calling user has used, with their arguments. A record of a run names a launcher, which is a
//! program; a record can be forged, or come from somebody else. So the tools execute only what the user has once typed.

use crate::contract::is_name;
use crate::own::{check_own, make_own};
use run_common::error::{Error, Exit};
use run_common::fsio::atomic::{Durability, replace};
use run_common::fsio::read_small;
use run_common::provenance::hash::sha256;
use run_common::rundir::record::document;
use serde::{Deserialize, Serialize};
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

/// The directory of these tools below the user's state directory.
const TOOLS: &str = "run-tools";

/// Its subdirectory, with a file for each launcher and its arguments.
const LAUNCHERS: &str = "launchers";

/// A launcher as the user used it.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Use {
    launcher: String,
    args: Vec<String>,
    /// The directory to which relative paths among the arguments refer: the last one in which they were typed.
    cwd: PathBuf,
}

/// Records that the calling user uses a launcher with these arguments, in the current directory.
pub fn note(name: &str, args: &[String]) -> Result<(), Error> {
    let failed = |error| Error::new(Exit::System, "cannot note the launcher").because(error);
    let state = state()?;
    fs::create_dir_all(&state).map_err(|error| Error::io("create", &state, error))?;
    let path = file(&make_own(make_own(state.join(TOOLS))?.join(LAUNCHERS))?, name, args);
    let cwd = env::current_dir().map_err(failed)?;
    let used = Use { launcher: name.to_owned(), args: args.to_vec(), cwd };
    if read(&path).as_ref() == Some(&used) {
        return Ok(());
    }
    let bytes = document(&used).map_err(failed)?;
    match replace(&path, &bytes, Durability::Process) {
        // Another process may have recorded the same at the same time.
        Err(_) if read(&path).as_ref() == Some(&used) => Ok(()),
        written => written.map_err(|error| Error::io("write", &path, error)),
    }
}

/// Returns the directory in which the calling user has used a launcher with these arguments; `None` if never.
pub(crate) fn directory_of_use(name: &str, args: &[String]) -> Option<PathBuf> {
    if !is_name(name) {
        return None;
    }
    let directory = check_own(check_own(state().ok()?.join(TOOLS)).ok()?.join(LAUNCHERS)).ok()?;
    let used = read(&file(&directory, name, args))?;
    (used.launcher == name && used.args == args).then_some(used.cwd)
}

fn read(path: &Path) -> Option<Use> {
    serde_json::from_slice(&read_small(path).ok()?).ok()
}

fn file(directory: &Path, name: &str, args: &[String]) -> PathBuf {
    let key = sha256(format!("{args:?}").as_bytes());
    directory.join(format!("{name}-{}.json", key.get(..16).unwrap_or_default()))
}

/// Returns the state directory of the user (XDG).
fn state() -> Result<PathBuf, Error> {
    let set = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = set("XDG_STATE_HOME").or_else(|| set("HOME").map(|home| home.join(".local/state")));
    state.ok_or_else(|| Error::new(Exit::System, "cannot note the launcher").because("HOME is not set"))
}
