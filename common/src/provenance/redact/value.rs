//! Judges values without their names: some are never a secret.

use super::REDACTED;
use crate::provenance::secret::{SCHEMES, Verdict, has};

/// Words that are choices.
const CHOICES: &str = "true false yes no on off none null nil";

/// Extensions of files.
const FILES: &str = "crt env ini json key p12 pem pub toml txt yaml yml";

/// Top-level directories, which distinguish a path from a secret that begins with a slash.
const TOPS: &str = "\
    app bin content data dev etc export home kaggle lustre media mnt nfs nvme opt private proc root run runs \
    scratch srv storage tmp usr users var vol volumes work workspace";

/// Returns whether a value is not a secret under a name of this verdict.
pub(super) fn is_plain(verdict: Verdict, value: &str) -> bool {
    let value = unquoted(value.trim());
    match verdict {
        Verdict::Plain => true,
        Verdict::IfRandom => !is_random(value),
        Verdict::Secret if is_small_number(value) => true,
        Verdict::Secret | Verdict::Password => {
            value.is_empty()
                || value == REDACTED
                || has(CHOICES, value)
                || verdict == Verdict::Secret && has(SCHEMES, value)
                || refers(value)
                || is_mark(value)
                || is_path(value)
        }
    }
}

/// Removes the quotes around a value.
pub(super) fn unquoted(value: &str) -> &str {
    let quote = value.chars().next().filter(|quote| matches!(quote, '"' | '\'' | '`'));
    quote.and_then(|quote| value[1..].strip_suffix(quote)).unwrap_or(value)
}

/// Returns whether a value refers to another: `{env:NAME}`, `$NAME`, `$(command)`.
pub(super) fn refers(value: &str) -> bool {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let is_name =
        |name: &str| !name.is_empty() && name.chars().all(|c| is_word(c) || matches!(c, ':' | '.' | '-'));
    let is_variable = |name: &str| {
        !name.is_empty() && name.chars().all(is_word) && !name.starts_with(|c: char| c.is_ascii_lowercase())
    };
    let inside = |start: &str, end: char| value.strip_prefix(start)?.strip_suffix(end);
    inside("{", '}').or(inside("${", '}')).is_some_and(is_name)
        || inside("$(", ')').or(inside("`", '`')).is_some()
        || value.strip_prefix('$').is_some_and(is_variable)
}

/// Returns whether a value is a special token of a tokenizer or a blank to fill in: `<pad>`, `[MASK]`.
fn is_mark(value: &str) -> bool {
    let inside = |start: char, end: char| value.strip_prefix(start)?.strip_suffix(end);
    inside('<', '>').is_some_and(|mark| !mark.contains(['<', '>']))
        || inside('[', ']').is_some_and(|mark| mark.bytes().all(|byte| byte.is_ascii_uppercase()))
}

/// Returns whether a value is a number of at most six digits.
fn is_small_number(value: &str) -> bool {
    let digits = value.bytes().filter(u8::is_ascii_digit).count();
    digits <= 6
        && value.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.'))
        && value.parse::<f64>().is_ok()
}

/// Returns whether a value is the path of a file: with a known directory or extension.
fn is_path(value: &str) -> bool {
    let path = value.strip_prefix('@').unwrap_or(value);
    let path = path.strip_prefix("file://").unwrap_or(path);
    let is_part = |part: &str| {
        part.chars().all(|c| c.is_alphanumeric() || "._-+@=,{}:$~".contains(c)) && !is_random(part)
    };
    let mut parts = path.split('/');
    let is_led = match (parts.next(), parts.clone().next()) {
        (Some("." | ".." | "~"), Some(_)) => true,
        (Some(""), Some(top)) => has(TOPS, top),
        _ => path.rsplit_once('.').is_some_and(|(name, end)| !name.is_empty() && has(FILES, end)),
    };
    is_led && path.split('/').all(is_part)
}

/// Returns whether a value looks random: long, with letters and digits in a run.
pub(super) fn is_random(value: &str) -> bool {
    let is_inside = |byte: u8| byte.is_ascii_alphanumeric() || b"-_+/=.%".contains(&byte);
    value.len() >= 20
        && value.bytes().all(is_inside)
        && value.bytes().any(|byte| byte.is_ascii_digit())
        && has_run(value, 16)
}

/// Returns whether a text has a run of letters and digits of at least this length, with two kinds of
/// characters, or too long for a word.
pub(super) fn has_run(text: &str, length: usize) -> bool {
    text.split(|c: char| !c.is_ascii_alphanumeric()).any(|run| {
        let has = |kind: fn(&u8) -> bool| usize::from(run.bytes().any(|byte| kind(&byte)));
        let kinds = has(u8::is_ascii_digit) + has(u8::is_ascii_lowercase) + has(u8::is_ascii_uppercase);
        run.len() >= length && kinds > 1 || run.len() >= 32
    })
}

/// Returns whether a text could be an ordinary word, and not a secret.
pub(super) fn is_word(text: &str) -> bool {
    let word = text.strip_suffix(REDACTED).unwrap_or(text);
    let word = word.trim_end_matches(['.', ',', ';', ':', '!', '?', ')', '\'', '"']);
    let mut rest = word.chars();
    word.len() < 16
        && rest.next().is_none_or(char::is_alphabetic)
        && rest.all(|c| c.is_lowercase() || matches!(c, '-' | '\'' | '’'))
}
