//! Decides all that a call is to create, before anything is created.

use crate::cli::Args;
use crate::command;
use crate::config::{Config, expand};
use crate::name::{self, Sign};
use crate::spec::LIMIT;
use crate::sweep::{self, Sweep, Values};
use run_common::error::Error;
use run_common::message::warn;
use run_common::process::identity::Place;
use run_common::process::user::user_name;
use run_common::provenance::device;
use run_common::provenance::git::{Code, Patch, patch};
use run_common::provenance::hash::sha256;
use run_common::provenance::hints::Hints;
use run_common::provenance::python::{Python, find_program, interpreter_of_environment, named_interpreter};
use run_common::provenance::redact::{redact_text, redact_value};
use run_common::provenance::untracked::Untracked;
use run_common::provenance::wrapper::interpreter_of_command;
use run_common::rundir::SCHEMA;
use run_common::rundir::layout::BATCH_FILES;
use run_common::rundir::meta::Meta;
use run_common::rundir::placeholders::word_with;
use run_common::time::Timestamp;
use serde_json::{Map, Value, json};
use std::collections::HashSet;
use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// What all runs of this call have in common.
pub(crate) struct Plan {
    configs: Vec<Config>,
    /// The record of each run, without the fields that [`Plan::fill`] sets.
    pub(crate) template: Meta,
    /// Uncommitted changes of the code.
    pub(crate) patch: Option<Patch>,
    /// A patch of source files that git does not track.
    pub(crate) untracked: Option<String>,
    /// Seed, steps and device from the command, which take precedence over the config.
    of_command: Hints,
    default_device: &'static str,
}

/// A run to create.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Planned {
    /// Its name.
    pub(crate) name: String,
    /// Number of its config.
    config: usize,
    /// The values of the sweeps.
    values: Values,
}

impl Plan {
    /// Decides everything, and refuses impossible requests, before anything is created.
    pub(crate) fn make(args: &Args) -> Result<Self, Error> {
        check_names(args)?;
        check_sweeps(args)?;
        if !args.require.is_empty() && args.configs.is_empty() {
            return Err(Error::usage("--require needs a config"));
        }
        let files = expand(&args.configs)?;
        check_number(args, files.len())?;
        let configs = read_configs(args, &files)?;
        let (cwd, cwd_text) = directory(args)?;
        if args.device.as_deref() == Some("gpu") {
            warn("PyTorch has no device 'gpu'; did you mean 'cuda'?");
        }
        let inputs = inputs(&args.input)?;
        command::check(args, &inputs)?;
        let code = Code::at(&cwd, true);
        let patch = match code.dirty {
            Some(true) => patch(&cwd).ok(),
            _ => None,
        };
        let untracked = if code.untracked.is_empty() {
            Untracked::default()
        } else {
            Untracked::at(&cwd, &of_runs(args, &cwd))
        };
        let executable = args
            .command
            .first()
            .and_then(|program| find_program(OsStr::new(program), &cwd))
            .map(named_interpreter);
        let interpreter = if args.command.is_empty() {
            interpreter_of_environment()
        } else {
            interpreter_of_command(&args.command, executable.as_deref(), &cwd)
        };
        let python = interpreter.map(Python::at).unwrap_or_default();
        let text = |path: PathBuf| path.to_str().map(str::to_owned);
        let mut template = Meta {
            schema: SCHEMA,
            run_id: String::new(),
            run_name: String::new(),
            created: Timestamp::now(),
            command: Some(args.command.clone()).filter(|command| !command.is_empty()),
            executable: executable.and_then(text),
            resume_args: Some(args.resume_args.clone()).filter(|words| !words.is_empty()),
            config_path: None,
            config_file: None,
            config_sha256: None,
            overrides: Map::new(),
            params: Map::new(),
            inputs,
            tags: args.tag.clone(),
            note: args.note.clone(),
            seed: args.seed,
            total_steps: args.total_steps,
            checkpoint: args.checkpoints(),
            options: args.attempt_options().or(args.taken.options.clone()),
            set_by_env: args.set_by_env,
            batch: None,
            host: Place::here().host.clone(),
            user: user_name(),
            cwd: cwd_text,
            env: args.env.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect(),
            git_commit: code.commit,
            git_branch: code.branch,
            git_dirty: code.dirty,
            git_patch_cut: patch.as_ref().map_or(0, |patch| patch.cut),
            untracked: code.untracked,
            untracked_saved: untracked.saved,
            untracked_left_out: untracked.left_out,
            device: None,
            gpus: device::gpus(),
            python_executable: python.executable.and_then(text),
            python_version: python.version,
            torch_version: python.torch,
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            system: None,
            logs: None,
        };
        template.redact();
        let default_device = device::default_device();
        let of_command = Hints::of_command(&args.command);
        let untracked = Some(untracked.patch).filter(|patch| !patch.is_empty());
        Ok(Self { configs, template, patch, untracked, of_command, default_device })
    }

