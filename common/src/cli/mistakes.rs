//! Common mistakes on the command line, and messages with the correct command line.

use super::names::Names;
use crate::error::Error;
use crate::provenance::python::find_program;
use crate::shell::shell_line;
use std::env;
use std::ffi::OsStr;
use std::path::Path;
use strsim::osa_distance;

/// Maximum number of names in a hint.
const SHOWN: usize = 8;

/// Refuses a command line without `--` whose operands contain a program.
pub fn check_command_apart(names: &mut Names, operands: &[String], has_command: bool) -> Result<(), Error> {
    if has_command {
        return Ok(());
    }
    match operands.iter().position(|word| is_program(word) && names.open(word).is_err()) {
        Some(at) => Err(command_without_dashes(&operands[at..])),
        None => Ok(()),
    }
}

/// Programs that start trainings; a word that names one is meant as the program, installed or not.
const PROGRAMS: [&str; 30] = [
    "python",
    "python2",
    "python3",
    "ipython",
    "torchrun",
    "accelerate",
    "deepspeed",
    "horovodrun",
    "composer",
    "ray",
    "mpirun",
    "mpiexec",
    "srun",
    "uv",
    "poetry",
    "pixi",
    "pipenv",
    "conda",
    "mamba",
    "micromamba",
    "docker",
    "podman",
    "apptainer",
    "singularity",
    "bash",
    "sh",
    "zsh",
    "julia",
    "Rscript",
    "node",
];

/// Returns whether a word names a program, and not a file in the current directory.
pub fn is_program(word: &str) -> bool {
    let is_version = || {
        let version = word.strip_prefix("python3.");
        version.is_some_and(|minor| !minor.is_empty() && minor.bytes().all(|byte| byte.is_ascii_digit()))
    };
    !word.is_empty()
        && !word.contains('/')
        && !Path::new(word).exists()
        && (PROGRAMS.contains(&word) || is_version() || is_installed(word))
}

fn is_installed(name: &str) -> bool {
    find_program(OsStr::new(name), Path::new(".")).is_some()
}

/// Returns the error of a command that `--` does not separate from the operands.
pub fn command_without_dashes(command: &[String]) -> Error {
    let program = &command[0];
    let missing = if is_installed(program) { "" } else { ", which is not installed here" };
    Error::usage(format!("'{program}' is a program{missing}")).hint(put_dashes(command))
}

/// Returns the advice to put `--` before a command. Debian and others have no `python`, but `python3`.
pub(super) fn put_dashes(command: &[String]) -> String {
    let mut command = command.to_owned();
    if command[0] == "python" && !is_installed("python") && is_installed("python3") {
        "python3".clone_into(&mut command[0]);
    }
    format!("put -- before the command: -- {}", shell_line(&command))
}

/// Refuses an option whose value is not joined by `=`, so that the value is an operand; `has_name` tells
/// whether an operand has this name.
pub fn check_value_joined(
    option: &str,
    is_value: impl Fn(&str) -> bool,
    mut has_name: impl FnMut(&str) -> bool,
) -> Result<(), Error> {
    let words = env::args_os().map(|word| word.into_string().unwrap_or_default()); // no value is in other bytes
    let words: Vec<String> = words.take_while(|word| word != "--").collect();
    for pair in words.windows(2) {
        if pair[0] == option && is_value(&pair[1]) && !has_name(&pair[1]) {
            let right = shell_line(&[format!("{option}={}", pair[1])]);
            return Err(Error::usage(format!("'{}' is neither a run nor a file", pair[1]))
                .hint(format!("write {right} for a value of {option}")));
        }
    }
    Ok(())
}

/// Returns a hint for an unknown name: the names that were probably meant, or else all names.
pub fn meant<'a>(unknown: &str, names: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let mut names: Vec<&str> = names.into_iter().collect();
    names.sort_unstable();
    names.dedup();
    let mut near: Vec<(usize, &str)> =
        names.iter().filter_map(|name| nearness(unknown, name).map(|nearness| (nearness, *name))).collect();
    near.sort_unstable();
    let quoted =
        |names: &[&str], joint| names.iter().map(|name| format!("'{name}'")).collect::<Vec<_>>().join(joint);
    if !near.is_empty() {
        let near: Vec<&str> = near.iter().take(3).map(|(_, name)| *name).collect();
        return Some(format!("did you mean {}?", quoted(&near, " or ")));
    }
    let more = names.len().saturating_sub(SHOWN);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let shown = quoted(&names[..names.len().min(SHOWN)], ", ");
    let are = if names.len() == 1 { "is only" } else { "are" };
    (!names.is_empty()).then(|| format!("there {are} {shown}{more}"))
}

/// Returns the distance of two names, if they are similar: few letters differ, or their words are equal or
/// begin alike, as in `valid_loss` and `val/loss`.
fn nearness(unknown: &str, name: &str) -> Option<usize> {
    let (one, other) = (unknown.to_lowercase(), name.to_lowercase());
    let distance = osa_distance(&one, &other);
    let words = |text: &str| -> Vec<String> {
        text.split(|c: char| !c.is_alphanumeric())
            .filter(|word| !word.is_empty())
            .map(str::to_owned)
            .collect()
    };
    let (ones, others) = (words(&one), words(&other));
    let is_like =
        |word: &String, other: &String| word.starts_with(other.as_str()) || other.starts_with(word.as_str());
    let has_all = |few: &[String], many: &[String]| {
        !few.is_empty() && few.iter().all(|word| many.iter().any(|other| is_like(word, other)))
    };
    let is_near = distance <= 2.min(one.chars().count() / 3);
    (is_near || has_all(&ones, &others) || has_all(&others, &ones)).then_some(distance)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_offered_else_all() {
        let names = ["val/loss", "train/loss", "loss", "lr", "accuracy"];
        let said = |name: &str| meant(name, names).unwrap();
        assert_eq!(said("valid_loss"), "did you mean 'val/loss' or 'loss'?");
        assert_eq!(said("acuracy"), "did you mean 'accuracy'?");
        assert_eq!(meant("nothing", ["val/loss"]).unwrap(), "there is only 'val/loss'");
        assert_eq!(said("Loss"), "did you mean 'loss' or 'val/loss' or 'train/loss'?");
        assert_eq!(said("nope"), "there are 'accuracy', 'loss', 'lr', 'train/loss', 'val/loss'");
        assert_eq!(meant("nope", []), None);
        let many: Vec<String> = (0..20).map(|number| format!("x{number:02}")).collect();
        let said = meant("nope", many.iter().map(String::as_str)).unwrap();
        assert!(said.ends_with("'x07' and 12 more"), "{said}");
    }
}
