//! From the arguments to the verb, and what verbs have in common.

use crate::cli::{Args, Verb};
use crate::store::url::StoreUrl;
use crate::{backup, cat, clean, diff, list, probe, restore, verify};
use run_common::cli::out::Out;
use run_common::error::{Error, Exit};
use std::env;
use std::fs;

/// Does what the command line asks for.
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

/// Returns the store that was given, else that of `$RUN_SYNC_URL`.
pub(crate) fn address(given: Option<&StoreUrl>) -> Result<StoreUrl, Error> {
    match (given, env::var("RUN_SYNC_URL")) {
        (Some(given), _) => Ok(given.clone()),
        (None, Ok(url)) if !url.is_empty() => url.parse(),
        (None, _) => {
            Err(Error::usage("no store is given").hint("--to or --from names one, or $RUN_SYNC_URL"))
        }
    }
}

/// Returns the address of a store as receipts and messages have it: of a directory the absolute path.
pub(crate) fn shown(url: &StoreUrl) -> String {
    match url {
        StoreUrl::Directory(root) => {
            let absolute = fs::canonicalize(root).or_else(|_| std::path::absolute(root));
            absolute.as_ref().unwrap_or(root).display().to_string()
        }
        url => url.to_string(),
    }
}
