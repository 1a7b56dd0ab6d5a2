//! Removes secrets from everything that is recorded or shown: commands, overrides, notes, reasons. Redacting
//! twice changes nothing.

mod command;
mod hint;
mod json;
mod scan;
mod shape;
mod text;
mod value;

pub use command::redact_command;
pub use json::redact_json;

use super::secret::{Verdict, verdict};
use hint::may_hold_secret;
use scan::Scanner;
use serde_json::Value;
use std::borrow::Cow;
use text::Extent;
use value::is_plain;

/// The replacement for a secret.
pub const REDACTED: &str = "[redacted]";

/// Returns a text, such as a note or the message of an exception, without its secrets.
pub fn redact_text(text: &str) -> Cow<'_, str> {
    if may_hold_secret(text) { Scanner::default().scan(text, Extent::Word) } else { Cow::Borrowed(text) }
}

/// Returns a value without secrets, judged by its name and by its contents.
pub fn redact_value<'a>(name: &str, value: &'a str) -> Cow<'a, str> {
    redact_under(verdict(name), value)
}

fn redact_under(verdict: Verdict, value: &str) -> Cow<'_, str> {
    match is_plain(verdict, value) {
        true if may_hold_secret(value) => Scanner::default().scan(value, Extent::Whole),
        true => Cow::Borrowed(value),
        false => Cow::Borrowed(REDACTED),
    }
}

/// Redacts a JSON text of this name; `None` if there is nothing to redact.
pub(crate) fn redact_raw(name: &str, text: &str) -> Option<Value> {
    if !may_hold_secret(text) {
        return None;
    }
    let mut value = serde_json::from_str(text).ok()?;
    redact_json(name, &mut value).then_some(value)
}

/// Applies two functions to a text, which stays borrowed if neither changes it.
fn and_then(text: Cow<'_, str>, change: impl FnOnce(&str) -> Cow<'_, str>) -> Cow<'_, str> {
    match text {
        Cow::Borrowed(text) => change(text),
        Cow::Owned(text) => match change(&text) {
            Cow::Borrowed(same) if std::ptr::eq(same, text.as_str()) => Cow::Owned(text),
            changed => Cow::Owned(changed.into_owned()),
        },
    }
}

#[cfg(test)]
mod tests;
