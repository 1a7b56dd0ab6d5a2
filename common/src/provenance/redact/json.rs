//! Redacts JSON values of configs and records.

use super::{REDACTED, is_plain, redact_command, redact_text, redact_under};
use crate::provenance::secret::{Verdict, verdict};
use serde_json::Value;

/// Keys of records whose value is a command.
const COMMANDS: [&str; 4] = ["command", "template", "argv", "resume_args"];

/// Keys of records whose value is prose.
const SENTENCES: [&str; 4] = ["note", "reason", "traceback", "why"];

/// Redacts a value under a name, with all nested values; returns whether anything was secret.
pub fn redact_json(name: &str, value: &mut Value) -> bool {
    redact_below(name, verdict(name), value)
}

/// Redacts a value under a name, or below a name with this verdict.
fn redact_below(name: &str, above: Verdict, value: &mut Value) -> bool {
    let verdict = above.max(verdict(name));
    let mut is_changed = false;
    let mut put = |text: &mut String, redacted: String| {
        is_changed |= *text != redacted;
        *text = redacted;
    };
    match value {
        Value::Object(object) => {
            for (name, value) in object {
                is_changed |= redact_below(name, verdict, value);
            }
        }
        Value::Array(items)
            if verdict == Verdict::Plain
                && COMMANDS.contains(&name)
                && items.iter().all(Value::is_string) =>
        {
            let word = |item: &Value| item.as_str().unwrap_or_default().to_owned();
            let redacted = redact_command(&items.iter().map(word).collect::<Vec<_>>());
            for (item, redacted) in items.iter_mut().zip(redacted) {
                if let Value::String(word) = item {
                    put(word, redacted);
                }
            }
        }
        Value::Array(items) => {
            for item in items {
                is_changed |= redact_below(name, verdict, item);
            }
        }
        Value::String(text) if SENTENCES.contains(&name) && verdict == Verdict::Plain => {
            let redacted = redact_text(text).into_owned();
            put(text, redacted);
        }
        Value::String(text) => {
            let redacted = redact_under(verdict, text).into_owned();
            put(text, redacted);
        }
        Value::Number(number) if !is_plain(verdict, &number.to_string()) => {
            *value = REDACTED.into();
            is_changed = true;
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
    is_changed
}
