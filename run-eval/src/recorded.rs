//! The command of an earlier run-eval, for a command line without one.

use crate::options::Options;
use run_common::error::Error;
use run_common::message::warn;
use run_common::rundir::batch::BatchDir;
use run_common::rundir::evaluations::{Evaluations, Identity, directory};
use run_common::rundir::open::RunDir;
use run_common::shell::shell_line;

/// Returns the command that is recorded for the label: of one of the runs, else of another run of their batch, else
/// of the run that was evaluated last under the label. Reports the command.
pub(crate) fn command(options: &Options, runs: &[&RunDir]) -> Result<Vec<String>, Error> {
    let eval_dir = options.eval_dir.as_deref();
    let of = |run: &RunDir| Evaluations::of(run, &options.label, &directory(run, eval_dir)).identity();
    let of_batch = |run: &RunDir| BatchDir::of(run)?.runs().ok()?.iter().find_map(of);
    let latest = |run: &RunDir| Evaluations::latest(run, &options.label, eval_dir)?.identity();
    let found = runs.iter().find_map(|run| of(run));
    let found = found.or_else(|| runs.iter().find_map(|run| of_batch(run)));
    let found = found.or_else(|| runs.iter().find_map(|run| latest(run)));
    let Some(Identity { command, run_name, .. }) = found else {
        return Err(Error::usage("COMMAND missing")
            .because(format!("none is recorded for the label '{}'", options.label))
            .hint("write the command after --"));
    };
    let line = shell_line(&command);
    if command.iter().any(|word| word.contains("[redacted]")) {
        return Err(Error::usage(format!("cannot repeat the command of '{run_name}'"))
            .because(format!("it has a credential that is not recorded: {line}"))
            .hint("write the command after --"));
    }
    warn(&format!("using the command of '{run_name}': {line}"));
    Ok(command)
}
