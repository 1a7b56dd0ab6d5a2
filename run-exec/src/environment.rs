//! The environment of an attempt's command.

use crate::resume::Resume;
use run_common::error::Error;
use run_common::provenance::redact::REDACTED;
use run_common::rundir::environment::{Variable, of_attempt};
use run_common::rundir::layout::Layout;
use run_common::rundir::meta::Meta;
use run_launch::inside::{JOB, NOTES};
use serde_json::Value;
use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Returns the variables to set or remove for the command; `recorded` variables come last.
pub(crate) fn environment(
    layout: &Layout,
    meta: &Meta,
    resume: &Resume,
    attempt: u32,
    interpreter: Option<&str>,
    recorded: Vec<Variable>,
) -> Result<Vec<Variable>, Error> {
    let missing = |(name, value): &(&String, &Value)| {
        value.as_str().is_some_and(|value| value.contains(REDACTED)) && env::var_os(name).is_none()
    };
    if let Some((name, _)) = meta.env.iter().find(missing) {
        return Err(Error::usage(format!("cannot execute '{}'", layout.root().display()))
            .because(format!("the value of {name} is a secret and was not recorded"))
            .hint("set it in the environment of run-exec"));
    }
    let mut env = of_attempt(layout, &meta.run_id, attempt, layout.root(), meta);
    let (from, step) = resume.from.clone().unzip();
    let number = |number: Option<u64>| number.map(|number| number.to_string().into());
    env.push(("RUN_TOTAL_STEPS".into(), number(resume.total_steps)));
    env.push(("RUN_RESUME_FROM".into(), from.map(OsString::from)));
    env.push(("RUN_RESUME_STEP".into(), number(step.flatten())));
    env.extend([NOTES, JOB].map(|name| (name.into(), None))); // of this job, not of a run within the run
    env.extend(of_srun());
    env.extend(interpreter.and_then(path_with).map(|path| ("PATH".into(), Some(path))));
    env.extend(recorded);
    Ok(env)
}

/// Returns the variable that has srun end a step when one of its tasks fails, unless it is set: the others would wait
/// for that task for ever.
fn of_srun() -> Option<Variable> {
    let name = "SLURM_KILL_BAD_EXIT";
    let is_of_slurm = env::var_os("SLURM_JOB_ID").is_some() && env::var_os(name).is_none();
    is_of_slurm.then(|| (name.into(), Some("1".into())))
}

/// Returns a search path with the recorded interpreter, if it is missing from this path: cron(8) sets a short path.
fn path_with(interpreter: &str) -> Option<OsString> {
    let directory = Path::new(interpreter).parent()?;
    let path = env::var_os("PATH").unwrap_or_default();
    let mut directories: Vec<PathBuf> = env::split_paths(&path).collect();
    if directories.iter().any(|known| known == directory) {
        return None;
    }
    directories.insert(0, directory.to_owned());
    env::join_paths(directories).ok()
}
