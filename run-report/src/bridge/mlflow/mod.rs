//! A file store of MLflow: an experiment for each batch, and runs with their parameters, tags and metrics, as
//! `mlflow/store/tracking/file_store.py` reads it and `mlflow migrate-filestore` takes it to a database.

mod experiments;
mod keys;
mod metrics;
mod yaml;

use super::points::{begun, points};
use super::target::{Target, directory_in};
use crate::curves::Options;
use crate::fault::Fault;
use crate::run::Run;
use crate::runs::Runs;
use crate::settings::{provenance, settings};
use experiments::{Experiment, Experiments};
use keys::Keys;
use metrics::Metrics;
use run_common::error::{Error, Exit};
use run_common::fsio::atomic::{Durability, write_whole};
use run_common::message::warn;
use run_common::pipeline::large_in_order;
use run_common::provenance::hash::sha256;
use run_common::rundir::status::Status;
use run_common::time::Timestamp;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde_json::Value;
use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io;
use std::path::Path;

/// Maximum length of a value, in characters: MLflow refuses longer tags.
const LONGEST: usize = 5000;

/// The result of a run's export.
struct Exported {
    metrics: HashSet<String>,
    faults: Vec<Fault>,
    /// Metrics whose names MLflow does not accept, with their replacements.
    renamed: BTreeMap<String, String>,
}

/// Writes the runs.
pub(crate) fn write(runs: &Runs, options: &Options, directory: &Path) -> Result<Exit, Error> {
    let failed = |error| Error::io("write", directory, error);
    let target = Target::open(directory, "mlflow")?;
    let mut experiments = Experiments::open(target.root(), target.place()).map_err(failed)?;
    let mut taken = HashSet::new();
    let mut place = |run| -> io::Result<(&Run, String, Experiment)> {
        let id = id(run, &mut taken);
        let experiment = experiments.of(run, &id)?;
        Ok((run, id, experiment))
    };
    let placed: Vec<_> = runs.all.iter().map(&mut place).collect::<io::Result<_>>().map_err(failed)?;
    let (mut exit, mut known, mut renamed) = (runs.exit, HashSet::new(), BTreeMap::new());
    let work = |(run, id, experiment): (&Run, String, Experiment)| {
        of_run(run, options, &id, &experiment).map_err(failed)
    };
    let take = |exported: Result<Exported, Error>| {
        let exported = exported?;
        known.extend(exported.metrics);
        renamed.extend(exported.renamed);
        exit = Fault::say_all(&exported.faults, exit);
        Ok(())
    };
    large_in_order(placed, work, take)?;
    target.finish()?;
    if let Some((name, other)) = renamed.first_key_value() {
        let many = renamed.len();
        warn(&format!("{many} names of metrics are other ones in MLflow, such as '{other}' for '{name}'"));
    }
    Ok(exit.max(options.say_missing(runs, |metric| known.contains(metric))))
}

/// Returns the id of a run: 32 hexadecimal digits, those of its own id unless another run has it.
fn id(run: &Run, taken: &mut HashSet<String>) -> String {
    let own = run.meta.run_id.replace('-', "").to_lowercase();
    let is_one = own.len() == 32 && own.bytes().all(|byte| byte.is_ascii_hexdigit());
    let of_path = || sha256(run.path().as_bytes()).chars().take(32).collect();
    let id = if is_one && !taken.contains(&own) { own } else { of_path() };
    taken.insert(id.clone());
    id
}

/// Creates the directory of a run under a temporary name, and replaces an earlier one by it.
fn of_run(run: &Run, options: &Options, id: &str, experiment: &Experiment) -> io::Result<Exported> {
    // For MLflow, a directory without meta.yaml is not a run.
    let scratch = directory_in(&experiment.root)?;
    let made = scratch.path().join(id);
    for below in ["metrics", "params", "tags", "artifacts"] {
        fs::create_dir_all(made.join(below))?;
    }
    let mut metrics = Metrics::new(made.join("metrics"));
    let found = points(run, options, |point| metrics.add(point))?;
    let renamed = metrics.finish()?;
    let texts =
        |map: serde_json::Map<String, Value>| map.into_iter().map(|(name, value)| (name, text(&value)));
    write_values(&made.join("params"), texts(settings(run)))?;
    let status = run.seen.status();
    let own = [
        ("mlflow.runName", run.name.clone()),
        ("mlflow.source.type", "LOCAL".to_owned()),
        ("run-tools.run_id", run.meta.run_id.clone()),
        ("run-tools.path", run.path()),
        ("run-tools.status", status.to_string()),
        ("run-tools.reason", run.seen.reason().unwrap_or_default().to_owned()),
    ];
    let own = own.into_iter().filter(|(_, value)| !value.is_empty());
    let tags = texts(provenance(run)).map(|(name, value)| {
        let name = match name.as_str() {
            "command" => "mlflow.source.name".to_owned(),
            "git_commit" => "mlflow.source.git.commit".to_owned(),
            "git_branch" => "mlflow.source.git.branch".to_owned(),
            "user" => "mlflow.user".to_owned(),
            "note" => "mlflow.note.content".to_owned(),
            _ => format!("run-tools.{name}"),
        };
        (name, value)
    });
    write_values(&made.join("tags"), own.map(|(name, value)| (name.to_owned(), value)).chain(tags))?;
    let artifacts = experiment.artifacts.join(id).join("artifacts");
    let meta = yaml::document(&[
        ("artifact_uri", yaml::uri(&artifacts).into()),
        ("deleted_time", Value::Null),
        ("end_time", run.seen.end_time().map(Timestamp::millis).into()),
        ("entry_point_name", "".into()),
        ("experiment_id", experiment.id.clone().into()),
        ("lifecycle_stage", "active".into()),
        ("run_id", id.into()),
        ("run_name", run.name.clone().into()),
        ("run_uuid", id.into()),
        ("source_name", "".into()),
        ("source_type", 4.into()),
        ("source_version", "".into()),
        ("start_time", begun(run).millis().into()),
        ("status", number_of(status).into()),
        ("tags", Value::Array(Vec::new())),
        ("user_id", run.meta.user.clone().into()),
    ]);
    write_whole(&made.join("meta.yaml"), meta.as_bytes(), Durability::Process)?;
    let place = experiment.root.join(id);
    match renameat_with(CWD, &made, CWD, &place, RenameFlags::EXCHANGE) {
        Err(rustix::io::Errno::NOENT) => fs::rename(&made, &place)?,
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
            // The file system cannot exchange names: for a moment the run is missing.
            fs::rename(&place, scratch.path().join("before"))?;
            fs::rename(&made, &place)?;
        }
        exchanged => exchanged?,
    }
    Ok(Exported { metrics: found.metrics, faults: found.faults, renamed })
}

/// Writes a file for each value.
fn write_values(directory: &Path, values: impl Iterator<Item = (String, String)>) -> io::Result<()> {
    let mut keys = Keys::default();
    for (name, value) in values {
        let path = directory.join(keys.of(&name));
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        let cut: String = value.chars().take(LONGEST).collect();
        write_whole(&path, cut.as_bytes(), Durability::Process)?;
    }
    Ok(())
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Returns MLflow's number for a status (`mlflow/protos/service.proto`).
fn number_of(status: Status) -> u8 {
    match status {
        Status::Running | Status::Stale => 1,
        Status::Created | Status::Queued => 2,
        Status::Completed => 3,
        Status::Failed | Status::Dead => 4,
        Status::Stopped => 5,
    }
}
