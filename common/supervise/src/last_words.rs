//! What a program said last: the exception that it died of, or else its last line.

use run_common::fsio::read::open_file;
use run_common::provenance::redact::redact_text;
use run_common::text::{cut, printable, without_escapes};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

/// Bytes of the log's end that are looked at.
const TAIL: u64 = 64 << 10;

/// Lines of a traceback that are kept, its last ones.
const TRACEBACK_LINES: usize = 20;

/// Characters of a reason.
const LIMIT: usize = 300;

/// What a program's last words say.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct LastWords {
    /// The exception, as `Type: message`, or else the last line.
    pub(super) line: Option<String>,
    /// The last lines of the traceback.
    pub(super) traceback: Option<Vec<String>>,
}

/// Reads the last words of an attempt that began at `offset` of its log, without the secrets in them.
pub(super) fn last_words(log: &Path, offset: u64) -> io::Result<LastWords> {
    let mut file = open_file(log)?;
    let length = file.metadata()?.len();
    let start = offset.max(length.saturating_sub(TAIL)).min(length);
    file.seek(SeekFrom::Start(start))?;
    let mut tail = Vec::new();
    file.take(TAIL).read_to_end(&mut tail)?;
    Ok(find_last_words(&redact_text(&without_escapes(&String::from_utf8_lossy(&tail)))))
}

/// Finds the exception that a Python program died of, or else its last line.
fn find_last_words(text: &str) -> LastWords {
    let lines: Vec<String> = text
        .split('\n')
        .map(|line| {
            let line = line.trim_end_matches('\r');
            without_escapes(line.rsplit('\r').next().unwrap_or(line))
        })
        .collect();
    let unprefixed: Vec<&str> = lines.iter().map(|line| without_rank(line)).collect();
    let last_line = || unprefixed.iter().rev().map(|line| line.trim()).find(|line| !line.is_empty());
    let header = unprefixed.iter().rposition(|line| line.starts_with("Traceback (most recent call last):"));
    let exception = match header {
        Some(header) => (header + 1..lines.len())
            .find(|&index| !unprefixed[index].is_empty() && !unprefixed[index].starts_with([' ', '\t'])),
        // A syntax error of the main script comes without the header.
        None => (0..lines.len()).rev().find(|&index| {
            unprefixed[index].starts_with("SyntaxError:")
                || unprefixed[index].starts_with("IndentationError:")
        }),
    };
    let Some(exception) = exception else {
        return LastWords { line: last_line().map(shortened), traceback: None };
    };
    let first = header.unwrap_or(exception.saturating_sub(4));
    let kept = (exception + 1 - first).min(TRACEBACK_LINES);
    let traceback = lines[exception + 1 - kept..=exception].iter().map(|line| shortened(line)).collect();
    LastWords { line: Some(shortened(without_module(unprefixed[exception]))), traceback: Some(traceback) }
}

/// Drops the `[rank0]: ` by which torchrun tells processes apart.
fn without_rank(line: &str) -> &str {
    match line.strip_prefix("[rank").and_then(|rest| rest.split_once("]: ")) {
        Some((rank, rest)) if rank.bytes().all(|byte| byte.is_ascii_digit()) => rest,
        _ => line,
    }
}

/// Drops the module of an exception: `torch.cuda.OutOfMemoryError: …` says it without.
fn without_module(line: &str) -> &str {
    let name = line.split(':').next().unwrap_or(line);
    let is_path =
        name.split('.').all(|part| !part.is_empty() && part.chars().all(|c| c.is_alphanumeric() || c == '_'));
    match name.rfind('.') {
        Some(dot) if is_path => &line[dot + 1..],
        _ => line,
    }
}

fn shortened(line: &str) -> String {
    cut(&printable(line), LIMIT).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> String {
        find_last_words(text).line.unwrap()
    }

    #[test]
    fn the_exception_is_the_reason_not_the_last_line() {
        let text = "warning\nTraceback (most recent call last):\n  File \"x.py\", line 3, in <module>\n    \
                    import moviepy\ngymnasium.error.DependencyNotInstalled: moviepy\nwandb: run ended\n";
        assert_eq!(line(text), "DependencyNotInstalled: moviepy");
        let traceback = find_last_words(text).traceback.unwrap();
        assert_eq!((traceback.len(), traceback[0].as_str()), (4, "Traceback (most recent call last):"));
    }

    #[test]
    fn the_last_of_chained_exceptions_counts() {
        let text = "Traceback (most recent call last):\n  File \"a\"\nKeyError: 'a'\n\nDuring handling of the above \
                    exception, another exception occurred:\n\nTraceback (most recent call last):\n  File \"b\"\n\
                    ValueError: bad: value\nmore of the message\n";
        assert_eq!(line(text), "ValueError: bad: value");
    }

    #[test]
    fn other_forms_are_understood() {
        assert_eq!(
            line("  File \"x.py\", line 1\n    if\n     ^\nSyntaxError: invalid syntax\n"),
            "SyntaxError: invalid syntax"
        );
        let ranked = "[rank0]: Traceback (most recent call last):\n[rank0]:   File \"a\"\n[rank0]: torch.OutOfMemoryError: CUDA\n";
        assert_eq!(line(ranked), "OutOfMemoryError: CUDA");
        assert_eq!(line("usage: x\nx: error: no such option\n\n"), "x: error: no such option");
        assert_eq!(line("\r 10%\r\u{1b}[31m 20%\u{1b}[0m"), "20%");
        assert_eq!(find_last_words("\n \n"), LastWords::default());
        assert_eq!(line("Traceback (most recent call last):\n  cut off"), "cut off");
    }
}
