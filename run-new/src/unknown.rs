//! Directories in no known layout: whether the files of a run are in them.

use crate::cli::Args;
use run_checkpoint::{Program, discover_latest};
use run_common::error::{Error, Exit};
use run_common::rundir::find::{Found, find};
use run_common::rundir::open::RunDir;
use run_metrics::foreign::source_by;
use run_metrics::read;
use run_metrics::resumptions::Resumptions;
use std::path::Path;

/// Advice for a directory without files of a run.
const OTHERWISE: &str = "make a run with run-new -n NAME -- COMMAND and copy the files into it; run-tools(7) lists the layouts that --adopt knows";

/// What is at the top of a source tree.
const SOURCES: [&str; 9] = [
    ".git",
    ".hg",
    "pyproject.toml",
    "setup.py",
    "setup.cfg",
    "Cargo.toml",
    "package.json",
    "CMakeLists.txt",
    "go.mod",
];

/// How many directories deep the metrics of a run lie, at most, with their name.
const DEPTH: usize = 4;

/// Words in the paths of checkpoints, of which one is there: a data set has numbered files, too.
const CHECKPOINTS: [&str; 7] = ["checkpoint", "ckpt", "model", "weights", "step", "epoch", "iter_"];

/// Takes a directory for a run, if there are metrics or checkpoints in it, or those that options name. A directory that
/// holds runs, or the source of programs, is none.
pub(crate) fn run_in(directory: &Path, args: &Args) -> Result<RunDir, Error> {
    let refused = |why: String| {
        Error::new(Exit::BadRun, format!("cannot adopt '{}'", directory.display())).because(why)
    };
    let is_run = |found: &Found| matches!(found, Found::Run(..));
    if find(directory).iter().any(is_run) {
        return Err(refused("it is no run, and holds runs".to_owned()).hint(format!(
            "run-status -a -d '{}' lists them; adopt each by its own path",
            directory.display()
        )));
    }
    if let Some(name) = SOURCES.iter().find(|name| directory.join(name).exists()) {
        return Err(refused(format!("it is a source tree, with '{name}' in it"))
            .hint("move the files of the run to a directory of their own"));
    }
    let run = RunDir::of_unknown_layout(directory);
    if has_metrics(&run, args) || has_checkpoints(&run, args)? {
        return Ok(run);
    }
    Err(refused("it has no known layout, and neither metrics nor checkpoints of a run".to_owned())
        .hint(OTHERWISE))
}

fn has_metrics(run: &RunDir, args: &Args) -> bool {
    let layout = run.layout();
    let is_near =
        |path: &Path| path.strip_prefix(layout.root()).is_ok_and(|below| below.components().count() <= DEPTH);
    source_by(layout, &args.attempt_options()).is_some_and(|source| {
        source.paths().any(is_near)
            && read::rows(&source, &Resumptions::default(), &mut |_, _| {})
                .is_ok_and(|counts| counts.rows > 0)
    })
}

fn has_checkpoints(run: &RunDir, args: &Args) -> Result<bool, Error> {
    let named = args.checkpoints();
    let found = discover_latest(run.layout(), named.as_ref(), Program::Ended)?;
    Ok(found.iter().any(|one| {
        let path = one.path.to_string_lossy().to_lowercase();
        named.is_some() || one.step.is_some() && CHECKPOINTS.iter().any(|word| path.contains(word))
    }))
}
