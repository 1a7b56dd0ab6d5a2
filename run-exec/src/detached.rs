//! `--detach`: which runs are left to themselves, and how the caller learns of them.

use crate::options::Options;
use run_common::cli::listed::names_from;
use run_common::cli::names::Names;
use run_common::cli::operands::{Operand, check_stdin};
use run_common::cli::out::Out;
use run_common::error::{Error, Exit};
use run_common::message::{complain, warn};
use run_common::rundir::batch::BatchDir;
use run_common::rundir::open::RunDir;
use run_common::shell::shell_line;
use std::collections::HashSet;
use std::io;
use std::path::Path;

/// Returns the operands, with the names from stdin for `-`: nobody can read them after the caller has returned. Reports
/// lines that are no names, and returns the worst status of them.
pub(crate) fn named(options: &Options) -> Result<(Vec<String>, Exit), Error> {
    let (mut named, mut exit) = (Vec::new(), Exit::Ok);
    for operand in &options.operands {
        if operand == "-" {
            check_stdin()?;
            for name in names_from(io::stdin().lock(), options.null) {
                match name {
                    Ok(name) => named.push(name),
                    Err(error) => exit = exit.max(reported(&error)),
                }
            }
        } else {
            named.push(operand.clone());
        }
    }
    Ok((named, exit))
}

/// Opens the runs of the operands, each once. Reports those that cannot be opened, and returns the worst status of them:
/// nobody hears of it later.
pub(crate) fn open(options: &Options) -> (Vec<RunDir>, Exit) {
    let mut names = Names::below(options.runs_dir.clone());
    let mut known = HashSet::new();
    let (mut runs, mut exit) = (Vec::new(), options.listed);
    for operand in &options.operands {
        match names.open(operand).and_then(Operand::runs) {
            Ok(found) => runs.extend(found.into_iter().filter(|run| known.insert(run.absolute()))),
            Err(error) => exit = exit.max(reported(&error)),
        }
    }
    (runs, exit)
}

fn reported(error: &Error) -> Exit {
    complain(error);
    error.exit()
}

/// Prints the paths of the runs, and how to follow them. The runs continue even if printing fails.
pub(crate) fn report(options: &Options, runs: &[RunDir]) {
    let mut out = Out::stdout();
    let print = |run: &RunDir| out.line(&run.layout().root().display().to_string());
    let printed = runs.iter().try_for_each(print);
    if let Err(error) = printed.and_then(|()| out.finish())
        && !error.is_broken_pipe()
    {
        complain(&error);
    }
    let follow = match (options.has_hints, runs) {
        (false, _) | (_, []) => return,
        (true, [run]) => {
            format!("output: {}", line(&["run-status", "--log", "-f"], Some(run.layout().root())))
        }
        (true, [first, rest @ ..]) => {
            let batch = BatchDir::of(first).filter(|batch| {
                rest.iter().all(|run| run.layout().root().parent() == Some(batch.layout().root()))
            });
            let below = (options.runs_dir != Path::new("runs")).then_some(options.runs_dir.as_path());
            format!(
                "runs: {}",
                match (batch, below) {
                    (Some(batch), _) => line(&["run-status", "--watch"], Some(batch.layout().root())),
                    (None, below @ Some(_)) => line(&["run-status", "--watch", "-d"], below),
                    (None, None) => line(&["run-status", "--watch"], None),
                }
            )
        }
    };
    warn(&format!("follow the {follow}"));
}

/// Returns a command line for a shell.
fn line(words: &[&str], path: Option<&Path>) -> String {
    let path = path.map(|path| path.to_string_lossy().into_owned());
    shell_line(&words.iter().map(|word| (*word).to_owned()).chain(path).collect::<Vec<_>>())
}
