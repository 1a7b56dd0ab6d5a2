//! The command line of a job: the user's options that matter inside the job, and the user's command.

use clap::Command;
use clap::parser::ValueSource;
use std::ffi::OsString;

/// Returns the options of a command line, without the options `kept` by the submitting process, and the values
/// of its argument `command`. Text that is not UTF-8 is changed: the caller refuses it.
pub fn passed_on(
    tool: &Command,
    kept: &[&str],
    line: impl IntoIterator<Item = OsString>,
) -> (Vec<String>, Vec<String>) {
    let Ok(matches) = tool.clone().try_get_matches_from(line) else { return Default::default() };
    let mut options = Vec::new();
    let values = |id: &str| {
        let raw = matches.get_raw(id).into_iter().flatten();
        raw.map(|value| value.to_string_lossy().into_owned()).collect::<Vec<String>>()
    };
    for argument in tool.get_arguments() {
        let id = argument.get_id().as_str();
        let Some(long) = argument.get_long().filter(|long| !kept.contains(long)) else { continue };
        if matches.value_source(id) != Some(ValueSource::CommandLine) {
            continue;
        }
        if argument.get_action().takes_values() {
            options.extend(values(id).into_iter().map(|value| format!("--{long}={value}")));
        } else {
            options.push(format!("--{long}"));
        }
    }
    (options, values("command"))
}
