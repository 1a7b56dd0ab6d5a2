//! What the command of an attempt is not told, though it may be taken to be.

use crate::resume::Resume;
use run_common::fsio::read::read_start;
use run_common::message::warn;
use run_common::rundir::layout::Layout;
use run_common::rundir::meta::Meta;
use run_common::rundir::placeholders::{say_misspelt, tell_of_resume, unreached};
use std::path::Path;

/// Bytes of a program that are looked through.
const LONGEST: u64 = 256 << 10;

/// What the names of the variables begin with that tell a program what it resumes from.
const VARIABLES: &str = "RUN_RESUME_";

/// Says that a program has to find the checkpoint itself that it resumes from, unless its source reads the
/// variables that tell it.
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
    warn(&format!("the command of '{root}' is not told to resume from '{path}': {why}"));
}

/// Says what is wrong with a command that was typed for a run with overrides.
pub(crate) fn of_typed(template: &[String], meta: &Meta, layout: &Layout) {
    let shown = layout.root().display();
    say_misspelt(template, false);
    let unreached = unreached(&words(template, meta), meta.overrides.keys().map(String::as_str));
    if !unreached.is_empty() && !meta.set_by_env {
        let keys = unreached.join("', '");
        warn(&format!(
            "the command is not told of '{keys}', which '{shown}' was created with: it has no {{set}}"
        ));
    }
}

/// Says whether a word of a command is a program, or the file of one, that reads the variables.
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
