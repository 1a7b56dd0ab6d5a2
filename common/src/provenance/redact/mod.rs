//! Takes what is secret out of what is recorded and shown. Used by whoever writes or shows a command, an
//! override, a note, a reason. What was redacted stays as it is when it is redacted again.

mod command;
mod json;
mod scan;
mod shape;
mod value;

pub use command::redact_command;
pub use json::redact_json;

use super::secret::{Verdict, verdict};
use scan::{Extent, Scanner};
use std::borrow::Cow;
use value::is_plain;

/// What stands in the place of a secret.
pub const REDACTED: &str = "[redacted]";

/// Returns a text, such as a note or the message of an exception, without its secrets.
pub fn redact_text(text: &str) -> Cow<'_, str> {
    Scanner::default().scan(text, Extent::Word)
}

/// Returns a value without what is secret under its name, and in itself.
pub fn redact_value<'a>(name: &str, value: &'a str) -> Cow<'a, str> {
    redact_under(verdict(name), value)
}

fn redact_under(verdict: Verdict, value: &str) -> Cow<'_, str> {
    if is_plain(verdict, value) {
        Scanner::default().scan(value, Extent::Whole)
    } else {
        Cow::Borrowed(REDACTED)
    }
}

/// Does one thing after the other with a text, which stays borrowed when neither changes it.
fn and_then<'a>(text: Cow<'a, str>, change: impl FnOnce(&str) -> Cow<'_, str>) -> Cow<'a, str> {
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
