//! The environment of a command that is executed for a run: the `RUN_` names. Used by run-exec and run-eval.

use super::layout::Layout;
use super::meta::Meta;
use crate::provenance::redact::REDACTED;
use serde_json::{Map, Value};
use std::env;
use std::ffi::OsString;
use std::path::Path;

/// A variable to set, or to remove if it has no value.
pub type Variable = (OsString, Option<OsString>);

/// Returns the variables that describe the run and its attempt to the command: `layout` and `id` are those of
/// the run, or of an evaluation. Variables of an outer attempt are removed: an `--on-end` script may have
/// started this one.
pub fn of_attempt(layout: &Layout, id: &str, attempt: u32, run: &Path, meta: &Meta) -> Vec<Variable> {
    let own: [(&str, Option<OsString>); 16] = [
        ("RUN_DIR", Some(layout.root().into())),
        ("RUN_NAME", Some(meta.run_name.clone().into())),
        ("RUN_ID", Some(id.into())),
        ("RUN_METRICS", Some(layout.metrics().into())),
        ("RUN_STOP_FILE", Some(layout.stop().into())),
        ("RUN_ATTEMPT", Some(attempt.to_string().into())),
        ("RUN_CONFIG", meta.config_file.as_ref().map(|file| run.join(file).into())),
        ("RUN_SEED", meta.seed.map(|seed| seed.to_string().into())),
        ("RUN_TOTAL_STEPS", meta.total_steps.map(|steps| steps.to_string().into())),
        ("RUN_SET", overrides(meta)),
        ("RUN_RESUME_FROM", None),
        ("RUN_RESUME_STEP", None),
        ("RUN_STATUS", None),
        ("RUN_REASON", None),
        ("RUN_EXIT_CODE", None),
        ("RUN_DURATION", None),
    ];
    let unbuffered = [("PYTHONUNBUFFERED", Some("1".into()))];
    let unbuffered = unbuffered.into_iter().filter(|(name, _)| env::var_os(name).is_none());
    own.into_iter().chain(unbuffered).map(|(name, value)| (name.into(), value)).collect()
}

/// Returns the overrides of a run as a JSON object, without secrets.
fn overrides(meta: &Meta) -> Option<OsString> {
    let is_known =
        |(_, value): &(&String, &Value)| value.as_str().is_some_and(|value| !value.contains(REDACTED));
    let known: Map<String, Value> =
        meta.overrides.iter().filter(is_known).map(|(key, value)| (key.clone(), value.clone())).collect();
    (!known.is_empty()).then(|| Value::Object(known).to_string().into())
}

/// Returns the variables that restrict CUDA to these GPUs.
pub fn of_slot(gpus: &str) -> [Variable; 2] {
    [
        ("CUDA_VISIBLE_DEVICES".into(), Some(gpus.into())),
        ("CUDA_DEVICE_ORDER".into(), Some("PCI_BUS_ID".into())),
    ]
}
