//! Creates runs: everything is decided first, then written aside, then put in place at once.

use crate::cli::Args;
use crate::config::{Config, Hints};
use crate::name;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use run_common::cli::out::Out;
use run_common::error::{Error, Exit, plain};
use run_common::fsio::atomic::{Durability, sync_parent, write_whole};
use run_common::message::warn;
use run_common::process::identity::{Place, user_name};
use run_common::provenance::device;
use run_common::provenance::git::{Code, Patch, patch};
use run_common::provenance::params::params;
use run_common::provenance::python::{
    Python, find_program, interpreter_of, interpreter_of_environment, named_interpreter,
};
use run_common::provenance::secret::{redact_command, redact_url, redact_value};
use run_common::rundir::SCHEMA;
use run_common::rundir::layout::Layout;
use run_common::rundir::meta::{Checkpoint, Meta};
use run_common::rundir::record::document;
use run_common::rundir::status::Recorded;
use run_common::time::Timestamp;
use serde_json::{Map, Value, json};
use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// Creates a run for every config, or one without.
pub(crate) fn run(args: &Args, out: &mut Out) -> Result<Exit, Error> {
    let args = &args.settled();
    let plan = Plan::make(args)?;
    let runs_dir = args.runs_dir.path();
    fs::create_dir_all(&runs_dir).map_err(|error| Error::io("create", &runs_dir, error))?;
    let root = std::path::absolute(&runs_dir).map_err(|error| Error::io("find", &runs_dir, error))?;
    let configs: Vec<Option<&Config>> =
        if plan.configs.is_empty() { vec![None] } else { plan.configs.iter().map(Some).collect() };
    for config in configs {
        let name = match &args.name {
            Some(name) => name.clone(),
            None => name::by_default(config.map(|config| config.path.as_path()), Timestamp::now()),
        };
        let meta = plan.meta(args, config, &name);
        let (meta, path) =
            Staged::write(&root, meta, config, plan.patch.as_ref())?.put_in_place(args.name.is_some())?;
        if args.json {
            let mut object = match serde_json::to_value(&meta) {
                Ok(Value::Object(object)) => object,
                _ => Map::new(),
            };
            object.insert("path".to_owned(), path.to_string_lossy().into());
            out.json(&object)?;
        } else {
            out.line(&runs_dir.join(&meta.run_name).to_string_lossy())?;
        }
        out.flush()?;
    }
    Ok(Exit::Ok)
}

/// What is so for every run that this call creates.
struct Plan {
    configs: Vec<Config>,
    template: Meta,
    patch: Option<Patch>,
}

