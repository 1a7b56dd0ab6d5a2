//! Where runs are created: the runs directory, or a new or continued batch below it.

use crate::cli::Args;
use crate::plan::{Plan, Planned};
use crate::staged::{is_taken, remove_dir};
use run_common::error::{Error, Exit};
use run_common::fsio::atomic::{Durability, sync_parent, write_whole};
use run_common::fsio::rename::rename_new;
use run_common::message::warn;
use run_common::provenance::redact::redact_command;
use run_common::rundir::SCHEMA;
use run_common::rundir::batch::Batch;
use run_common::rundir::layout::BatchLayout;
use run_common::rundir::record::document;
use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// The directory that the runs are created in.
#[derive(Debug)]
pub(crate) struct Home {
    /// Its path, absolute.
    pub(crate) root: PathBuf,
    /// The path that is printed.
    pub(crate) shown: PathBuf,
    /// The name of the batch, if it is a batch.
    pub(crate) batch: Option<String>,
    /// The directory existed before, and may already hold runs.
    pub(crate) existed: bool,
}

/// Decides which runs to create, and creates the directory for them.
pub(crate) fn open(args: &Args, plan: &Plan) -> Result<(Home, Vec<Planned>), Error> {
    let runs_dir = args.runs_dir.path();
    let root = std::path::absolute(&runs_dir).map_err(|error| Error::io("find", &runs_dir, error))?;
    let make_runs_dir =
        || fs::create_dir_all(&runs_dir).map_err(|error| Error::io("create", &runs_dir, error));
    let Some(given) = &args.batch else {
        let seed = sample_seed(args, None);
        let planned = plan.planned(args, seed)?;
        if args.name.is_some() {
            check_free(&root, &planned)?;
        }
        make_runs_dir()?;
        say(args, seed);
        return Ok((Home { root, shown: runs_dir, batch: None, existed: false }, planned));
    };
    let by_default = || plan.template.created.utc("experiment_%Y%m%d_%H%M%S");
    let wanted = given.clone().unwrap_or_else(by_default);
    let mut name = wanted.clone();
    let mut number = 1;
    loop {
        let layout = BatchLayout::new(root.join(&name));
        let known = if args.exist_ok { existing(&layout)? } else { None };
        let seed = sample_seed(args, known.as_ref());
        let planned = plan.planned(args, seed)?;
        make_runs_dir()?;
        let existed = known.is_some();
        if existed || create(&layout, plan, &name, seed, planned.len())? {
            say(args, seed);
            let shown = runs_dir.join(&name);
            return Ok((Home { root: layout.root().to_owned(), shown, batch: Some(name), existed }, planned));
        }
        if args.exist_ok {
            continue; // another process was faster
        }
        if given.is_some() {
            let error = Error::new(Exit::No, format!("cannot create the batch '{name}'"));
            return Err(error.because("the name is taken").hint("--exist-ok continues a batch"));
        }
        number += 1;
        name = format!("{wanted}-{number}");
    }
}

/// Refuses names that are taken, before any run is created.
fn check_free(root: &Path, planned: &[Planned]) -> Result<(), Error> {
    match planned.iter().find(|one| root.join(&one.name).symlink_metadata().is_ok()) {
        None => Ok(()),
        Some(one) => Err(Error::new(Exit::No, format!("cannot create '{}'", one.name))
            .because("a run of this name exists")),
    }
}

/// Returns the seed of the draws: as given, else that of the batch, else a random number.
fn sample_seed(args: &Args, known: Option<&Batch>) -> Option<u64> {
    args.sample?;
    let any = || u64::from(Uuid::new_v4().as_fields().0);
    Some(args.sample_seed.or(known.and_then(|batch| batch.sample_seed)).unwrap_or_else(any))
}

fn say(args: &Args, seed: Option<u64>) {
    if let (Some(seed), None) = (seed, args.sample_seed) {
        warn(&format!("use --sample-seed {seed} to repeat these draws"));
    }
}

/// Reads an existing batch; `None` if nothing has this name.
fn existing(layout: &BatchLayout) -> Result<Option<Batch>, Error> {
    if layout.root().symlink_metadata().is_err() {
        return Ok(None);
    }
    if !layout.batch().exists() {
        return Err(Error::new(Exit::No, format!("cannot continue '{}'", layout.root().display()))
            .because("not a batch: it has no .batch/batch.json"));
    }
    Batch::read(layout).map(Some)
}

/// Creates a batch; returns false if its name is taken.
fn create(
    layout: &BatchLayout,
    plan: &Plan,
    name: &str,
    sample_seed: Option<u64>,
    planned: usize,
) -> Result<bool, Error> {
    let template = &plan.template;
    let batch = Batch {
        schema: SCHEMA,
        batch_id: Uuid::now_v7().to_string(),
        name: name.to_owned(),
        created: template.created,
        command: template.command.clone(),
        argv: redact_command(
            &env::args_os().map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>(),
        ),
        sample_seed,
        planned: Some(planned),
        host: template.host.clone(),
        user: template.user.clone(),
        cwd: env::current_dir().unwrap_or_default().to_string_lossy().into_owned(),
        tool_version: template.tool_version.clone(),
    };
    let scratch = layout.root().with_file_name(format!(".new-{}", batch.batch_id));
    let created = write(&scratch, &batch).and_then(|()| match rename_new(&scratch, layout.root()) {
        Err(error) if is_taken(&error) => Ok(false),
        renamed => renamed.and_then(|()| sync_parent(layout.root())).map(|()| true),
    });
    if !matches!(created, Ok(true)) {
        remove_dir(&scratch);
    }
    created.map_err(|error| Error::io("create", layout.root(), error))
}

fn write(scratch: &Path, batch: &Batch) -> io::Result<()> {
    let layout = BatchLayout::new(scratch);
    fs::create_dir(scratch)?;
    fs::create_dir(layout.record())?;
    write_whole(&layout.lock(), b"", Durability::Process)?;
    write_whole(&layout.batch(), &document(batch)?, Durability::Power)?;
    sync_parent(&layout.batch())?;
    sync_parent(&layout.record())
}