    /// Returns the runs to create, in order: configs outermost, the last sweep fastest. Names are unique
    /// within a batch; outside a batch they contain the time.
    pub(crate) fn planned(&self, args: &Args, sample_seed: Option<u64>) -> Result<Vec<Planned>, Error> {
        let values = match (args.sample, sample_seed) {
            (Some(number), Some(seed)) => sweep::sample(&args.sweep, number, seed)
                .map_err(|cause| Error::usage("cannot draw what --sample asks for").because(cause))?,
            _ => sweep::product(&args.sweep),
        };
        let is_one = args.sweep.is_empty() && self.configs.len() <= 1;
        let name = |base: &str, values: &Values| match &args.name {
            Some(name) if is_one => name.clone(), // as given, also with a character that made names avoid
            _ => cell_name(args, base, values, Sign::Dash),
        };
        let mut planned = Vec::new();
        for (config, base) in self.bases(args, Sign::Dash).iter().enumerate() {
            let cell = |values: &Values| Planned { name: name(base, values), config, values: values.clone() };
            planned.extend(values.iter().map(cell));
        }
        let mut names = HashSet::new();
        if let Some(twice) = planned.iter().find(|one| !names.insert(&one.name)) {
            return Err(Error::usage(format!("two runs would have the name '{}'", twice.name))
                .hint("give a shorter --name"));
        }
        self.check_numbers(args, &planned)?;
        Ok(planned)
    }

    /// Returns the prefix of the names of each config's runs.
    fn bases(&self, args: &Args, sign: Sign) -> Vec<String> {
        let stems: Vec<String> = if self.configs.is_empty() {
            vec![name::stem(None, sign)]
        } else {
            self.configs.iter().map(|config| name::stem(Some(&config.path), sign)).collect()
        };
        // With a name, that is the prefix, which the configs follow if there are several.
        let stems = match &args.name {
            Some(name) if stems.len() > 1 => stems.iter().map(|stem| format!("{name}_{stem}")).collect(),
            Some(name) => vec![name.clone()],
            None => stems,
        };
        if args.batch.is_some() {
            return name::different(stems, &BATCH_FILES);
        }
        if args.name.is_some() {
            return name::different(stems, &[]);
        }
        let time = self.template.created.utc("%Y-%m-%d_%H-%M-%S");
        stems.into_iter().map(|stem| format!("{stem}_{time}")).collect()
    }

    /// Keeps the names of existing runs that an older version created.
    pub(crate) fn rename_known(&self, args: &Args, planned: &mut [Planned], known: &HashSet<String>) {
        if known.is_empty() || args.name.is_some() {
            return;
        }
        let bases = self.bases(args, Sign::Equals);
        for one in planned.iter_mut().filter(|one| !known.contains(&one.name)) {
            let Some(base) = bases.get(one.config) else { continue };
            let former = cell_name(args, base, &one.values, Sign::Equals);
            if known.contains(&former) {
                one.name = former;
            }
        }
    }

    /// Returns the config of a run.
    pub(crate) fn config(&self, cell: &Planned) -> Option<&Config> {
        self.configs.get(cell.config)
    }

    /// Fills in the fields of a record that differ from run to run.
    pub(crate) fn fill(&self, meta: &mut Meta, args: &Args, cell: &Planned) {
        let config = self.config(cell);
        let set: Vec<(String, String)> = set(args, &cell.values).collect();
        let hints = self.hints(args, cell);
        meta.run_id = Uuid::now_v7().to_string();
        meta.run_name.clone_from(&cell.name);
        meta.created = Timestamp::now();
        meta.config_path = config.map(|config| redact_text(&config.path.to_string_lossy()).into_owned());
        meta.config_file = config.map(Config::copy_name);
        meta.config_sha256 = config.map(|config| config.sha256.clone());
        meta.overrides = redacted(&set);
        (meta.seed, meta.total_steps) = (hints.seed, hints.total_steps);
        meta.device = hints.device.or_else(|| Some(self.default_device.to_owned()));
    }

