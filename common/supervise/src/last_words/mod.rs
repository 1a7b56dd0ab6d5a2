//! The last words of a program: the error that it died of, or else its last line.

mod cause;
mod lines;
mod others;
mod python;
mod report;
mod tasks;

use super::log::{TAIL, Unlogged, kept};
use super::task::Output;
use cause::{Known, cause, says_error, went_on};
use lines::shown;
use run_common::fsio::read::open_file;
use run_common::provenance::redact::redact_text;
use run_common::rundir::attempts::AttemptStart;
use run_common::rundir::layout::Layout;
use run_common::text::{cut, printable, without_escapes};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
pub(super) use tasks::FailedTask;
use tasks::first_failed;

/// Maximum number of traceback lines to keep, from its end.
const TRACEBACK_LINES: usize = 20;

/// Maximum length of a reason, in characters.
const LIMIT: usize = 300;

/// The last words of a program.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct LastWords {
    /// The error, such as `Type: message`, or else the last line.
    pub(super) line: Option<String>,
    /// The last lines of the traceback.
    pub(super) traceback: Option<Vec<String>>,
    /// Whether the line is an error.
    pub(super) is_error: bool,
    /// Whether the line comes from an error report of a programming language.
    pub(super) is_reported: bool,
    /// The task of srun that failed first.
    pub(super) task: Option<FailedTask>,
}

/// Reads the last words of an attempt, without secrets: from the log of its stderr, and from lost output. If
/// stderr contains no error, an error report on stdout counts. An attempt that `has_own_status` did not end
/// like Python after an uncaught exception.
pub(super) fn last_words(
    layout: &Layout,
    start: &AttemptStart,
    output: Output,
    has_own_status: bool,
    unlogged: &Unlogged,
) -> LastWords {
    let tail = |path: &Path, unlogged: Option<&Unlogged>| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let offset = start.offsets.get(&name).copied().unwrap_or_default();
        Tail::read(path, offset, unlogged).unwrap_or_default()
    };
    match output {
        Output::Merged | Output::Terminal => {
            let known = Known { has_own_status, ..Known::NOTHING };
            find_last_words(&tail(&layout.stdout(), Some(unlogged)).text, &known)
        }
        Output::Pipes => {
            let text = tail(&layout.stderr(), Some(unlogged)).text;
            let went_on = |line: &str| {
                let combined = tail(&layout.combined(), None);
                went_on(&combined.text, combined.is_cut, "stderr", line)
            };
            let words = find_last_words(&text, &Known { has_own_status, went_on: &went_on });
            if words.is_error {
                return words;
            }
            let others = find_last_words(&tail(&layout.stdout(), None).text, &Known::NOTHING);
            let is_silent = words.line.is_none();
            if others.is_reported || is_silent && others.is_error {
                LastWords { task: words.task, ..others }
            } else {
                words
            }
        }
    }
}

/// The end of an attempt's output in a log, without secrets and colours.
#[derive(Debug, Default)]
struct Tail {
    text: String,
    /// Whether there is more before it.
    is_cut: bool,
}

impl Tail {
    /// Reads the end of a log; the attempt begins at `offset`.
    fn read(log: &Path, offset: u64, unlogged: Option<&Unlogged>) -> io::Result<Self> {
        let kept = unlogged.and_then(kept);
        let mut file = open_file(log)?;
        let length = file.metadata()?.len();
        let end = kept.as_ref().map_or(length, |kept| kept.from.min(length));
        let start = offset.max(end.saturating_sub(TAIL as u64)).min(end);
        file.seek(SeekFrom::Start(start))?;
        let mut bytes = Vec::new();
        if kept.as_ref().is_none_or(|kept| !kept.is_cut) {
            file.take(end - start).read_to_end(&mut bytes)?;
        }
        bytes.extend(kept.into_iter().flat_map(|kept| kept.bytes));
        let text = without_escapes(&String::from_utf8_lossy(&bytes));
        Ok(Self { text: redact_text(&text).into_owned(), is_cut: start > offset })
    }
}

/// Finds the error that a program died of, or else its last line.
fn find_last_words(text: &str, known: &Known) -> LastWords {
    let lines = shown(text);
    let found = cause(&lines, known);
    let kept = found.traceback.len().saturating_sub(TRACEBACK_LINES);
    let traceback: Vec<String> =
        found.traceback[kept..].iter().map(|&number| shortened(&lines[number])).collect();
    LastWords {
        line: found.error.as_deref().map(shortened),
        traceback: (!traceback.is_empty()).then_some(traceback),
        is_error: found.is_reported || found.error.as_deref().is_some_and(says_error),
        is_reported: found.is_reported,
        task: first_failed(&lines).map(|(task, _)| task),
    }
}

fn shortened(line: &str) -> String {
    cut(&printable(line), LIMIT).into_owned()
}

#[cfg(test)]
mod foreign_tests;
#[cfg(test)]
mod tests;
