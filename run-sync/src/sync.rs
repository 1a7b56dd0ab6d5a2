//! From the arguments to the verb.

use crate::cli::{Args, Verb};
use crate::{backup, cat, clean, diff, list, probe, restore, verify};
use run_common::cli::out::Out;
use run_common::error::{Error, Exit};

/// Runs the verb of the command line.
pub(crate) fn run(args: &Args, out: &mut Out) -> Result<Exit, Error> {
    match &args.verb {
        Verb::Backup(args) => backup::run(args, out),
        Verb::List(args) => list::run(args, out),
        Verb::Verify(args) => verify::run(args, out),
        Verb::Restore(args) => restore::run(args, out),
        Verb::Cat(args) => cat::run(args, out),
        Verb::Diff(args) => diff::run(args, out),
        Verb::Probe(args) => probe::run(args, out),
        Verb::Clean(args) => clean::run(args, out),
    }
}
