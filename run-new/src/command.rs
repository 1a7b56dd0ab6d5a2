//! Checks that the runs' command can be filled in, and that overrides reach it.

use crate::cli::Args;
use run_common::error::Error;
use run_common::message::warn;
use run_common::rundir::placeholders::{refuse, say_misspelt, unreached};
use serde_json::{Map, Value};

/// Refuses a command that cannot be filled in, or that overrides do not reach: its runs would be the same
/// training under several labels. Warns about other likely mistakes.
pub(crate) fn check(args: &Args, inputs: &Map<String, Value>) -> Result<(), Error> {
    let values: Vec<String> = args.env.iter().map(|(_, value)| value.clone()).collect();
    let keys = || args.set.iter().map(|(key, _)| key).chain(args.sweep.iter().map(|sweep| &sweep.key));
    let overrides: Map<String, Value> = keys().map(|key| (key.clone(), Value::Null)).collect();
    let has_config = !args.configs.is_empty();
    for (words, are_arguments) in [(&args.command, true), (&args.resume_args, true), (&values, false)] {
        refuse(words, are_arguments, &overrides, inputs, has_config)?;
        say_misspelt(words, false);
    }
    if args.command.is_empty() {
        return Ok(());
    }
    if !args.resume_args.is_empty() && !args.command.iter().any(|word| word == "{resume}") {
        warn("--resume-args has no effect: the command has no '{resume}'");
    }
    let words = [args.command.as_slice(), &values].concat();
    let unreached = unreached(&words, overrides.keys().map(String::as_str));
    let Some(key) = unreached.first().filter(|_| !args.set_by_env) else { return Ok(()) };
    let what = match unreached.as_slice() {
        [key] => format!("the override '{key}'"),
        keys => format!("the overrides '{}'", keys.join("', '")),
    };
    Err(Error::usage("cannot create runs").because(format!("the command does not use {what}")).hint(format!(
        "write {{set}} or {{set:{key}}} in the command, or use --set-by-env if the program reads RUN_SET"
    )))
}