    /// Returns seed, steps and device of a run from options, overrides, command and config.
    fn hints(&self, args: &Args, cell: &Planned) -> Hints {
        let set: Vec<(String, String)> = set(args, &cell.values).collect();
        let of_config = self.config(cell).map(|config| Hints::of_config(&config.values)).unwrap_or_default();
        let given = Hints {
            seed: args.seed,
            total_steps: args.total_steps,
            device: args.device.clone(),
            ..Hints::default()
        };
        given.or(Hints::of_overrides(&set)).or(self.of_command.clone()).or(of_config)
    }

    /// Refuses a command with `{seed}` or `{total_steps}` if a run has no seed or no number of steps. All
    /// runs of a config override the same keys.
    fn check_numbers(&self, args: &Args, planned: &[Planned]) -> Result<(), Error> {
        let mut words = args.command.clone();
        words.extend(args.env.iter().map(|(_, value)| value.clone()));
        let lacks_seed: fn(&Hints) -> bool = |hints| hints.seed.is_none();
        let lacks_steps: fn(&Hints) -> bool = |hints| hints.total_steps.is_none();
        for (name, option, lacks) in
            [("seed", "--seed", lacks_seed), ("total_steps", "--total-steps", lacks_steps)]
        {
            let Some(word) = word_with(&words, name) else { continue };
            let firsts =
                planned.chunk_by(|one, other| one.config == other.config).filter_map(<[Planned]>::first);
            if firsts.map(|cell| self.hints(args, cell)).any(|hints| lacks(&hints)) {
                let what = format!("cannot fill in '{{{name}}}' of '{}'", redact_text(word));
                return Err(Error::usage(what).because(format!("no {name} is known; set it with {option}")));
            }
        }
        Ok(())
    }
}

/// Reads the configs, and refuses one that lacks a required key.
fn read_configs(args: &Args, files: &[PathBuf]) -> Result<Vec<Config>, Error> {
    let mut configs = files.iter().map(|path| Config::read(path)).collect::<Result<Vec<_>, _>>()?;
    if let (Some(original), [config]) = (&args.taken.config_path, configs.as_mut_slice()) {
        config.name_after(original);
    }
    for config in &configs {
        config.require(&args.require)?;
    }
    Ok(configs)
}

fn check_names(args: &Args) -> Result<(), Error> {
    let names = [args.name.as_ref(), args.batch.as_ref().and_then(Option::as_ref)];
    for name in names.into_iter().flatten() {
        if let Some(fault) = name::fault(name) {
            return Err(Error::usage(format!("cannot use the name '{name}'")).because(fault));
        }
    }
    if args.exist_ok && !matches!(args.batch, Some(Some(_))) {
        return Err(Error::usage("--exist-ok needs a batch with a name").hint("write --batch=NAME"));
    }
    match &args.name {
        Some(name)
            if args.batch.is_some() && args.sweep.is_empty() && BATCH_FILES.contains(&name.as_str()) =>
        {
            Err(Error::usage(format!("cannot use the name '{name}'"))
                .because("a file of the batch has this name"))
        }
        _ => Ok(()),
    }
}

fn check_sweeps(args: &Args) -> Result<(), Error> {
    if args.sample.is_some() && args.sweep.is_empty() {
        return Err(Error::usage("--sample needs a --sweep"));
    }
    for (number, Sweep { key, .. }) in args.sweep.iter().enumerate() {
        let refused = |cause: String| Err(Error::usage(format!("cannot sweep '{key}'")).because(cause));
        if args.sweep[..number].iter().any(|sweep| sweep.key == *key) {
            return refused("two --sweep options name it".to_owned());
        }
        if args.set.iter().any(|(name, _)| name == key) {
            return refused("--set sets it, too".to_owned());
        }
        if args.sweep[number].is_random() && args.sample.is_none() {
            return refused("random values need --sample N".to_owned());
        }
        let is_kept = |value: &str| redact_value(key, value) == value;
        let values = args.sweep[number].values().unwrap_or_default();
        if let Some(at) = values.iter().position(|value| !is_kept(value)) {
            return refused(format!("value {} is a credential, and credentials are not recorded", at + 1));
        }
        if values.is_empty() && !is_kept("1") {
            return refused("it is a credential, and credentials are not recorded".to_owned());
        }
    }
    Ok(())
}

