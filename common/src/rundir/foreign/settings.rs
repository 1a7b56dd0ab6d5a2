//! Settings of a run, from the files of another system.

use super::Fields;
use crate::fsio::read_small;
use crate::provenance::config::{flat, parse};
use crate::provenance::hints::Hints;
use crate::rundir::meta::Meta;
use serde_json::{Map, Value};
use std::io::ErrorKind;
use std::path::Path;

/// Maximum number of settings of a run.
const SETTINGS: usize = 10_000;

/// Reads a config in a run, in the format of its extension; `None` if there is none. Problems are added to
/// `damage`.
pub(super) fn read(path: &Path, damage: &mut Vec<String>) -> Option<Value> {
    let fault = |why: &str| format!("cannot read '{}': {why}", path.display());
    let bytes = match read_small(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return None,
        Err(error) => {
            damage.push(fault(&crate::error::plain(&error)));
            return None;
        }
    };
    parse(path, &bytes).map_err(|why| damage.push(fault(&why))).ok()
}

/// Records a config of the run: its name and its values.
pub(super) fn config_file(
    meta: &mut Meta,
    run: &Path,
    name: &str,
    damage: &mut Vec<String>,
) -> Option<Value> {
    let values = read(&run.join(name), damage)?;
    meta.config_file = Some(name.to_owned());
    hints(meta, &values);
    Some(values)
}

/// Records settings that are not in a config.
pub(super) fn params(meta: &mut Meta, values: &Value) {
    hints(meta, values);
    meta.params.extend(flat(values).into_iter().take(SETTINGS));
}

/// Records seed, number of steps and device, unless they are known.
fn hints(meta: &mut Meta, values: &Value) {
    let hints = Hints::of_config(values);
    meta.seed = meta.seed.or(hints.seed);
    meta.total_steps = meta.total_steps.or(hints.total_steps);
    meta.device = meta.device.take().or(hints.device);
}

/// Returns a string in nested objects, given the keys that lead to it.
pub(super) fn text_at(fields: &Fields, way: &[&str]) -> Option<String> {
    value_at(fields.all(), way)?.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

/// Returns a value in nested objects, given the keys that lead to it.
pub(super) fn value_at<'a>(object: &'a Map<String, Value>, way: &[&str]) -> Option<&'a Value> {
    let (first, rest) = way.split_first()?;
    rest.iter().try_fold(object.get(*first)?, |value, key| value.get(*key))
}