impl Plan {
    /// Decides everything, and refuses what cannot be before anything is created.
    fn make(args: &Args) -> Result<Self, Error> {
        if let Some(name) = &args.name {
            if let Some(fault) = name::fault(name) {
                return Err(Error::usage(format!("cannot use the name '{name}'")).because(fault));
            }
            if args.configs.len() > 1 {
                return Err(Error::usage("--name names a single run")
                    .because(format!("there are {} configs", args.configs.len())));
            }
        }
        if !args.require.is_empty() && args.configs.is_empty() {
            return Err(Error::usage("--require needs a config"));
        }
        let configs = args.configs.iter().map(|path| Config::read(path)).collect::<Result<Vec<_>, _>>()?;
        for config in &configs {
            config.require(&args.require)?;
        }
        let here = env::current_dir().map_err(|error| Error::io("find", Path::new("."), error))?;
        let cwd = match &args.chdir {
            None => here,
            Some(dir) if dir.is_dir() => here.join(dir),
            Some(dir) => {
                return Err(Error::usage(format!("cannot use '{}'", dir.display()))
                    .because("there is no such directory"));
            }
        };
        let Some(cwd_text) = cwd.to_str().map(str::to_owned) else {
            return Err(
                Error::usage(format!("cannot use '{}'", cwd.display())).because("its path is not UTF-8")
            );
        };
        if args.device.as_deref() == Some("gpu") {
            warn("'gpu' is no device of PyTorch, which says 'cuda'");
        }
        let inputs = inputs(&args.input)?;
        let code = Code::at(&cwd, true);
        let patch = match code.dirty {
            Some(true) => patch(&cwd).ok(),
            _ => None,
        };
        let executable = args
            .command
            .first()
            .and_then(|program| find_program(OsStr::new(program), &cwd))
            .map(named_interpreter);
        let python =
            interpreter(&args.command, executable.as_deref(), &cwd).map(Python::at).unwrap_or_default();
        let text = |path: PathBuf| path.to_str().map(str::to_owned);
        let template = Meta {
            schema: SCHEMA,
            run_id: String::new(),
            run_name: String::new(),
            created: Timestamp::now(),
            command: Some(redact_command(&args.command)).filter(|command| !command.is_empty()),
            executable: executable.and_then(text),
            resume_args: Some(redact_command(&args.resume_args)).filter(|words| !words.is_empty()),
            config_path: None,
            config_file: None,
            config_sha256: None,
            overrides: redacted(&args.set),
            params: params(&redact_command(&args.command)),
            inputs,
            tags: args.tag.clone(),
            note: args.note.as_deref().map(redact_url),
            seed: args.seed,
            total_steps: args.total_steps,
            checkpoint: (args.checkpoint.is_some() || !args.checkpoint_requires.is_empty()).then(|| {
                Checkpoint { pattern: args.checkpoint.clone(), requires: args.checkpoint_requires.clone() }
            }),
            batch: None,
            host: Place::here().host.clone(),
            user: user_name(),
            cwd: cwd_text,
            env: redacted(&args.env),
            git_commit: code.commit,
            git_branch: code.branch,
            git_dirty: code.dirty,
            git_patch_cut: patch.as_ref().map_or(0, |patch| patch.cut),
            untracked: code.untracked,
            device: args.device.clone(),
            gpus: device::gpus(),
            python_executable: python.executable.and_then(text),
            python_version: python.version,
            torch_version: python.torch,
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        Ok(Self { configs, template, patch })
    }

    /// Returns the record of one run.
    fn meta(&self, args: &Args, config: Option<&Config>, name: &str) -> Meta {
        let hints = Hints::find(&args.set, config.map_or(&Value::Null, |config| &config.values));
        let template = self.template.clone();
        Meta {
            run_id: Uuid::now_v7().to_string(),
            run_name: name.to_owned(),
            created: Timestamp::now(),
            config_path: config.map(|config| config.path.to_string_lossy().into_owned()),
            config_file: config.map(Config::copy_name),
            config_sha256: config.map(Config::sha256),
            seed: template.seed.or(hints.seed),
            total_steps: template.total_steps.or(hints.total_steps),
            device: template.device.or(hints.device).or_else(|| Some(device::default_device().to_owned())),
            ..template
        }
    }
}

/// Returns the interpreter of a command: of its program, else of a word in it, else of the
/// environment.
fn interpreter(command: &[String], executable: Option<&Path>, cwd: &Path) -> Option<PathBuf> {
    // A shell's script is one word of the command, and several of its own.
    let words = command
        .iter()
        .skip(1)
        .flat_map(|word| word.split_whitespace())
        .filter(|word| word.contains("python"));
    executable
        .and_then(interpreter_of)
        .or_else(|| {
            words
                .filter_map(|word| find_program(OsStr::new(word), cwd))
                .find_map(|program| interpreter_of(&program))
        })
        .or_else(interpreter_of_environment)
}

fn redacted(pairs: &[(String, String)]) -> Map<String, Value> {
    pairs.iter().map(|(key, value)| (key.clone(), redact_value(key, value).into())).collect()
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

/// A run that is complete, but not yet in its place: below a name that no listing shows.
struct Staged {
    root: PathBuf,
    path: PathBuf,
    meta: Meta,
}

impl Staged {
    fn write(root: &Path, meta: Meta, config: Option<&Config>, patch: Option<&Patch>) -> Result<Self, Error> {
        let path = root.join(format!(".new-{}", meta.run_id));
        let staged = Self { root: root.to_owned(), path, meta };
        staged.fill(config, patch).map_err(|error| Error::io("create a run in", root, error))?;
        Ok(staged)
    }

    fn fill(&self, config: Option<&Config>, patch: Option<&Patch>) -> io::Result<()> {
        let layout = Layout::new(&self.path);
        fs::DirBuilder::new().mode(0o777).create(&self.path)?;
        fs::create_dir(layout.record())?;
        if let Some(config) = config {
            write_whole(&self.path.join(config.copy_name()), &config.bytes, Durability::Power)?;
        }
        if let Some(patch) = patch {
            write_whole(&layout.patch(), &patch.bytes, Durability::Power)?;
        }
        self.write_record()
    }

    /// Writes what holds the run's name, and makes all of it survive a power cut.
    fn write_record(&self) -> io::Result<()> {
        let layout = Layout::new(&self.path);
        write_whole(&layout.meta(), &document(&self.meta)?, Durability::Power)?;
        write_whole(&layout.lock(), b"", Durability::Process)?;
        write_whole(&layout.status(), &document(&Recorded::created(&self.meta))?, Durability::Process)?;
        sync_parent(&layout.meta())?;
        sync_parent(&layout.record())
    }

    /// Gives the run its name; a default name that is taken gets `-2`, `-3`, ….
    fn put_in_place(mut self, name_was_given: bool) -> Result<(Meta, PathBuf), Error> {
        let wanted = self.meta.run_name.clone();
        let failed = |error: io::Error, target: &Path| Error::io("create", target, error);
        let mut number = 1;
        loop {
            let target = self.root.join(&self.meta.run_name);
            match rename_new(&self.path, &target) {
                Ok(()) => {
                    sync_parent(&target).map_err(|error| failed(error, &target))?;
                    let meta = self.meta.clone();
                    return Ok((meta, target));
                }
                Err(error) if is_taken(&error) && name_was_given => {
                    return Err(Error::new(Exit::No, format!("cannot create '{wanted}'"))
                        .because("a run of this name exists"));
                }
                Err(error) if is_taken(&error) => {
                    number = self.next_free(&wanted, number);
                    self.meta.run_name = format!("{wanted}-{number}");
                    self.write_record().map_err(|error| failed(error, &target))?;
                }
                Err(error) => return Err(failed(error, &target)),
            }
        }
    }

    /// Returns the next number that seems to be free, so that a taken name costs no fsync.
    fn next_free(&self, wanted: &str, after: u32) -> u32 {
        let is_free = |number: &u32| !self.root.join(format!("{wanted}-{number}")).exists();
        (after + 1..u32::MAX).find(is_free).unwrap_or(u32::MAX)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            warn(&format!("cannot remove '{}': {}", self.path.display(), plain(&error)));
        }
    }
}

/// Renames a directory unless the new name is taken. A file system that cannot promise that, as
/// NFS, still refuses a name whose directory is not empty.
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match renameat2(AT_FDCWD, from, AT_FDCWD, to, RenameFlags::RENAME_NOREPLACE) {
        Err(nix::Error::EINVAL | nix::Error::ENOSYS) => fs::rename(from, to),
        renamed => Ok(renamed?),
    }
}

fn is_taken(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::AlreadyExists | io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::NotADirectory
    )
}