fn check_number(args: &Args, configs: usize) -> Result<(), Error> {
    let each = args.sample.unwrap_or_else(|| sweep::count(&args.sweep));
    let number = each.saturating_mul(configs.max(1));
    if number > LIMIT {
        return Err(Error::usage(format!("cannot create {number} runs"))
            .because(format!("one call creates at most {LIMIT}"))
            .hint("--sample N draws N of them at random"));
    }
    Ok(())
}

/// Returns the name of a run.
fn cell_name(args: &Args, base: &str, values: &Values, sign: Sign) -> String {
    let swept = args.sweep.iter().map(|sweep| sweep.key.as_str()).zip(values.iter().map(String::as_str));
    name::cell(base, swept, sign, || hash(&overrides(args, values)))
}

/// Returns the overrides of a run: those of `--set`, then the swept values.
fn set<'a>(args: &'a Args, values: &'a Values) -> impl Iterator<Item = (String, String)> + 'a {
    let swept = args.sweep.iter().map(|sweep| sweep.key.clone()).zip(values.iter().cloned());
    args.set.iter().cloned().chain(swept)
}

fn overrides(args: &Args, values: &Values) -> Map<String, Value> {
    redacted(&set(args, values).collect::<Vec<_>>())
}

/// Returns the first 8 hexadecimal digits of the SHA-256 of overrides as JSON.
fn hash(overrides: &Map<String, Value>) -> String {
    let text = serde_json::to_string(overrides).unwrap_or_default();
    sha256(text.as_bytes())[..8].to_owned()
}

fn redacted(pairs: &[(String, String)]) -> Map<String, Value> {
    pairs.iter().map(|(key, value)| (key.clone(), redact_value(key, value).into_owned().into())).collect()
}

/// Returns the directory to execute the command in, and the same as text.
fn directory(args: &Args) -> Result<(PathBuf, String), Error> {
    let here = env::current_dir().map_err(|error| Error::io("find", Path::new("."), error))?;
    let cwd = match &args.chdir {
        None => here,
        Some(dir) if dir.is_dir() => here.join(dir),
        Some(dir) => {
            return Err(Error::usage(format!("cannot use '{}'", dir.display())).because("no such directory"));
        }
    };
    let Some(cwd_text) = cwd.to_str().map(str::to_owned) else {
        return Err(Error::usage(format!("cannot use '{}'", cwd.display())).because("its path is not UTF-8"));
    };
    Ok((cwd, cwd_text))
}

/// Returns the directories of runs and of their evaluations, whose files are no code.
fn of_runs(args: &Args, cwd: &Path) -> Vec<PathBuf> {
    let runs = args.runs_dir.path();
    let beside = runs.parent().unwrap_or(Path::new("")).join("eval_runs");
    let named = env::var_os("EVAL_RUNS_DIR").map(PathBuf::from);
    let real = |dir: PathBuf| fs::canonicalize(&dir).or_else(|_| std::path::absolute(&dir)).ok();
    let cwd = fs::canonicalize(cwd).unwrap_or_else(|_| cwd.to_owned());
    let dirs = [Some(runs), Some(beside), named].into_iter().flatten().filter_map(real);
    dirs.filter(|dir| !cwd.starts_with(dir)).collect()
}

/// Records the inputs, all of which must exist.
fn inputs(given: &[(String, String)]) -> Result<Map<String, Value>, Error> {
    let mut inputs = Map::new();
    for (name, path) in given {
        let metadata = fs::metadata(path).map_err(|error| Error::io("find input", Path::new(path), error))?;
        let absolute =
            std::path::absolute(path).map_err(|error| Error::io("find input", Path::new(path), error))?;
        let modified = metadata.modified().ok().and_then(|time| {
            let since = time.duration_since(std::time::UNIX_EPOCH).ok()?;
            Timestamp::from_millis(i64::try_from(since.as_millis()).ok()?)
        });
        inputs.insert(name.clone(), json!({"path": absolute, "size": metadata.len(), "mtime": modified}));
    }
    Ok(inputs)
}
