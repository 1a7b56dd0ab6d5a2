//! Messages for people: one line each on stderr, after the name of the tool.

use crate::error::Error;
use crate::text::printable;
use std::io::Write;
use std::sync::OnceLock;

static TOOL: OnceLock<&'static str> = OnceLock::new();

/// Sets the name of the tool for its messages.
pub(crate) fn set_tool(tool: &'static str) {
    let _ = TOOL.set(tool); // the first name counts
}

/// Returns the name of the tool.
pub fn tool() -> &'static str {
    TOOL.get().copied().unwrap_or("run-tools")
}

/// Prints a message. A closed or full stderr changes nothing.
pub fn warn(message: &str) {
    let line = format!("{}: {}\n", tool(), printable(message));
    let _ = std::io::stderr().write_all(line.as_bytes()); // in a single write; a failure cannot be reported anywhere
}

/// Prints an error and its hint.
pub fn complain(error: &Error) {
    warn(&error.to_string());
    if let Some(advice) = error.advice() {
        warn(advice);
    }
}
