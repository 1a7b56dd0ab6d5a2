//! Settings and provenance of a run, by name. A table shows those that differ between runs.

use crate::run::Run;
use crate::scalar::Scalar;
use run_common::fsio::read_small;
use run_common::provenance::config;
use run_common::provenance::redact::redact_json;
use run_common::rundir::attempts::AttemptStart;
use run_common::rundir::captured::Captured;
use run_common::shell::shell_line;
use serde_json::{Map, Value};
use std::collections::HashSet;

/// Returns the settings of a run, without secrets: config, options of the command line, overrides, seed.
pub(crate) fn settings(run: &Run) -> Map<String, Value> {
    let mut settings = Map::new();
    let meta = &run.meta;
    if let Some(file) = &meta.config_file {
        let path = run.seen.run.layout().root().join(file);
        let values = read_small(&path).ok().and_then(|bytes| config::parse(&path, &bytes).ok());
        for (key, mut value) in config::flat(&values.unwrap_or_default()) {
            redact_json(&key, &mut value);
            settings.insert(key, value);
        }
    }
    settings
        .extend(meta.params.iter().chain(&meta.overrides).map(|(key, value)| (key.clone(), typed(value))));
    settings.extend(meta.seed.map(|seed| ("seed".to_owned(), seed.into())));
    settings
}

/// Returns the provenance of a run: code, versions and machine, of the last attempt if there is one.
pub(crate) fn provenance(run: &Run) -> Map<String, Value> {
    let meta = &run.meta;
    let last = run.attempts.last().map(|last| &last.start);
    let ran = |of: fn(&AttemptStart) -> Value, created: Value| {
        last.map(of).filter(|value| !value.is_null()).unwrap_or(created)
    };
    let facts = [
        ("command", meta.command.as_ref().map(|command| shell_line(command)).into()),
        ("config_path", meta.config_path.clone().into()),
        ("config_sha256", meta.config_sha256.clone().into()),
        ("git_commit", ran(|start| start.git_commit.clone().into(), meta.git_commit.clone().into())),
        ("git_branch", meta.git_branch.clone().into()),
        ("git_dirty", ran(|start| start.git_dirty.into(), meta.git_dirty.into())),
        (
            "python_version",
            ran(|start| start.python_version.clone().into(), meta.python_version.clone().into()),
        ),
        ("torch_version", meta.torch_version.clone().into()),
        ("device", ran(|start| start.device.clone().into(), meta.device.clone().into())),
        ("gpus", Value::from(list(&ran(|start| start.gpus.clone().into(), meta.gpus.clone().into())))),
        ("host", ran(|start| start.host.clone().into(), meta.host.clone().into())),
        ("user", meta.user.clone().into()),
        ("cwd", ran(|start| start.cwd.clone().into(), meta.cwd.clone().into())),
        ("tags", Value::from(meta.tags.join(", "))),
        ("note", meta.note.clone().into()),
        ("tool_version", meta.tool_version.clone().into()),
    ];
    let is_known = |value: &Value| !value.is_null() && value != "";
    facts.into_iter().filter(|(_, v)| is_known(v)).map(|(key, value)| (key.to_owned(), value)).collect()
}

/// What was captured of the environment of a run's last attempt.
#[derive(Debug, Default)]
pub(crate) struct Environment {
    /// Facts about the machine and the interpreter, by name, which are part of the provenance.
    pub(crate) facts: Map<String, Value>,
    /// Versions of packages by name.
    pub(crate) packages: Map<String, Value>,
}

/// Reads what was captured of the environment of a run; nothing of a run that was not executed.
pub(crate) fn environment(run: &Run) -> Environment {
    let Some(captured) = Captured::read(run.seen.run.layout()) else { return Environment::default() };
    let container = captured.container.unwrap_or_default();
    let facts = [
        ("python_executable", captured.python_executable),
        ("uv_lock_sha256", captured.uv_lock_sha256),
        ("cpu", captured.cpu),
        ("cpus", captured.cpus.map(|cpus| cpus.to_string())),
        ("gpu_driver", captured.gpu_driver),
        ("container_image", container.image),
        ("container_image_id", container.image_id),
        ("container_id", container.id),
    ];
    let facts = facts.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?.into()))).collect();
    let conda = captured.conda.into_iter().map(|(name, version)| (format!("conda:{name}"), version.into()));
    let packages = captured.packages.into_iter().map(|(name, version)| (name, version.into()));
    Environment { facts, packages: packages.chain(conda).collect() }
}

fn list(value: &Value) -> String {
    let words = value.as_array().into_iter().flatten().filter_map(Value::as_str);
    words.collect::<Vec<_>>().join(", ")
}

/// Converts a typed number, so that `1e-3` equals `0.001` in a config.
fn typed(value: &Value) -> Value {
    let Some(text) = value.as_str() else { return value.clone() };
    match serde_json::from_str::<Value>(text) {
        Ok(plain @ (Value::Number(_) | Value::Bool(_))) => plain,
        _ => value.clone(),
    }
}

/// Returns the keys whose values differ between runs, and the requested keys, with the value of each run.
pub(crate) fn varying(
    of_runs: &[Map<String, Value>],
    is_wanted: impl Fn(&str) -> bool,
) -> Vec<(String, Vec<Scalar>)> {
    let mut known = HashSet::new();
    let keys = of_runs.iter().flat_map(Map::keys).filter(|key| known.insert(*key));
    let values = |key: &String| -> Vec<Scalar> {
        of_runs.iter().map(|of_run| of_run.get(key).map_or(Scalar::Empty, Scalar::setting)).collect()
    };
    let varies = |values: &[Scalar]| values.windows(2).any(|pair| pair[0] != pair[1]);
    keys.map(|key| (key.clone(), values(key)))
        .filter(|(key, values)| varies(values) || is_wanted(key))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_was_typed_is_what_a_config_says() {
        assert_eq!(typed(&"1e-3".into()), json!(0.001));
        assert_eq!(typed(&"true".into()), Value::Bool(true));
        assert_eq!(typed(&"[1]".into()), Value::from("[1]"));
    }

    #[test]
    fn only_what_varies_is_a_column() {
        let settings = [json!({"lr": 0.1, "seed": 1}), json!({"lr": 0.1, "bs": 8})];
        let settings = settings.map(|of_run| of_run.as_object().unwrap().clone());
        let found = varying(&settings, |_| false);
        let keys: Vec<&str> = found.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, ["seed", "bs"]);
        assert_eq!(found[0].1, [Scalar::Exact(1.0), Scalar::Empty]);
        assert!(varying(&settings[..1], |_| false).is_empty());
        assert_eq!(varying(&settings[..1], |key| key == "lr")[0].1, [Scalar::Exact(0.1)]);
    }
}
