//! Secrets that are recognised without a name: user info in URLs, webhooks, private keys, and the shapes of
//! tokens.

use super::value::{has_run, refers};
use super::{REDACTED, and_then};
use crate::provenance::secret::{SHAPES, Shape, WEBHOOKS};
use std::borrow::Cow;

/// Maximum number of bytes to check for a shape, so that a long text of beginnings is fast.
const LOOK: usize = 1024;

const KEY_BEGINS: &str = "-----BEGIN ";
const KEY: &str = "PRIVATE KEY-----";
const KEY_ENDS: &str = "-----END ";

/// Replaces parts of a text, in the order of their positions.
#[derive(Debug)]
pub(super) struct Edit<'a> {
    text: &'a str,
    copied: usize,
    edited: String,
}

impl<'a> Edit<'a> {
    pub(super) fn of(text: &'a str) -> Self {
        Self { text, copied: 0, edited: String::new() }
    }

    /// Replaces a part with [`REDACTED`].
    pub(super) fn redact(&mut self, from: usize, to: usize) {
        if let Some(kept) = self.text.get(self.copied..from)
            && self.text.get(from..to).is_some_and(|part| part != REDACTED)
        {
            self.edited.push_str(kept);
            self.edited.push_str(REDACTED);
            self.copied = to;
        }
    }

    /// Returns the text; it stays borrowed if nothing was replaced.
    pub(super) fn done(mut self) -> Cow<'a, str> {
        if self.copied == 0 && self.edited.is_empty() {
            return Cow::Borrowed(self.text);
        }
        self.edited.push_str(&self.text[self.copied..]);
        Cow::Owned(self.edited)
    }
}

/// Redacts user info in URLs, `https://user:word@host` and `https://word@host`, and webhooks.
pub(super) fn urls(text: &str) -> Cow<'_, str> {
    if !text.contains("://") && !text.contains(".com/") && !text.contains(".org/") {
        return Cow::Borrowed(text);
    }
    let mut edit = Edit::of(text);
    let mut at = 0;
    while let Some(scheme) = text[at..].find("://") {
        let start = at + scheme + 3;
        at = start;
        if let Some(end) = user_info(text, start) {
            let info = &text[start..end];
            if !refers(info) && !info.split_once(':').is_some_and(|(_, word)| refers(word)) {
                edit.redact(start, end);
            }
            at = end;
        }
    }
    and_then(edit.done(), webhooks)
}

/// Returns the end of a URL's user info, if it has any: before the last `@` of its authority. A password that
/// is not percent-encoded may contain characters that normally end the authority.
fn user_info(text: &str, start: usize) -> Option<usize> {
    let rest = &text[start..];
    let rest = &rest[..rest
        .find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '`' | '<' | '>' | '\\'))
        .unwrap_or(rest.len())];
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let in_authority = rest[..end].rfind('@');
    let is_port = |word: &str| word.bytes().all(|byte| byte.is_ascii_digit());
    let has_word =
        || !rest.starts_with('[') && rest[..end].split_once(':').is_some_and(|(_, word)| !is_port(word));
    let at = in_authority.or_else(|| rest.find('@').filter(|_| has_word()))?;
    Some(start + at)
}

fn webhooks(text: &str) -> Cow<'_, str> {
    let mut found: Vec<usize> =
        WEBHOOKS.iter().flat_map(|hook| text.match_indices(hook).map(|(at, hook)| at + hook.len())).collect();
    found.sort_unstable();
    let mut edit = Edit::of(text);
    for start in found {
        let rest = &text[start..];
        let is_end = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '`' | '<' | '>' | ')' | '\\');
        edit.redact(start, start + rest.find(is_end).unwrap_or(rest.len()));
    }
    edit.done()
}

/// Redacts private keys and the shapes of tokens.
pub(super) fn shapes(text: &str) -> Cow<'_, str> {
    let bytes = text.as_bytes();
    let mut edit = Edit::of(text);
    let mut at = 0;
    while at < bytes.len() {
        let begins = at == 0 || !bytes[at - 1].is_ascii_alphanumeric();
        match if begins { end_of_shape(text, at) } else { None } {
            Some(end) => {
                edit.redact(at, end);
                at = end;
            }
            None => at += 1,
        }
    }
    edit.done()
}

/// Returns the end of a secret that begins here, if there is one.
fn end_of_shape(text: &str, at: usize) -> Option<usize> {
    let first = *text.as_bytes().get(at)?;
    if first == b'-' {
        return end_of_key(text, at);
    }
    let rest = text.as_bytes().get(at..)?;
    SHAPES.iter().filter(|shape| rest.starts_with(shape.start.as_bytes())).find_map(|shape| {
        let start = at + shape.start.len();
        Some(start + length_of_tail(shape, text.get(start..)?)?)
    })
}

/// Returns the length of the rest of a secret; `None` if this text does not continue the shape.
fn length_of_tail(shape: &Shape, rest: &str) -> Option<usize> {
    let is_inside = |byte: &u8| byte.is_ascii_alphanumeric() || shape.also.as_bytes().contains(byte);
    let length = rest.bytes().take(LOOK).take_while(is_inside).count();
    let tail = rest.get(..length)?;
    let is_whole = match shape.start {
        "AKIA" | "ASIA" => {
            length == shape.least
                && tail.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
        }
        "eyJ" => tail.contains('.'),
        _ => true,
    };
    let is_one = length >= shape.least && is_whole && (!shape.is_random || has_run(tail, 8));
    is_one.then(|| rest.bytes().take_while(is_inside).count())
}

/// Returns the end of a private key in PEM; a truncated key ends with the text.
fn end_of_key(text: &str, at: usize) -> Option<usize> {
    let rest = text.get(at..)?.strip_prefix(KEY_BEGINS)?;
    let head = rest.find("-----")?;
    if !rest[..head + 5].ends_with(KEY) {
        return None;
    }
    let end = rest.find(KEY_ENDS).and_then(|end| Some(end + rest[end..].find(KEY)? + KEY.len()));
    Some(end.map_or(text.len(), |end| at + KEY_BEGINS.len() + end))
}
