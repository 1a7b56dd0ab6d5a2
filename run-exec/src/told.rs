//! Warnings about overrides and checkpoints that a command does not use.

use crate::resume::Resume;
use run_common::fsio::read::read_start;
use run_common::message::warn;
use run_common::rundir::layout::Layout;
use run_common::rundir::meta::Meta;
use run_common::rundir::placeholders::{say_misspelt, tell_of_resume, unreached};
use std::path::Path;

/// Maximum number of bytes of a program to search.
const LONGEST: u64 = 256 << 10;

/// Prefix of the variables that name the checkpoint to resume from.
const VARIABLES: &str = "RUN_RESUME_";

/// Warns that a program must find its checkpoint itself, unless its source reads the variables.
pub(crate) fn of_resume(template: &[String], cwd: &Path, meta: &Meta, layout: &Layout, resume: &Resume) {
    let Some((path, _)) = &resume.from else { return };
    let is_told = tell_of_resume(&words(template, meta), meta.resume_args.as_deref());
    if is_told || template.iter().any(|word| reads_variables(word, cwd)) {
        return;
    }
    let why = if template.iter().any(|word| word == "{resume}") {
        "there are no --resume-args for its {resume}"
    } else {
        "it has neither {resume} nor {checkpoint}"
    };
    let path = Path::new(path);
    let (root, path) = (layout.root().display(), path.strip_prefix(layout.root()).unwrap_or(path).display());
    warn(&format!("the command of '{root}' does not use the checkpoint '{path}': {why}"));
}

/// Warns about a typed command that does not use the overrides of the run.
pub(crate) fn of_typed(template: &[String], meta: &Meta, layout: &Layout) {
    let shown = layout.root().display();
    say_misspelt(template, false);
    let unreached = unreached(&words(template, meta), meta.overrides.keys().map(String::as_str));
    if !unreached.is_empty() && !meta.set_by_env {
        let keys = unreached.join("', '");
        warn(&format!(
            "the command does not use '{keys}', with which '{shown}' was created: it has no {{set}}"
        ));
    }
}

/// Returns whether a word of a command is a program text, or names a file, that reads the variables.
fn reads_variables(word: &str, cwd: &Path) -> bool {
    let reads = |text: &str| text.contains(VARIABLES);
    reads(word)
        || read_start(&cwd.join(word), LONGEST).is_ok_and(|bytes| reads(&String::from_utf8_lossy(&bytes)))
}

/// Returns the words in which placeholders are filled in.
fn words(template: &[String], meta: &Meta) -> Vec<String> {
    let values = meta.env.values().filter_map(|value| value.as_str().map(str::to_owned));
    template.iter().cloned().chain(values).collect()
}
