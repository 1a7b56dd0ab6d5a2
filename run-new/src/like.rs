//! `--like RUN`: takes from an earlier run whatever the command line does not give.

use crate::cli::Args;
use crate::config::Config;
use run_common::cli::names::Names;
use run_common::cli::operands::Operand;
use run_common::error::{Error, Exit};
use run_common::provenance::hints::Hints;
use run_common::rundir::attempts::Attempts;
use run_common::rundir::meta::Meta;
use run_common::rundir::open::RunDir;
use serde_json::{Map, Value};
use std::path::PathBuf;

/// Fills in the arguments that are not given from the run that `--like` names.
pub(crate) fn fill(args: &mut Args) -> Result<(), Error> {
    let Some(name) = args.like.clone() else { return Ok(()) };
    let run = match Names::below(args.runs_dir.path()).open(&name)? {
        Operand::Run(run) => run,
        Operand::Batch(_) | Operand::Others(..) => {
            return Err(Error::usage(format!("'{name}' is a batch; name one of its runs")));
        }
    };
    let layout = run.layout();
    let meta = Meta::shown(layout)?;
    let attempts = Attempts::shown(layout).map_err(|error| Error::io("read", &layout.attempts(), error))?;
    let (command, cwd, options) = match attempts.last().map(|last| &last.start) {
        Some(start) => {
            (Some(start.template.clone()), &start.cwd, start.options.clone().or(meta.options.clone()))
        }
        None => (meta.command.clone(), &meta.cwd, meta.options.clone()),
    };
    let has_command = !args.command.is_empty();
    if !has_command {
        args.command = command.unwrap_or_default();
        args.chdir = args.chdir.take().or_else(|| Some(cwd.into()));
        args.set_by_env |= meta.set_by_env;
        if args.resume_args.is_empty() {
            args.resume_args = meta.resume_args.clone().unwrap_or_default();
        }
    }
    let has_config = !args.configs.is_empty();
    if let Some(file) = meta.config_file.as_ref().filter(|_| !has_config) {
        args.configs = vec![run.absolute().join(file)];
        args.taken.config_path = meta.config_path.clone().map(PathBuf::from);
    }
    fill_settings(args, &run, &meta)?;
    let is_given = |name: &String| args.input.iter().any(|(given, _)| given == name);
    let inputs = meta.inputs.iter().filter(|(name, _)| !is_given(name));
    let inputs: Vec<_> =
        inputs.filter_map(|(name, input)| Some((name.clone(), input["path"].as_str()?.to_owned()))).collect();
    args.input.extend(inputs);
    let variables = typed(&meta.env).filter(|(name, _)| args.env.iter().all(|(given, _)| given != name));
    args.env = variables.chain(args.env.clone()).collect();
    if args.tag.is_empty() {
        args.tag.clone_from(&meta.tags);
    }
    args.note = args.note.take().or(meta.note);
    if let Some(checkpoint) = meta.checkpoint {
        args.checkpoint = args.checkpoint.take().or(checkpoint.pattern);
        if args.checkpoint_requires.is_empty() {
            args.checkpoint_requires = checkpoint.requires;
        }
    }
    args.taken.options = options;
    check_redacted(args, &name)
}

/// Takes the overrides, and the seed, steps and device that options gave: all others come from the same places again.
fn fill_settings(args: &mut Args, run: &RunDir, meta: &Meta) -> Result<(), Error> {
    let before: Vec<(String, String)> = typed(&meta.overrides).collect();
    let config = match &meta.config_file {
        Some(file) => Hints::of_config(&Config::read(&run.absolute().join(file))?.values),
        None => Hints::default(),
    };
    let command = Hints::of_command(meta.command.as_deref().unwrap_or_default());
    let found = Hints::of_overrides(&before).or(command).or(config);
    let mut now = args.set.clone();
    now.extend(args.sweep.iter().map(|sweep| (sweep.key.clone(), "0".to_owned())));
    let given = Hints::of_overrides(&now);
    if given.seed.is_none() && found.seed != meta.seed {
        args.seed = args.seed.or(meta.seed);
    }
    if given.total_steps.is_none() && found.total_steps != meta.total_steps {
        args.total_steps = args.total_steps.or(meta.total_steps);
    }
    if given.device.is_none() && found.device.is_some() && found.device != meta.device {
        args.device = args.device.take().or_else(|| meta.device.clone());
    }
    let kept = before.into_iter().filter(|(key, _)| now.iter().all(|(given, _)| given != key));
    args.set = kept.chain(args.set.clone()).collect();
    Ok(())
}

/// Refuses overrides and commands with a credential, which the record does not hold.
fn check_redacted(args: &Args, name: &str) -> Result<(), Error> {
    let words = args.command.iter().chain(&args.resume_args).chain(args.set.iter().map(|(_, value)| value));
    match words.into_iter().find(|word| word.contains("[redacted]")) {
        None => Ok(()),
        Some(word) => Err(Error::new(Exit::Usage, format!("cannot create a run like '{name}'"))
            .because(format!("'{word}' has a credential that is not recorded"))
            .hint("give the command after --, with {env:NAME} for the credential")),
    }
}

/// Returns recorded values as they were typed.
fn typed(values: &Map<String, Value>) -> impl Iterator<Item = (String, String)> + '_ {
    values
        .iter()
        .map(|(key, value)| (key.clone(), value.as_str().map_or_else(|| value.to_string(), str::to_owned)))
}
